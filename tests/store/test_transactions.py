"""What is returned is committed, what is raised is undone, and writers wait in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InternalError

from mailagent.store.engine import Store, driver_url
from mailagent.store.tables import versions, workspaces
from mailagent.store.transaction import Transaction
from mailagent.store.types import Moment
from mailagent.store.write_lock import WriteLock

_AT = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)
_DEADLINE = 10.0


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url, now=lambda: _AT)
    yield opened
    opened.close()


def add(tx: Transaction, name: str) -> str:
    row = {"id": name, "slug": name, "name": name, "settings": {"a": ["é", None]}}
    tx.insert(workspaces, {**row, "created_at": tx.now})
    tx.wake("read")
    return name


def fail(tx: Transaction) -> None:
    add(tx, "undone")
    raise LookupError("after the insert")


def names(tx: Transaction) -> list[str]:
    return [row[0] for row in tx.rows(select(workspaces.c.slug).order_by(workspaces.c.slug))]


async def test_what_returned_is_committed_and_read_back_the_same(store: Store) -> None:
    assert await store.write_unscoped(add, "one") == "one"
    row = await store.read_unscoped(lambda tx: tx.row(select(workspaces)))
    assert row is not None
    assert (row.settings, row.created_at) == ({"a": ["é", None]}, _AT)


async def test_a_rehearsal_sees_what_it_did_and_leaves_nothing(store: Store) -> None:
    woken: list[frozenset[str]] = []
    store.on_wake(woken.append)

    def change(tx: Transaction) -> int:
        tx.execute(update(workspaces).values(name="Changed"))
        tx.insert_at_end(versions, {"name": "late", "value": 1})
        row = tx.row(select(workspaces.c.name))
        tx.wake("read")
        return 1 if row is not None and row.name == "Changed" else 0

    await store.write_unscoped(add, "one")
    woken.clear()
    assert await store.rehearse("one", change) == 1
    with pytest.raises(LookupError):
        await store.rehearse("one", fail)
    rows = await store.read_unscoped(
        lambda tx: tx.rows(select(workspaces.c.slug, workspaces.c.name))
    )
    assert [tuple(row) for row in rows] == [("one", "one")]
    late = select(versions).where(versions.c.name == "late")
    assert await store.read_unscoped(lambda tx: tx.rows(late)) == []
    assert woken == []


async def test_what_raised_is_undone_and_wakes_nobody(store: Store) -> None:
    woken: list[frozenset[str]] = []
    store.on_wake(woken.append)
    with pytest.raises(LookupError):
        await store.write_unscoped(fail)
    assert await store.read_unscoped(names) == []
    assert woken == []
    await store.write_unscoped(add, "next")
    assert await store.read_unscoped(names) == ["next"]


async def test_a_read_keeps_nothing_of_what_it_wrote(store: Store) -> None:
    with contextlib.suppress(InternalError):  # PostgreSQL is told that it reads, and refuses
        await store.read_unscoped(add, "one")
    assert await store.read_unscoped(names) == []


async def test_a_read_sees_one_moment_whatever_is_committed_meanwhile(store: Store) -> None:
    def twice(tx: Transaction) -> tuple[list[str], list[str]]:
        before = names(tx)
        store.write_now(None, add, "meanwhile")
        return before, names(tx)

    assert await store.read_unscoped(twice) == ([], [])
    assert await store.read_unscoped(names) == ["meanwhile"]


async def test_a_commit_wakes_the_queues_it_named(store: Store) -> None:
    seen: list[tuple[frozenset[str], bool]] = []
    store.on_wake(lambda queues: seen.append((queues, "one" in store.read_now(None, names))))
    await store.write_unscoped(add, "one")
    assert seen == [(frozenset({"read"}), True)]


async def test_a_scoped_view_of_a_transaction_wakes_with_it(store: Store) -> None:
    seen: list[frozenset[str]] = []
    store.on_wake(seen.append)
    await store.write_unscoped(lambda tx: tx.of("wsp_x").wake("send"))
    assert seen == [frozenset({"send"})]


async def test_writers_that_count_up_together_lose_nothing(store: Store) -> None:
    counter = versions.c.name == "directory"
    counted = select(versions.c.value).where(counter)

    def count(tx: Transaction) -> None:
        tx.lock("the counter")
        tx.execute(update(versions).where(counter).values(value=tx.value(counted) + 1))

    before = await store.read_unscoped(lambda tx: tx.value(counted))
    await asyncio.gather(*(store.write_unscoped(count) for _ in range(20)))
    after = await store.read_unscoped(lambda tx: tx.value(counted))
    assert after == before + 20


async def test_a_session_that_the_server_ended_is_replaced(
    postgres_url: str,
) -> None:
    store = Store(postgres_url)
    await store.write_unscoped(add, "one")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await store.read_unscoped(names) == ["one"]
    store.close()


def test_the_committer_overtakes_the_writers_that_wait() -> None:
    lock, order, ready = WriteLock(), list[str](), threading.Barrier(3)

    def take(who: str, *, first: bool) -> None:
        ready.wait(_DEADLINE)
        with lock.hold(first=first):
            order.append(who)

    with lock.hold():
        assert not lock.try_hold()
        threads = [
            threading.Thread(target=take, args=("flow",), kwargs={"first": False}),
            threading.Thread(target=take, args=("accept",), kwargs={"first": True}),
        ]
        for one in threads:
            one.start()
        ready.wait(_DEADLINE)
        # The lock is let go only when both stand before it: the committer says when it waits.
        while not lock._first_waiting:
            threading.Event().wait(0.001)
    for one in threads:
        one.join(_DEADLINE)
    assert order == ["accept", "flow"]
    assert lock.try_hold()
    lock.release()


def test_a_checkpoint_moves_the_log_into_the_file(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    store.write_now(None, add, "one")
    store.tend()
    assert store.read_now(None, names) == ["one"]
    store.close()


def test_a_plain_address_gets_our_driver() -> None:
    assert driver_url("postgresql://a@b/c") == "postgresql+psycopg://a@b/c"
    assert driver_url("postgres://a@b/c") == "postgresql+psycopg://a@b/c"
    assert driver_url("sqlite:///x.db") == "sqlite:///x.db"


_zones = st.timedeltas(timedelta(hours=-12), timedelta(hours=14)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)


@given(st.datetimes(timezones=_zones))
def test_a_moment_survives_sqlite_to_the_microsecond(moment: datetime) -> None:
    bound = Moment().process_bind_param(moment, sqlite.dialect())
    assert Moment().process_result_value(bound, sqlite.dialect()) == moment


def test_a_moment_from_postgresql_is_in_utc() -> None:
    given_ = datetime(2026, 11, 21, 10, tzinfo=timezone(timedelta(hours=1)))
    got = Moment().process_result_value(given_, postgresql.dialect())  # type: ignore[no-untyped-call]
    assert got == given_
    assert got is not None
    assert got.tzinfo is UTC
