"""Workers start what is due, put back what failed, and stop without dropping what is in hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.work import MOST_ATTEMPTS, MOST_DEATHS, Claim, Queue, Wakeups, Worker, claim, finish
from tests.work.jobs import JOBS, add, ago, all_rows, change, jobs, metadata, one

_DEADLINE = 15.0


@pytest.fixture
async def store(shared_store: Store) -> AsyncIterator[Store]:
    """A store with an empty table of jobs."""
    metadata.create_all(shared_store.engine)
    with capture_logs():  # rendering the locals of a failure takes longer than most tests
        yield shared_store
    shared_store.write_now(None, lambda tx: tx.execute(delete(jobs)).rowcount)


@dataclass
class Work:
    """What a worker was given; `then` says how it goes."""

    store: Store
    then: Callable[[Claim], Any] | None = None
    seen: list[Claim] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def __call__(self, claim: Claim) -> None:
        self.seen.append(claim)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.then is not None and (waiting := self.then(claim)) is not None:
                await waiting
        finally:
            self.at_once -= 1
        await self.store.write_unscoped(finish, JOBS, claim, state="done")

    def give_up(self, tx: Transaction, claim: Claim, reason: str) -> None:
        self.given_up.append(reason)
        finish(tx, JOBS, claim, state="failed")


@asynccontextmanager
async def working(
    work: Work, *, slots: int = 4, **more: Any
) -> AsyncIterator[tuple[Worker, asyncio.Event]]:
    """A worker that runs; its event wakes it."""
    worker = Worker(work.store, JOBS, work, work.give_up, slots=slots, **more)
    wake, stop = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(worker.run(wake, stop))
    try:
        yield worker, wake
    finally:
        stop.set()
        await asyncio.wait_for(running, _DEADLINE)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(_DEADLINE):
        while not holds():
            await asyncio.sleep(0.005)


def states(store: Store) -> set[str]:
    return {row.state for row in all_rows(store).values()}


async def test_everything_due_is_done_once_within_the_slots(store: Store) -> None:
    add(store, *(f"{n:02}" for n in range(30)))
    work = Work(store)
    async with working(work, slots=4):
        await until(lambda: states(store) == {"done"})
    assert len(work.seen) == 30
    assert work.most_at_once <= 4


async def test_many_slots_are_filled_a_few_rows_a_claim(store: Store) -> None:
    add(store, *(f"{n:02}" for n in range(12)))
    go, taken = asyncio.Event(), list[int]()

    def claimer(tx: Transaction, queue: Queue, limit: int, **more: Any) -> list[Claim]:
        claims = claim(tx, queue, limit, **more)
        taken.append(len(claims))
        return claims

    work = Work(store, lambda _: go.wait())
    async with working(work, slots=12, at_once=5, claimer=claimer) as (worker, _):
        await until(lambda: worker.busy == 12)
        go.set()
    assert max(taken) == 5


async def test_a_woken_worker_looks_at_once(store: Store) -> None:
    work = Work(store)
    async with working(work) as (worker, wake):
        await until(lambda: worker.last_seen > 0)
        add(store, "a")
        wake.set()
        await until(lambda: states(store) == {"done"})


async def test_a_worker_that_nobody_woke_finds_what_is_due(store: Store) -> None:
    work = Work(store)
    async with working(work) as (worker, _):
        await until(lambda: worker.last_seen > 0)
        add(store, "a")
        await until(lambda: states(store) == {"done"})


async def test_stopping_finishes_what_is_in_hand_and_starts_nothing(store: Store) -> None:
    add(store, "a")
    go = asyncio.Event()
    work = Work(store, lambda _: go.wait())
    async with working(work, slots=1) as (worker, _):
        await until(lambda: worker.busy == 1)
        add(store, "b")
        asyncio.get_running_loop().call_later(0.05, go.set)
    assert {id_: row.state for id_, row in all_rows(store).items()} == {"a": "done", "b": "due"}


async def test_a_failed_start_is_repeated_after_a_growing_wait(store: Store) -> None:
    add(store, "a")
    waits: list[timedelta] = []

    def fail(_: Claim) -> None:
        raise LookupError("not today")

    work = Work(store, fail)
    async with working(work) as (_, wake):
        for attempt in range(1, MOST_ATTEMPTS):
            await until(lambda attempt=attempt: one(store, "a").attempts == attempt)  # type: ignore[misc]
            waits.append(one(store, "a").not_before - store.now())
            change(store, "a", not_before=ago(store, 1))
            wake.set()
        await until(lambda: one(store, "a").state == "failed")
    assert waits == sorted(waits)
    assert work.given_up == ["LookupError: not today"]


async def test_a_row_that_kills_its_worker_each_time_is_given_up(store: Store) -> None:
    add(store, "poison", "good", deaths=MOST_DEATHS - 1)
    change(store, "poison", claimed_by="clm_dead", lease_until=ago(store, 5))
    work = Work(store)
    async with working(work):
        await until(lambda: states(store) == {"failed", "done"})
    assert [claim.id for claim in work.seen] == ["good"]
    assert work.given_up == [f"its worker died {MOST_DEATHS} times"]


async def test_a_row_over_which_workers_died_waits_longer_each_time(store: Store) -> None:
    add(store, "a")
    work = Work(store)
    waits: list[timedelta] = []
    async with working(work) as (_, wake):
        for deaths in range(1, MOST_DEATHS - 1):
            dying = {"claimed_by": "clm_dead", "lease_until": ago(store, 5), "state": "due"}
            change(store, "a", deaths=deaths, not_before=ago(store, 9), **dying)
            wake.set()
            await until(lambda: one(store, "a").claimed_by is None)
            waits.append(one(store, "a").not_before - store.now())
            assert one(store, "a").deaths == deaths + 1
    assert work.seen == []
    assert waits == sorted(waits)
    assert waits[0] > timedelta(seconds=3)


async def test_a_row_that_one_worker_died_over_is_taken_up_at_once(store: Store) -> None:
    add(store, "a")
    change(store, "a", claimed_by="clm_dead", lease_until=ago(store, 5))
    work = Work(store)
    async with working(work):
        await until(lambda: states(store) == {"done"})
    assert [claim.deaths for claim in work.seen] == [1]


async def test_a_worker_that_lost_its_claim_leaves_the_row_to_its_owner(store: Store) -> None:
    add(store, "a")

    def stolen(claim: Claim) -> None:
        lease = store.now() + timedelta(minutes=1)
        change(store, claim.id, claimed_by="clm_other", lease_until=lease)

    work = Work(store, stolen)
    async with working(work):
        await until(lambda: len(work.seen) == 1)
    assert (one(store, "a").state, one(store, "a").claimed_by) == ("due", "clm_other")
    assert work.given_up == []


async def test_the_lease_of_long_work_is_renewed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailagent.work.RENEW_EVERY", timedelta(seconds=0.02))
    add(store, "a")
    go = asyncio.Event()
    work = Work(store, lambda _: go.wait())
    async with working(work):
        await until(lambda: len(work.seen) == 1)
        change(store, "a", lease_until=ago(store, 1))
        await until(lambda: one(store, "a").lease_until > store.now())
        go.set()
        await until(lambda: states(store) == {"done"})


async def test_two_workers_do_each_row_once(store: Store) -> None:
    add(store, *(f"{n:02}" for n in range(40)))
    first, second = Work(store), Work(store)
    async with working(first), working(second):
        await until(lambda: states(store) == {"done"})
    ids = [claim.id for claim in (*first.seen, *second.seen)]
    assert sorted(ids) == [f"{n:02}" for n in range(40)]


async def test_a_database_that_was_away_costs_no_row(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailagent.work.POLL_EVERY", 0.02)
    store = Store(postgres_url)
    metadata.create_all(store.engine)
    work = Work(store)
    async with working(work) as (worker, _):
        await until(lambda: worker.last_seen > 0)
        _end_sessions(postgres_url)
        add(store, "a")
        await until(lambda: states(store) == {"done"})
    store.close()


async def test_a_commit_wakes_the_workers_of_this_process(store: Store) -> None:
    wakeups = Wakeups(store)
    await store.write_unscoped(lambda tx: tx.wake("jobs"))
    await asyncio.wait_for(wakeups.event("jobs").wait(), _DEADLINE)
    wakeups.close()


async def test_a_commit_wakes_the_workers_of_other_processes(postgres_url: str) -> None:
    here, there = Store(postgres_url), Store(postgres_url)
    wakeups = Wakeups(here)
    wakeups.listen()
    await _until_heard(wakeups, there)
    # The server ends the session: the listener comes back by itself.
    _end_sessions(postgres_url)
    await _until_heard(wakeups, there)
    wakeups.close()
    here.close()
    there.close()


async def test_a_process_is_not_woken_twice_by_its_own_commit(postgres_url: str) -> None:
    here, there = Store(postgres_url), Store(postgres_url)
    wakeups = Wakeups(here)
    wakeups.listen()
    await _until_heard(wakeups, there)
    with psycopg.connect(postgres_url, autocommit=True) as hearing:
        hearing.execute("LISTEN mailagent")
        await here.write_unscoped(lambda tx: tx.wake("own"))
        await wakeups.event("own").wait()
        wakeups.event("own").clear()
        # All who listen hear in one order: when they know the later word, they know the earlier.
        assert await asyncio.to_thread(_next_heard, hearing, "own")
        await there.write_unscoped(lambda tx: tx.wake("later"))
        await asyncio.wait_for(wakeups.event("later").wait(), _DEADLINE)
    assert not wakeups.event("own").is_set()
    wakeups.close()
    here.close()
    there.close()


async def test_who_stops_at_once_has_told_the_others(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as hearing:
        hearing.execute("LISTEN mailagent")
        store = Store(postgres_url)
        await store.write_unscoped(lambda tx: tx.wake("jobs"))
        store.close()
        assert await asyncio.to_thread(_next_heard, hearing, "jobs")


def _next_heard(hearing: psycopg.Connection, queue: str) -> bool:
    return any(
        notice.payload == queue for notice in hearing.notifies(timeout=_DEADLINE, stop_after=1)
    )


async def _until_heard(wakeups: Wakeups, from_store: Store) -> None:
    wakeups.event("jobs").clear()
    async with asyncio.timeout(_DEADLINE):
        # The listener needs a moment to be there; what was said before, it does not hear.
        while not wakeups.event("jobs").is_set():
            await from_store.write_unscoped(lambda tx: tx.wake("jobs"))
            await asyncio.sleep(0.02)


def _end_sessions(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
