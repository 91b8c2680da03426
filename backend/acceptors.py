"""How do several processes accept on one SMTP port, and who looks after them?

Each acceptor is a child process (`backend.acceptor`) with a listening socket of its own on the
shared port; the kernel deals out connections. The sockets are made and kept open here, so a client
that knocks while an acceptor is started again waits for a second and is not turned away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from pydantic import SecretStr

from backend.acceptor import MAIL, READY, Orders
from mailagent.doors.smtp_census import SmtpStats
from mailagent.doors.smtp_shared_counts import SharedCounts
from mailagent.errors import TransientFailure
from mailagent.settings import Settings

__all__ = ["Acceptors"]

log = structlog.get_logger()

_READY_SECONDS = 60.0
_GRACE_SECONDS = 25.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 30.0
_STEADY_SECONDS = 60.0
"""Who lived so long has not died of what killed the one before."""
_KILL_AFTER = 2.0
"""Seconds that an acceptor gets to end after its grace."""


@dataclass(eq=False)
class _Place:
    """One of the acceptors, whichever process it is at the moment."""

    number: int
    listening: socket.socket
    process: Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    counts: dict[str, Any] = field(default_factory=dict)


class Acceptors:
    """The SMTP door of several processes. `on_accepted` is called, in the event loop, after mail
    was kept: what reads it is in this process.
    """

    def __init__(self, settings: Settings, *, on_accepted: Callable[[], None]) -> None:
        self._settings, self._on_accepted = settings, on_accepted
        self._places: list[_Place] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._past: Counter[str] = Counter()
        self._past_refused: Counter[str] = Counter()
        self._stopping = False

    async def start(self, listening: Sequence[socket.socket]) -> None:
        """Return when an acceptor serves each socket. Raises TransientFailure when one does not."""
        self._counts = SharedCounts(len(listening))
        self._places = [_Place(number, one) for number, one in enumerate(listening)]
        self._keepers = [asyncio.create_task(self._keep(place)) for place in self._places]
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await asyncio.gather(*(place.ready.wait() for place in self._places))
        except TimeoutError:
            await self.stop(timedelta(0))
            raise TransientFailure("an SMTP acceptor did not start: see the log") from None

    async def stop(self, grace: timedelta) -> None:
        """Listen no more, have what is in flight finished for at most `grace`, then end all."""
        self._stopping = True
        for place in self._places:
            place.listening.close()
        self._signal(signal.SIGTERM)
        if self._keepers:
            patience = grace.total_seconds() + _KILL_AFTER
            _, late = await asyncio.wait(self._keepers, timeout=patience)
            if late:
                self._signal(signal.SIGKILL)
                await asyncio.wait(late)
            self._keepers = []
            self._counts.close()

    @property
    def listening(self) -> int:
        """How many acceptors take connections now."""
        return 0 if self._stopping else sum(place.ready.is_set() for place in self._places)

    def stats(self) -> SmtpStats:
        """The counts of all, those that ended included; at most a second old."""
        total, refused = Counter(self._past), Counter(self._past_refused)
        for place in self._places:
            _add(place.counts, total, refused)
        return SmtpStats(
            open_connections=sum(place.counts.get("open_connections", 0) for place in self._places),
            held_bytes=sum(place.counts.get("held_bytes", 0) for place in self._places),
            connections=total["connections"],
            accepted=total["accepted"],
            refused=dict(refused),
        )

    async def _keep(self, place: _Place) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping:
            begin = time.monotonic()
            process = await self._launch(place)
            await self._listen_to(place, process)
            code = await process.wait()
            place.process = None
            place.ready.clear()
            _add(place.counts, self._past, self._past_refused)
            place.counts = {}
            self._counts.clear(place.number)
            if self._stopping:
                return
            if time.monotonic() - begin > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            log.error("smtp_acceptor_died", acceptor=place.number, code=code, again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _launch(self, place: _Place) -> Process:
        orders = Orders(
            number=place.number,
            processes=len(self._places),
            settings=_revealed(self._settings),
            listening_fd=place.listening.fileno(),
            counts_fd=self._counts.fd,
            salt=self._counts.salt.hex(),
            grace_seconds=_GRACE_SECONDS,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backend.acceptor"),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(orders.listening_fd, orders.counts_fd),
        )
        place.process = process
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(orders), default=str).encode() + b"\n")
        return process

    async def _listen_to(self, place: _Place, process: Process) -> None:
        """Hear what an acceptor says until it ends."""
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(1 << 16):
            *words, rest = (rest + chunk).split(b"\n")
            if MAIL in words:
                self._on_accepted()
            if READY in words:
                place.ready.set()
            counts = [word for word in words if word not in {MAIL, READY}]
            if counts:
                place.counts = json.loads(counts[-1])

    def _signal(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    place.process.send_signal(number)


def _add(counts: dict[str, Any], total: Counter[str], refused: Counter[str]) -> None:
    for name in ("connections", "accepted"):
        total[name] += counts.get(name, 0)
    refused.update(counts.get("refused", {}))


def _revealed(settings: Settings) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings
    }
