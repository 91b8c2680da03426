"""May this client try another password now?

Failed logins are counted by client address (IPv6 by its /64) and by the name they tried. A client
that lately logged in under a name is not kept out by others who guess at it, so that nobody can
lock an owner out from elsewhere. `LoginThrottle` counts in this process; an installation counts
over all of its own (`backend.submission.failures`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from mailagent.doors.smtp_census import counted_as

__all__ = ["LoginThrottle", "Throttle", "ThrottleLimits"]

_MOST_ENTRIES = 50_000


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """How many failures within `within` are let pass, counted from the first of them."""

    per_address: int = 10
    per_name: int = 20
    within: timedelta = timedelta(minutes=15)


class Throttle(Protocol):
    """Who has failed too often. A count that cannot be read or written holds nobody back."""

    async def wait(self, client_ip: str, name: str | None = None, /) -> timedelta | None:
        """How long the client must wait; None when it may try, under that name if one is given."""
        ...

    async def failed(self, client_ip: str, name: str, /) -> None:
        """A login was wrong."""
        ...

    async def succeeded(self, client_ip: str, name: str, /) -> None:
        """A login was right: its name is not held against this client any more."""
        ...


class LoginThrottle:
    """Counts failed logins; `now` gives seconds that never go back."""

    def __init__(
        self,
        limits: ThrottleLimits | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._now = limits or ThrottleLimits(), now
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """What is counted → how often, and when the count ends; the oldest first."""
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def wait(self, client_ip: str, name: str | None = None) -> timedelta | None:
        """See `Throttle`."""
        address = counted_as(client_ip)
        found = self._left(f"ip {address}", self._limits.per_address)
        if found is None and name is not None and (address, name) not in self._welcome:
            found = self._left(f"name {name}", self._limits.per_name)
        return found

    async def failed(self, client_ip: str, name: str) -> None:
        """See `Throttle`."""
        now = self._now()
        for what in (f"ip {counted_as(client_ip)}", f"name {name}"):
            count, end = self._failures.get(what, (0, 0.0))
            if end <= now:
                self._failures.pop(what, None)
                count, end = 0, now + self._limits.within.total_seconds()
            self._failures[what] = (count + 1, end)
        _trim(self._failures)

    async def succeeded(self, client_ip: str, name: str) -> None:
        """See `Throttle`."""
        self._welcome[counted_as(client_ip), name] = None
        _trim(self._welcome)

    def _left(self, what: str, most: int) -> timedelta | None:
        count, end = self._failures.get(what, (0, 0.0))
        left = end - self._now()
        return timedelta(seconds=left) if count >= most and left > 0 else None


def _trim(
    entries: OrderedDict[str, tuple[int, float]] | OrderedDict[tuple[str, str], None],
) -> None:
    """Keep memory bounded: who guesses under very many names pushes out the oldest counts."""
    while len(entries) > _MOST_ENTRIES:
        entries.popitem(last=False)
