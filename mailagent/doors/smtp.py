"""How does mail come in by SMTP? The door of an MX (RFC 5321), for everyone and without login.

It keeps nothing and decides nothing: `Directory` says which recipients are ours, `Acceptor` makes a
mail durable, and the 250 is given after that. What listens and stops is the submission door's too.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

import structlog

from mailagent.doors.smtp_blocklists import Blocklists
from mailagent.doors.smtp_census import Census, SmtpStats
from mailagent.doors.smtp_content import BareNewlines
from mailagent.doors.smtp_limits import SmtpLimits
from mailagent.doors.smtp_mx import MxDialogue
from mailagent.doors.smtp_service import MxService
from mailagent.doors.smtp_shared_counts import SharedCounts
from mailagent.inbound import Acceptor, Directory

__all__ = ["ListeningDoor", "SmtpDoor", "listening_socket"]

_log = structlog.get_logger(__name__)

# As many as may knock while the loop is busy with one big mail; the kernel caps it (somaxconn).
_BACKLOG = 1024


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens; `shared` lets others of this user listen on the same port.

    `port` 0 takes a free one. Raises OSError when the port is taken or needs privileges.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=shared)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ListeningDoor:
    """Listens in one event loop, with a `dialogue` for each who connects."""

    def __init__(self, census: Census, dialogue: Callable[[], asyncio.Protocol], name: str) -> None:
        self._census, self._dialogue, self._name = census, dialogue, name
        self._servers: list[asyncio.Server] = []

    async def start(self, listening: socket.socket) -> None:
        """Serve who connects to the socket, which is the door's from now on."""
        await self._serve(listening, self._dialogue)

    async def _serve(
        self, listening: socket.socket, dialogue: Callable[[], asyncio.Protocol]
    ) -> None:
        loop = asyncio.get_running_loop()
        host, port = listening.getsockname()[:2]
        server = await loop.create_server(dialogue, sock=listening, backlog=_BACKLOG)
        self._servers.append(server)
        _log.info(f"{self._name}_open", host=host, port=port)

    async def stop(self, grace: timedelta) -> None:
        """Listen no more, finish what is in flight for at most `grace`, then close.

        Not a 421 to whoever comes: where another process listens too, or a proxy knows another,
        the next client is served there at once.
        """
        if not self._servers:
            return
        for server in self._servers:
            server.close()
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self._census.dismiss()
        except TimeoutError:
            _log.info(f"{self._name}_cut", connections=self.stats().open_connections)
        await self._census.abort()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    @property
    def listening(self) -> int:
        """How many acceptors take connections now: one, or none."""
        return int(bool(self._servers) and not self._census.closing)

    def stats(self) -> SmtpStats:
        """Counts for the metrics."""
        return self._census.stats()


class SmtpDoor(ListeningDoor):
    """Serves one listening socket in one event loop.

    `tls` is asked at each STARTTLS. `bare_newlines` is what becomes of a bare CR or LF: refused, or
    made CRLF. From `proxy_networks`, and only from there, a PROXY header is expected and names the
    client. Who is on one of `blocklists` is refused at RCPT. `shared_counts` makes the caps those
    of all processes on the port.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        directory: Directory,
        *,
        hostname: str,
        limits: SmtpLimits | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        bare_newlines: BareNewlines = "refuse",
        proxy_networks: Sequence[IPv4Network | IPv6Network] = (),
        blocklists: Blocklists | None = None,
        shared_counts: SharedCounts | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        limits = limits or SmtpLimits()
        census = Census(limits, shared_counts)
        service = MxService(
            acceptor=acceptor,
            directory=directory,
            census=census,
            limits=limits,
            hostname=hostname,
            tls=tls,
            bare_newlines=bare_newlines,
            proxy_networks=proxy_networks,
            blocklists=blocklists,
            now=now,
        )
        super().__init__(
            census, lambda: MxDialogue(service, asyncio.get_running_loop()), "smtp_door"
        )
