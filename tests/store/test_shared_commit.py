"""Several writers share one commit on SQLite, and none pays for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from mailagent.store.engine import Store
from mailagent.store.tables import agents, workspaces
from mailagent.store.transaction import Transaction


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    opened = Store(sqlite_url)
    yield opened
    opened.close()


def add(tx: Transaction, name: str) -> str:
    row = {"id": name, "slug": name, "name": name, "settings": {}, "created_at": tx.now}
    tx.insert(workspaces, row)
    tx.wake(name)
    return name


def add_and_fail(tx: Transaction, name: str) -> str:
    add(tx, name)
    raise LookupError(name)


def fill_the_disk(tx: Transaction, name: str) -> str:
    """Adds a row that the file has no page for: SQLite then undoes the whole transaction."""
    settings = {"a": "x" * 40_000_000}
    row = {"id": name, "slug": name, "name": name, "settings": settings, "created_at": tx.now}
    tx.insert(workspaces, row)
    return name


def leave_an_orphan(tx: Transaction) -> None:
    """Adds an agent of no workspace, which only the commit refuses."""
    tx.execute(text("PRAGMA defer_foreign_keys=ON"))
    of_nobody = tx.of("nobody")
    agent = {"id": "orphan", "handle": "orphan", "name": "", "instructions": "", "settings": {}}
    of_nobody.insert(agents, {**agent, "email_enabled": True, "created_at": tx.now})


def handles(tx: Transaction) -> set[str]:
    return {row.handle for row in tx.rows(select(agents.c.handle))}


def names(tx: Transaction) -> set[str]:
    return {row.id for row in tx.rows(select(workspaces.c.id))}


@contextmanager
def all_waiting(store: Store) -> Iterator[None]:
    """What is handed in meanwhile waits for one commit."""
    with store.write_lock.hold():
        yield


@contextmanager
def counted_commits(store: Store) -> Iterator[list[int]]:
    commits: list[int] = []

    def count(_: object) -> None:
        commits.append(1)

    event.listen(store.engine, "commit", count)
    try:
        yield commits
    finally:
        event.remove(store.engine, "commit", count)


async def together(store: Store, *works: Coroutine[Any, Any, object]) -> list[object]:
    """The outcomes of what is handed in while another holds the lock."""
    with all_waiting(store):
        tasks = [asyncio.create_task(work) for work in works]
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_together_is_committed_together(store: Store) -> None:
    woken: list[frozenset[str]] = []
    store.on_wake(woken.append)
    with counted_commits(store) as commits:
        done = await together(store, *(store.write_unscoped(add, f"w{n}") for n in range(10)))
    assert done == [f"w{n}" for n in range(10)]
    assert len(commits) == 1
    assert frozenset().union(*woken) == {f"w{n}" for n in range(10)}


async def test_what_one_raises_undoes_its_own_rows_alone(store: Store) -> None:
    done = await together(
        store,
        store.write_unscoped(add, "before"),
        store.write_unscoped(add_and_fail, "failing"),
        store.write_unscoped(add, "after"),
    )
    assert isinstance(done[1], LookupError)
    assert await store.read_unscoped(names) == {"before", "after"}


async def test_who_fills_the_disk_costs_no_neighbour_his_work(store: Store) -> None:
    with store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    @event.listens_for(store.engine, "checkout")
    def small(driver: object, *_: object) -> None:
        driver.execute(f"PRAGMA max_page_count={pages + 200}")  # type: ignore[attr-defined]

    done = await together(
        store,
        store.write_unscoped(add, "before"),
        store.write_unscoped(fill_the_disk, "greedy"),
        store.write_unscoped(add, "after"),
    )
    assert done[0] == "before"
    assert isinstance(done[1], OperationalError)
    assert done[2] == "after"
    assert await store.read_unscoped(names) == {"before", "after"}


async def test_who_makes_the_commit_fail_costs_no_neighbour_his_work(store: Store) -> None:
    done = await together(
        store,
        store.write_unscoped(add, "before"),
        store.write_unscoped(leave_an_orphan),
        store.write_unscoped(add, "after"),
    )
    assert done[0] == "before"
    assert isinstance(done[1], IntegrityError)
    assert done[2] == "after"
    assert await store.read_unscoped(names) == {"before", "after"}
    assert await store.read_unscoped(handles) == set()


async def test_mail_at_the_door_does_not_wait_for_all_that_waits(store: Store) -> None:
    begun = threading.Event()

    def slow(tx: Transaction, name: str) -> str:
        begun.set()
        while not store.write_lock.first_waits:
            pass
        return add(tx, name)

    def at_the_door() -> set[str]:
        begun.wait()
        with store.write_lock.hold(first=True):
            return store.read_now(None, names)

    seen = asyncio.create_task(asyncio.to_thread(at_the_door))
    await together(store, store.write_unscoped(slow, "slow"), store.write_unscoped(add, "behind"))
    assert await seen == {"slow"}


async def test_what_was_handed_in_is_done_before_the_store_closes(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    writing = asyncio.create_task(store.write_unscoped(add, "last"))
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    assert await writing == "last"
    with pytest.raises(RuntimeError, match="closed"):
        await store.write_unscoped(add, "too late")
