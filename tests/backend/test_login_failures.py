"""Failed logins count in every process, and hold up nobody who was let in before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from backend.submission.failures import StoreThrottle
from mailagent.doors.login_throttle import ThrottleLimits
from mailagent.flow import chores
from mailagent.store.engine import Store
from mailagent.store.tables import login_counts
from mailagent.store.transaction import Transaction

NAME, OTHER = "hello@shop.agents.example", "other@shop.agents.example"
LIMITS = ThrottleLimits(per_address=3, per_name=5, within=timedelta(minutes=15))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def nodes(database_url: str, store: Store) -> Iterator[tuple[StoreThrottle, StoreThrottle]]:
    """Two processes on one database."""
    second = Store(database_url)
    yield StoreThrottle(store, LIMITS), StoreThrottle(second, LIMITS)
    second.close()


async def count(store: Store) -> int:
    return len(await store.read_unscoped(lambda tx: tx.rows(select(login_counts))))


async def longer_ago(store: Store, by: timedelta) -> None:
    def write(tx: Transaction) -> int:
        rows = tx.rows(select(login_counts))
        for row in rows:
            ended = login_counts.update().where(login_counts.c.what == row.what)
            tx.execute(ended.values(ends_at=row.ends_at - by))
        return len(rows)

    await store.write_unscoped(write)


async def test_who_fails_at_one_process_is_held_up_at_the_other(
    nodes: tuple[StoreThrottle, StoreThrottle], store: Store
) -> None:
    one, two = nodes
    for number in range(3):
        assert await two.wait("192.0.2.1", NAME) is None
        await one.failed("192.0.2.1", f"name{number}")
    held = await two.wait("192.0.2.1")
    assert held is not None
    assert timedelta(minutes=14) < held <= timedelta(minutes=15)
    assert await two.wait("192.0.2.2") is None
    await longer_ago(store, timedelta(minutes=16))
    assert await two.wait("192.0.2.1") is None
    await one.failed("192.0.2.1", NAME)
    assert await two.wait("192.0.2.1") is None, "it is counted anew"


async def test_a_name_is_guessed_from_everywhere_and_its_owner_comes_in(
    nodes: tuple[StoreThrottle, StoreThrottle], store: Store
) -> None:
    one, two = nodes
    await one.succeeded("2001:db8::1", NAME)
    rows = await count(store)
    await two.succeeded("2001:db8::2", NAME)  # the same network
    assert await count(store) == rows
    for number in range(5):
        await one.failed(f"192.0.2.{number}", NAME)
    assert await two.wait("198.51.100.1", NAME) is not None
    assert await two.wait("198.51.100.1", OTHER) is None
    assert await two.wait("2001:db8::3", NAME) is None


async def test_failures_at_once_are_all_counted(
    nodes: tuple[StoreThrottle, StoreThrottle],
) -> None:
    await asyncio.gather(*(node.failed("192.0.2.9", NAME) for node in nodes * 2))
    assert await nodes[0].wait("192.0.2.9") is not None


async def test_nothing_that_was_typed_is_kept_and_nothing_for_longer_than_it_counts(
    nodes: tuple[StoreThrottle, StoreThrottle], store: Store
) -> None:
    await nodes[0].failed("192.0.2.1", "my password by mistake")
    rows = await store.read_unscoped(lambda tx: tx.rows(select(login_counts)))
    assert len(rows) == 2
    assert "mistake" not in str(rows)
    await store.write_unscoped(chores.forget_login_counts)
    assert await count(store) == 2
    await longer_ago(store, timedelta(minutes=16))
    await store.write_unscoped(chores.forget_login_counts)
    assert await count(store) == 0


async def test_while_the_database_is_away_nobody_is_held_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(store, "read_unscoped", away)
    monkeypatch.setattr(store, "write_unscoped", away)
    throttle = StoreThrottle(store, LIMITS)
    for _ in range(4):
        await throttle.failed("192.0.2.1", NAME)
    await throttle.succeeded("192.0.2.1", NAME)
    assert await throttle.wait("192.0.2.1", NAME) is None
