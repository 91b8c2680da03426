"""How does a due row find a worker, exactly one at a time?

A mail's own rows are its queue (docs/decisions/0001): a claim is a lease on a row, never a state. A
worker that dies loses its lease and another takes over; one that freezes and wakes is fenced off,
because every update says which claim it acts for. This is the only file that knows how.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import psycopg
import structlog
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    update,
)

from mailagent.errors import LostClaim
from mailagent.store.announcements import CHANNEL
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.store.types import Moment
from mailagent.tokens import new_id

__all__ = [
    "MOST_ATTEMPTS",
    "MOST_DEATHS",
    "Claim",
    "Queue",
    "Wakeups",
    "Worker",
    "backoff",
    "claim",
    "claim_fairly",
    "finish",
    "holds",
    "release",
    "renew",
    "rest",
]

LEASE = timedelta(seconds=6)
"""With two polls at most until somebody looks, a dead node's work goes on within 10 seconds."""
RENEW_EVERY = timedelta(seconds=1.5)
"""So that a live node may be late by 4.5 seconds before its work is taken for abandoned."""
POLL_EVERY = 1.0
CLAIM_EVERY = 0.02
"""Seconds between two claims of a worker at the least: under load many rows share one commit."""
MOST_ATTEMPTS = 5
MOST_DEATHS = 10
"""More than starts that fail: a node that is killed again and again has always the same rows in
hand, and at most one of them is to blame. Each waits longer from the second death on."""

log = structlog.get_logger()


@dataclass(frozen=True, eq=False)
class Queue:
    """Rows of one table that are due while `due` holds. The table has the columns of a claim."""

    name: str
    table: Table
    due: ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Claim:
    """One row in one worker's hands until its lease ends."""

    workspace_id: str
    id: str
    token: str
    attempts: int
    """How many earlier starts of this row's own work failed."""
    deaths: int = 0
    """How many workers have died with it in hand."""


def claim(
    tx: Transaction,
    queue: Queue,
    limit: int,
    *,
    rescue: bool = False,
    of: str | None = None,
    mine: Collection[str] = (),
    last: bool = False,
) -> list[Claim]:
    """Lease up to `limit` due rows, the longest due first; with `of`, of one workspace. `last` is
    for who does nothing else in this transaction.

    With `rescue`, take over one row whose worker died instead: alone, so that the row which may
    have killed it does not charge a death to its neighbours of a batch. Never one that is held
    by a token in `mine`: a worker that could not renew knows that it lives.
    """
    token = new_id("clm")
    claimed = tx.rows(
        _claiming(queue, on_sqlite=tx.on_sqlite, rescue=rescue, fairly=of is not None),
        {
            "most": 1 if rescue else limit,
            "claim_token": token,
            "of": of,
            **({"mine": list(mine)} if rescue else {}),
            **_times(tx),
        },
        last=last,
    )
    return [Claim(row[0], row[1], token, row[2], row[3]) for row in claimed]


@cache
def _claiming(queue: Queue, *, on_sqlite: bool, rescue: bool, fairly: bool) -> Update:
    table, now = queue.table, _now(on_sqlite)
    free = (
        and_(
            table.c.claimed_by.is_not(None),
            table.c.lease_until < now,
            table.c.claimed_by.not_in(bindparam("mine", expanding=True)),
        )
        if rescue
        else table.c.claimed_by.is_(None)
    )
    chosen = (
        select(table.c.id)
        .where(queue.due, table.c.not_before <= now, free)
        .order_by(table.c.not_before)
        .limit(bindparam("most", type_=Integer))
        .with_for_update(skip_locked=True)
    )
    if fairly:
        chosen = chosen.where(table.c.workspace_id == bindparam("of"))
    owner: Any = table.c.workspace_id if "workspace_id" in table.c else literal_column("''")
    return (
        update(table)
        .where(table.c.id.in_(chosen))
        .values(
            claimed_by=bindparam("claim_token"),
            lease_until=_lease_end(on_sqlite),
            deaths=table.c.deaths + (1 if rescue else 0),
        )
        .returning(owner, table.c.id, table.c.attempts, table.c.deaths)
    )


def _now(on_sqlite: bool) -> ColumnElement[Any]:
    """Now, for a statement that is run with `_times`.

    It is PostgreSQL's own clock, so that leases need no agreement between machines; this machine's
    on SQLite. The statement's time, not the row's: only a stable one can bound an index.
    """
    return bindparam("now", type_=Moment()) if on_sqlite else func.statement_timestamp()


def _lease_end(on_sqlite: bool) -> ColumnElement[Any]:
    return bindparam("lease_end", type_=Moment()) if on_sqlite else _now(on_sqlite) + LEASE


def _times(tx: Transaction) -> dict[str, datetime]:
    return {"now": tx.now, "lease_end": tx.now + LEASE} if tx.on_sqlite else {}


def claim_fairly(
    tx: Transaction,
    queue: Queue,
    limit: int,
    *,
    cap: int,
    rescue: bool = False,
    mine: Collection[str] = (),
    last: bool = False,
) -> list[Claim]:
    """Lease due rows round robin over workspaces, at most `cap` in hand for each of them; `last` as
    in `claim`.
    """
    if rescue:
        return claim(tx, queue, 1, rescue=True, mine=mine, last=last)
    # Two nodes that count at the same time would both fill the same workspace's cap.
    tx.lock(f"claim {queue.name}")
    shares = tx.rows(_shares(queue, on_sqlite=tx.on_sqlite), _times(tx))
    take = _round_robin({row[0]: min(cap - row[1], row[2]) for row in shares}, limit)
    final = next(reversed(take), None)
    return [
        one
        for workspace_id, share in take.items()
        for one in claim(tx, queue, share, of=workspace_id, last=last and workspace_id == final)
    ]


@cache
def _shares(queue: Queue, *, on_sqlite: bool) -> Select[Any]:
    """How many rows of each workspace are in hand and how many wait, the least served first."""
    table, now = queue.table, _now(on_sqlite)
    leased = case((table.c.claimed_by.is_not(None), 1), else_=0)
    waiting = case((and_(table.c.claimed_by.is_(None), table.c.not_before <= now), 1), else_=0)
    return (
        select(table.c.workspace_id, func.sum(leased), func.sum(waiting))
        .where(queue.due)
        .group_by(table.c.workspace_id)
        .having(func.sum(waiting) > 0)
        .order_by(func.sum(leased), func.min(table.c.not_before))
    )


def _round_robin(wanted: dict[str, int], limit: int) -> dict[str, int]:
    taken = dict.fromkeys(wanted, 0)
    while limit > 0 and (open_ := [ws for ws, n in wanted.items() if taken[ws] < n]):
        for workspace_id in open_[:limit]:
            taken[workspace_id] += 1
        limit -= len(open_[:limit])
    return {workspace_id: n for workspace_id, n in taken.items() if n}


def finish(tx: Transaction, queue: Queue, claim: Claim, /, **values: Any) -> None:
    """Write the row's next state and give the lease back. LostClaim, when it is not ours, ends the
    transaction by the time it commits.
    """
    unclaimed = {"claimed_by": None, "lease_until": None, "attempts": 0, "deaths": 0}
    fence = {"claim_id": claim.id, "claim_token": claim.token}
    tx.expect(
        _fenced_update(queue.table),
        {**fence, **unclaimed, **values},
        otherwise=LostClaim(f"{queue.name} {claim.id}"),
    )


def holds(tx: Transaction, queue: Queue, claim: Claim) -> None:
    """Make sure, inside this transaction, that the row is still ours; LostClaim as in `finish`."""
    # An update, not a select: it locks the row, so that no rescue can slip between here and commit.
    tx.expect(
        _fenced_update(queue.table),
        {"claim_id": claim.id, "claim_token": claim.token, "claimed_by": claim.token},
        otherwise=LostClaim(f"{queue.name} {claim.id}"),
    )


@cache
def _fenced_update(table: Table) -> Update:
    """Updates the row `claim_id` while `claim_token` holds it; the other parameters are its new
    values.
    """
    return update(table).where(
        table.c.id == bindparam("claim_id"), table.c.claimed_by == bindparam("claim_token")
    )


def release(tx: Transaction, queue: Queue, claim: Claim, *, after: timedelta) -> None:
    """Give the row back undone, due again `after` from now; counts as one failed start."""
    finish(tx, queue, claim, attempts=claim.attempts + 1, not_before=tx.now + after)


def rest(tx: Transaction, queue: Queue, claim: Claim) -> None:
    """Give back a row over which workers died, due again after a wait that grows with them."""
    again = tx.now + backoff(claim.deaths - 2)
    finish(tx, queue, claim, attempts=claim.attempts, deaths=claim.deaths, not_before=again)


def backoff(attempts: int, *, base: timedelta = timedelta(seconds=5)) -> timedelta:
    """How long to wait after `attempts` failed starts: doubling, at most 6 h, ± 20 %."""
    jitter: float = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
    doubled = base * int(2 ** min(attempts, 20))  # far beyond the bound, far below overflow
    return min(doubled, timedelta(hours=6)) * jitter


class Wakeups:
    """Tells this process's workers that rows are due: at once from within the process, by
    PostgreSQL's NOTIFY from other machines. A poll every second stands behind it.
    """

    def __init__(self, store: Store) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._closed = threading.Event()
        self._listener: threading.Thread | None = None
        store.on_wake(self._from_thread)

    def event(self, queue: str) -> asyncio.Event:
        """The event that is set when rows of `queue` became due."""
        return self._events.setdefault(queue, asyncio.Event())

    def wake(self, queues: Iterable[str]) -> None:
        """Wake workers of this process; call it in the event loop."""
        for queue in queues:
            self.event(queue).set()

    def _from_thread(self, queues: frozenset[str]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.wake, queues)

    def listen(self) -> None:
        """On PostgreSQL, hear what other processes commit."""
        if not self._store.on_sqlite:
            self._listener = threading.Thread(target=self._hear, name="wakeups", daemon=True)
            self._listener.start()

    def _hear(self) -> None:
        address = self._store.url.replace("postgresql+psycopg://", "postgresql://")
        while not self._closed.is_set():
            try:
                with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
                    connection.execute(f"LISTEN {CHANNEL}".encode())
                    while not self._closed.is_set():
                        for notice in connection.notifies(timeout=1):
                            if notice.pid != self._store.announcer:
                                self._from_thread(frozenset([notice.payload]))
            except psycopg.Error as error:
                log.warning("wakeups.lost", error=str(error), mend="polling until it is back")
                self._closed.wait(1)

    def close(self) -> None:
        """Stop hearing."""
        self._closed.set()
        if self._listener:
            self._listener.join(3)


class Worker:
    """Claims rows of one queue and has `work` done on each, `slots` at a time.

    `work` finishes its claim itself. What it raises is logged and the row given back with a growing
    delay; after `MOST_ATTEMPTS` of those, or after `MOST_DEATHS` of its workers, `give_up` writes
    its end.
    """

    def __init__(
        self,
        store: Store,
        queue: Queue,
        work: Callable[[Claim], Awaitable[None]],
        give_up: Callable[[Transaction, Claim, str], None],
        *,
        slots: int,
        at_once: int | None = None,
        most_attempts: int | None = MOST_ATTEMPTS,
        claimer: Callable[..., list[Claim]] = claim,
    ) -> None:
        """`at_once` bounds what one claim takes, where many slots are for work that waits: hundreds
        of rows that begin in the same moment would keep other queues from the database.
        """
        self._store, self._queue, self._work, self._give_up = store, queue, work, give_up
        self._slots, self._most_attempts, self._claimer = slots, most_attempts, claimer
        self._at_once = slots if at_once is None else at_once
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._next_rescue = 0.0
        self._last_seen = 0.0

    @property
    def busy(self) -> int:
        """How many rows are in hand."""
        return len(self._running)

    @property
    def last_seen(self) -> float:
        """`time.monotonic()` of the last look at the queue; health compares it."""
        return self._last_seen

    async def run(self, wake: asyncio.Event, stop: asyncio.Event) -> None:
        """Work until `stop`; then finish what is in hand (cancel this task to drop it)."""
        renewing = asyncio.create_task(self._renew())
        try:
            while not stop.is_set():
                await asyncio.sleep(self._last_seen + CLAIM_EVERY - time.monotonic())
                wake.clear()
                full = await self._fill()
                if full and not wake.is_set():
                    continue
                await self._pause(wake, stop)
            if self._running:
                await asyncio.wait(self._running)
        finally:
            renewing.cancel()
            for task in list(self._running):
                task.cancel()

    async def _pause(self, wake: asyncio.Event, stop: asyncio.Event) -> None:
        waits = {asyncio.ensure_future(wake.wait()), asyncio.ensure_future(stop.wait())}
        watched: set[asyncio.Future[Any]] = (
            {*waits, *self._running} if self.busy >= self._slots else {*waits}
        )
        try:
            await asyncio.wait(watched, timeout=POLL_EVERY, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def _fill(self) -> bool:
        """Claim for the free slots; whether there may be more due than was claimed."""
        free = min(self._slots - self.busy, self._at_once)
        if free <= 0:
            return False
        try:
            claims: list[Claim] = []
            if time.monotonic() >= self._next_rescue:
                mine = {one.token for one in self._running.values()}
                claims = await self._store.write_unscoped(
                    self._claimer, self._queue, 1, rescue=True, mine=mine, last=True
                )
                if not claims:
                    self._next_rescue = time.monotonic() + POLL_EVERY
            rescued = bool(claims)
            if free > len(claims):
                claims += await self._store.write_unscoped(
                    self._claimer, self._queue, free - len(claims), last=True
                )
        except Exception:
            # The database may be away for a minute: the top of this job keeps looking.
            log.exception("work.claim_failed", queue=self._queue.name)
            await asyncio.sleep(POLL_EVERY)
            return False
        self._last_seen = time.monotonic()
        for one in claims:
            task = asyncio.create_task(self._one(one, rescued=rescued and one is claims[0]))
            self._running[task] = one
            task.add_done_callback(lambda done: self._running.pop(done, None))
        # One dead worker leaves many rows: each is taken alone, but none waits for the next poll.
        return rescued or len(claims) >= free

    async def _one(self, claim: Claim, *, rescued: bool = False) -> None:
        if rescued and claim.deaths > 1:
            await self._after_deaths(claim)
            return
        try:
            await self._work(claim)
        except LostClaim:
            log.warning("work.claim_lost", queue=self._queue.name, id=claim.id)
        except Exception as error:
            # The top of every job: what nobody foresaw costs this row an attempt, no other.
            log.exception("work.failed", queue=self._queue.name, id=claim.id)
            await self._put_back(claim, f"{type(error).__name__}: {error}")

    async def _after_deaths(self, claim: Claim) -> None:
        if self._most_attempts is not None and claim.deaths >= MOST_DEATHS:
            reason = f"its worker died {claim.deaths} times"
            await self._give_back(claim, self._give_up, claim, reason)
        else:
            await self._give_back(claim, rest, self._queue, claim)

    async def _put_back(self, claim: Claim, reason: str) -> None:
        if self._most_attempts is not None and claim.attempts + 1 >= self._most_attempts:
            await self._give_back(claim, self._give_up, claim, reason)
        else:
            after = backoff(claim.attempts)
            await self._give_back(claim, release, self._queue, claim, after=after)

    async def _give_back(
        self, claim: Claim, function: Callable[..., None], *args: Any, **kwargs: Any
    ) -> None:
        try:
            await self._write(claim, function, *args, **kwargs)
        except LostClaim:
            log.warning("work.claim_lost", queue=self._queue.name, id=claim.id)
        except Exception:
            # The database is away: the lease runs out and the row is due again.
            log.exception("work.put_back_failed", queue=self._queue.name, id=claim.id)

    async def _write(
        self, claim: Claim, function: Callable[..., None], *args: Any, **kwargs: Any
    ) -> None:
        if claim.workspace_id:
            await self._store.write(claim.workspace_id, function, *args, **kwargs)
        else:
            await self._store.write_unscoped(function, *args, **kwargs)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY.total_seconds())
            if not self._running:
                continue
            try:
                await self._store.write_unscoped(renew, self._queue, list(self._running.values()))
            except Exception:
                # A missed renewal only lets the lease run out; the fence keeps the row right.
                log.exception("work.renew_failed", queue=self._queue.name)


def renew(tx: Transaction, queue: Queue, claims: Sequence[Claim]) -> None:
    """Extend the leases that are still ours by one statement."""
    ids, tokens = [claim.id for claim in claims], list({claim.token for claim in claims})
    tx.execute(
        _renewing(queue.table, on_sqlite=tx.on_sqlite),
        {"claim_ids": ids, "claim_tokens": tokens, **_times(tx)},
    )


@cache
def _renewing(table: Table, *, on_sqlite: bool) -> Update:
    return (
        update(table)
        .where(
            table.c.id.in_(bindparam("claim_ids", expanding=True)),
            table.c.claimed_by.in_(bindparam("claim_tokens", expanding=True)),
        )
        .values(lease_until=_lease_end(on_sqlite))
    )
