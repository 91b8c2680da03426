"""How do many steps wait for PostgreSQL at once, in one thread?

A step is plain code that waits for the server dozens of times. With a thread for each, every wait
gave the interpreter up and had to win it back from the others: eleven futex calls a wait, half of
the processor's time (docs/decisions/0035). Here each step is a greenlet; one that waits lets the
next one go on, in the same thread. Statements that SQLAlchemy runs take part, because the driver
waits by `SteppingConnection`.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from greenlet import getcurrent, greenlet
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus
from psycopg.waiting import Ready

from mailagent.store.handed_in import HandedIn, tell

__all__ = ["StepThread", "SteppingConnection"]

T = TypeVar("T")

_Awaited = tuple[int, int]
"""A socket, and the `Ready` of psycopg that its step waits for."""


class StepThread:
    """Runs callers' functions in their order, as many side by side as there are connections."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._handed_in: deque[HandedIn[[]]] = deque()
        self._done: list[HandedIn[[]]] = []
        self._ready: deque[tuple[_Step, object]] = deque()
        self._waiting: dict[int, _Step] = {}
        self._poll = select.poll()
        self._bell, self._button = socket.socketpair()
        self._poll.register(self._bell, select.POLLIN)
        self._sleeps = False
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread; what it returns or raises."""
        if self._closed:
            raise RuntimeError("the store is closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._handed_in.append(HandedIn(function, future))
        self._ring()
        result: T = await future
        return result

    def close(self) -> None:
        """Finish what was handed in."""
        if not self._closed:
            self._closed = True
            self._button.send(b"\0")
            self._thread.join()
            self._bell.close()
            self._button.close()

    def _ring(self) -> None:
        if self._sleeps:
            self._sleeps = False
            self._button.send(b"\0")

    def _serve(self) -> None:
        while not (self._closed and not self._ready and not self._waiting and not self._handed_in):
            while self._handed_in and len(self._ready) + len(self._waiting) < self._at_once:
                self._ready.append((_Step(self._run), self._handed_in.popleft()))
            if self._ready:
                step, value = self._ready.popleft()
                self._go_on(step, value)
            else:
                self._tell()
                self._hear()
        self._tell()

    def _go_on(self, step: _Step, value: object) -> None:
        awaited: _Awaited | None = step.switch(value)
        if awaited is None:
            return
        descriptor, wanted = awaited
        events = (select.POLLIN if wanted & Ready.R else 0) | (
            select.POLLOUT if wanted & Ready.W else 0
        )
        self._waiting[descriptor] = step
        self._poll.register(descriptor, events)

    def _run(self, work: HandedIn[[]]) -> None:
        if work.future.cancelled():
            return
        try:
            work.result = work.function()
        except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
            work.error = error
        self._done.append(work)

    def _tell(self) -> None:
        tell(self._done)
        self._done = []

    def _hear(self) -> None:
        """Wait until a step can go on or one is handed in."""
        self._sleeps = True
        # Who hands in from now on rings; who did so just before has not.
        is_due = self._handed_in if len(self._waiting) < self._at_once else ()
        is_over = self._closed and not self._waiting
        for descriptor, events in self._poll.poll(0 if is_due or is_over else None):
            if descriptor == self._bell.fileno():
                self._bell.recv(4096)
                continue
            self._poll.unregister(descriptor)
            # An error or a hang-up is for libpq to read.
            ready = (Ready.R if events & ~select.POLLOUT else 0) | (
                Ready.W if events & select.POLLOUT else 0
            )
            self._ready.append((self._waiting.pop(descriptor), ready))
        self._sleeps = False


class _Step(greenlet):
    """A step in a `StepThread`, by its class told from any other greenlet."""


class SteppingConnection(psycopg.Connection[Any]):
    """A connection whose waits let other steps go on, if one of them uses it."""

    steps = False
    """Set once it is connected and set up: SQLAlchemy does that under a lock of its own, for which
    the next step would wait in vain.
    """

    def commit(self) -> None:
        """As psycopg's, which begins to wait before it sees that there is nothing to commit."""
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            super().commit()

    def rollback(self) -> None:
        """As psycopg's, see `commit`."""
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            super().rollback()

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As psycopg's; see there for the protocol of `gen`."""
        step = getcurrent()
        if not (self.steps and isinstance(step, _Step)):
            return super().wait(gen, interval=interval, timeout=timeout)
        assert step.parent is not None
        descriptor = self.pgconn.socket
        try:
            wanted = next(gen)
            while True:
                wanted = gen.send(step.parent.switch((descriptor, wanted)))
        except StopIteration as end:
            result: RV = end.value
            return result
