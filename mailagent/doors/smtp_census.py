"""Who is connected to the SMTP door, and what became of those who were?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from mailagent.doors import smtp_replies as replies
from mailagent.doors.smtp_limits import SmtpLimits
from mailagent.doors.smtp_replies import Reply
from mailagent.doors.smtp_shared_counts import SharedCounts

__all__ = ["Census", "Held", "SmtpStats", "counted_as"]


@dataclass(frozen=True, slots=True)
class SmtpStats:
    """Counts since the door was made; `open_connections` and `held_bytes` are of now."""

    open_connections: int
    held_bytes: int
    """Octets of mails in memory that are not answered yet."""
    connections: int
    accepted: int
    """Mails that were answered 250, repeated ones included."""
    refused: Mapping[str, int]
    """Replies of class 4 and 5 by code, e.g. `550 5.1.1`; 4 is "later"."""


class _Connected(Protocol):
    """What the census needs of a connection."""

    def dismiss(self) -> None: ...
    def abort(self) -> None: ...


class Held:
    """What one connection holds of the memory that all share; as a context it gives it back."""

    __slots__ = ("_bytes", "_census")

    def __init__(self, census: Census) -> None:
        self._census = census
        self._bytes = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._census.hold(-self._bytes)

    def may_grow_to(self, size_bytes: int) -> bool:
        """Count `size_bytes` as held; False when all together are over the limit now."""
        grown, self._bytes = size_bytes - self._bytes, size_bytes
        return self._census.hold(grown)


class Census:
    """Counts connections against the caps, and replies for the metrics. One event loop only; with
    `shared`, the caps hold for all processes together.
    """

    def __init__(self, limits: SmtpLimits, shared: SharedCounts | None = None) -> None:
        self.accepted = 0
        self.closing = False
        self._limits = limits
        self._shared = shared
        self._held_bytes = 0
        self._open: set[_Connected] = set()
        self._by_address: Counter[str] = Counter()
        self._connections = 0
        self._replies: Counter[tuple[int, str]] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self, connection: _Connected) -> None:
        """A connection was made; it leaves again, whether it is admitted or not."""
        self._open.add(connection)
        self._connections += 1
        self._empty.clear()
        self._tell()

    def admit(self, client_ip: str) -> Reply | None:
        """Count a client under its address; a reply refuses it, and nothing was counted."""
        if self.closing:
            return replies.CLOSING
        shared, limits = self._shared, self._limits
        if (shared.connections if shared else len(self._open)) > limits.connections:
            return replies.TOO_MANY_CONNECTIONS
        key = counted_as(client_ip)
        admitted = shared.connections_from(key) if shared else self._by_address[key]
        if admitted >= limits.connections_per_address and (
            limits.cap_loopback or not ip_address(client_ip).is_loopback
        ):
            return replies.TOO_MANY_FROM_YOU
        self._by_address[key] += 1
        if shared:
            shared.admitted(key, 1)
        return None

    def leave(self, connection: _Connected, admitted_ip: str | None) -> None:
        """A connection is gone; `admitted_ip` is the address it was admitted under, if it was."""
        self._open.discard(connection)
        if admitted_ip is not None:
            key = counted_as(admitted_ip)
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]
            if self._shared:
                self._shared.admitted(key, -1)
        if not self._open:
            self._empty.set()
        self._tell()

    def hold(self, more_bytes: int) -> bool:
        """Count octets of mails in memory; False when all together are over the limit now."""
        self._held_bytes += more_bytes
        self._tell()
        held = self._shared.held_bytes if self._shared else self._held_bytes
        return held <= self._limits.held_bytes

    def held(self) -> Held:
        """A share of the memory for mails, empty yet."""
        return Held(self)

    def refused(self, reply: Reply) -> None:
        """A reply of class 4 or 5 was given."""
        self._replies[reply.code, reply.enhanced] += 1

    async def dismiss(self) -> None:
        """Ask all connections to end when what they do is done; returns when all are gone."""
        self.closing = True
        for connection in tuple(self._open):
            connection.dismiss()
        await self._empty.wait()

    async def abort(self) -> None:
        """End all connections now; returns when all are gone."""
        for connection in tuple(self._open):
            connection.abort()
        await self._empty.wait()

    def stats(self) -> SmtpStats:
        """A snapshot."""
        refused = {f"{code} {enhanced}": n for (code, enhanced), n in self._replies.items()}
        return SmtpStats(
            len(self._open), self._held_bytes, self._connections, self.accepted, refused
        )

    def _tell(self) -> None:
        if self._shared:
            self._shared.tell(connections=len(self._open), held_bytes=self._held_bytes)


def counted_as(client_ip: str) -> str:
    """IPv6 by its /64: one host may use all the addresses of its network."""
    if ":" not in client_ip:
        return client_ip
    return IPv6Address(client_ip).exploded[:19]
