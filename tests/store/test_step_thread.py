"""Steps that wait for PostgreSQL let each other go on, in one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import bindparam, func, literal, select, text

from mailagent.store.engine import Store
from mailagent.store.tables import versions
from mailagent.store.transaction import Transaction

_SLEEP = select(func.pg_sleep(bindparam("seconds")), literal(1))
_SLEEP_AS_TEXT = text("SELECT pg_sleep(:seconds), 1")


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = Store(postgres_url)
    yield opened
    opened.close()


@pytest.mark.parametrize("sleep", [_SLEEP, _SLEEP_AS_TEXT], ids=["prepared", "by sqlalchemy"])
async def test_while_one_waits_another_goes_on_in_the_same_thread(
    store: Store, sleep: object
) -> None:
    came = threading.Event()
    threads = set()

    def waits(tx: Transaction) -> None:
        threads.add(threading.get_ident())
        while not came.is_set():
            tx.rows(sleep, {"seconds": 0.01})  # type: ignore[arg-type]

    def comes(tx: Transaction) -> None:
        threads.add(threading.get_ident())
        tx.rows(select(versions), {})
        came.set()

    async with asyncio.timeout(20):
        await asyncio.gather(store.write_unscoped(waits), store.write_unscoped(comes))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_who_waits_for_a_lock_gets_it_from_a_step_of_the_same_thread(store: Store) -> None:
    order = []

    def locked(tx: Transaction, name: str) -> None:
        tx.lock("one at a time")
        tx.rows(_SLEEP, {"seconds": 0.02})
        order.append(name)
        tx.rows(_SLEEP, {"seconds": 0.02})
        order.append(name)

    async with asyncio.timeout(20):
        await asyncio.gather(*(store.write_unscoped(locked, name) for name in "abc"))
    assert order[0::2] == order[1::2]
    assert sorted(order) == ["a", "a", "b", "b", "c", "c"]


async def test_more_steps_than_connections_are_all_done_and_each_hears_of_its_own(
    store: Store,
) -> None:
    def keep(tx: Transaction, number: int) -> int:
        if number % 10 == 3:
            raise LookupError(str(number))
        tx.insert(versions, {"name": f"step-{number}", "value": number})
        return number

    heard = await asyncio.gather(
        *(store.write_unscoped(keep, number) for number in range(100)), return_exceptions=True
    )
    assert [one for one in heard if isinstance(one, int)] == [
        number for number in range(100) if number % 10 != 3
    ]
    assert [str(one) for one in heard if isinstance(one, LookupError)] == [
        str(number) for number in range(3, 100, 10)
    ]
    kept = await store.read_unscoped(
        lambda tx: tx.value(
            select(func.count()).select_from(versions).where(versions.c.name.startswith("step-"))
        )
    )
    assert kept == 90


async def test_closing_finishes_what_was_handed_in(postgres_url: str) -> None:
    store = Store(postgres_url)
    slow = [
        asyncio.ensure_future(store.write_unscoped(Transaction.rows, _SLEEP, {"seconds": 0.05}))
        for _ in range(20)
    ]
    await asyncio.sleep(0)
    store.close()
    assert [len(rows) for rows in await asyncio.gather(*slow)] == [1] * 20
    with pytest.raises(RuntimeError, match="closed"):
        await store.write_unscoped(Transaction.rows, _SLEEP, {"seconds": 0})


async def test_what_nobody_waits_for_any_more_is_not_begun(store: Store) -> None:
    begun = []

    def busy(tx: Transaction) -> None:
        tx.rows(_SLEEP, {"seconds": 0.2})

    def late(tx: Transaction) -> None:
        begun.append(tx)

    running = [asyncio.ensure_future(store.write_unscoped(busy)) for _ in range(8)]
    given_up = asyncio.ensure_future(store.write_unscoped(late))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(*running)
    await store.write_unscoped(busy)
    assert begun == []
