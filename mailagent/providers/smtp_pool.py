"""Which connection to the relay carries the next mail? One that is open already, if it can.

Connecting, TLS and logging in cost several round trips; a relay may also count connections. A pool
belongs to one account, one process and one event loop. It never decides what became of a mail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from mailagent.errors import TransientFailure
from mailagent.providers.relay import PoolLimits
from mailagent.providers.smtp_conversation import Conversation, LoginRejected

__all__ = ["Loan", "Pool"]


_Begin = Callable[[], Awaitable[Conversation]]


class Loan:
    """One mail's use of a connection."""

    def __init__(self, relay: Conversation, *, reused: bool, begin: _Begin) -> None:
        self.relay = relay
        self.reused = reused
        """Whether others used it before: then it may have died since."""
        self._begin = begin

    async def renew(self) -> None:
        """Go on over a fresh connection. Raises as `Conversation.begin` does."""
        self.relay.leave()
        self.relay, self.reused = await self._begin(), False


class Pool:
    """Open connections to one relay. Whoever waits for one gets it in the order of asking."""

    def __init__(
        self,
        begin: _Begin,
        limits: PoolLimits,
        *,
        logs_in: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`begin` gives a greeted and logged-in connection; `clock` counts seconds."""
        self._limits = limits
        self._open = begin
        self._clock = clock
        self._turns = asyncio.Semaphore(limits.connections)
        self._idle: dict[Conversation, asyncio.TimerHandle] = {}
        self._closed = False
        self._proven = not logs_in
        """Whether the login holds, as far as is known."""
        self._proving = asyncio.Lock()
        self._rejected: tuple[float, LoginRejected] | None = None

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Loan]:
        """A connection for one mail; kept for the next one when the block ends well.

        Raises TransientFailure when none gets free in time, and as `Conversation.begin` does.
        """
        try:
            async with asyncio.timeout(self._limits.wait.total_seconds()):
                await self._turns.acquire()
        except TimeoutError:
            reason = f"all {self._limits.connections} connections to the relay are busy"
            raise TransientFailure(reason) from None
        try:
            relay = self._take()
            reused = relay is not None
            loan = Loan(relay or await self._begin(), reused=reused, begin=self._begin)
            try:
                yield loan
            except BaseException:
                loan.relay.leave()
                raise
            self._keep(loan.relay)
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Say goodbye on all connections, on those in use when their mail is done."""
        self._closed = True
        idle = list(self._idle)
        for relay in idle:
            self._idle.pop(relay).cancel()
        await asyncio.gather(*(relay.end() for relay in idle))

    def _take(self) -> Conversation | None:
        # The one used last: it is the least likely to have died, and the others may grow old.
        while self._idle:
            relay, timer = self._idle.popitem()
            timer.cancel()
            if relay.usable:
                return relay
            relay.leave()
        return None

    def _keep(self, relay: Conversation) -> None:
        seconds = self._limits.idle.total_seconds()
        worn = relay.mails >= self._limits.mails or not relay.usable
        if worn or self._closed or seconds <= 0:
            relay.leave()
            return
        loop = asyncio.get_running_loop()
        self._idle[relay] = loop.call_later(seconds, self._expire, relay)

    def _expire(self, relay: Conversation) -> None:
        del self._idle[relay]
        relay.leave()

    async def _begin(self) -> Conversation:
        if self._proven:
            return await self._log_in()
        # One tries the password for all who wait: ten wrong ones at once are what a guesser does.
        async with self._proving:
            if self._rejected is not None and self._clock() < self._rejected[0]:
                raise self._rejected[1]
            return await self._log_in()

    async def _log_in(self) -> Conversation:
        try:
            begun = await self._open()
        except LoginRejected as rejected:
            self._proven = False
            until = self._clock() + self._limits.login_pause.total_seconds()
            self._rejected = until, rejected
            raise
        self._proven = True
        return begun
