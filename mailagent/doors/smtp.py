"""How does mail come in by SMTP? The door of an MX (RFC 5321), for everyone and without login.

It keeps nothing and decides nothing: `Directory` says which recipients are ours, `Acceptor` makes a
mail durable, and the 250 is given after that.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

import structlog

from mailagent.doors.smtp_census import Census, SmtpStats
from mailagent.doors.smtp_content import BareNewlines
from mailagent.doors.smtp_dialogue import SmtpDialogue
from mailagent.doors.smtp_limits import SmtpLimits
from mailagent.doors.smtp_service import SmtpService
from mailagent.inbound import Acceptor, Directory

__all__ = ["SmtpDoor"]

_log = structlog.get_logger(__name__)

# As many as may knock while the loop is busy with one big mail; the kernel caps it (somaxconn).
_BACKLOG = 1024


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SmtpDoor:
    """Listens on one port of one event loop; several processes share a port by `reuse_port`.

    `port` 0 takes a free one; `port` tells which, after `start`. `tls` is asked at each STARTTLS.
    `bare_newlines` is what becomes of a bare CR or LF: refused, or made CRLF. From
    `proxy_networks`, and only from there, a PROXY header is expected and names the client.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        directory: Directory,
        *,
        hostname: str,
        host: str,
        port: int,
        limits: SmtpLimits | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        bare_newlines: BareNewlines = "refuse",
        proxy_networks: Sequence[IPv4Network | IPv6Network] = (),
        reuse_port: bool = False,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        limits = limits or SmtpLimits()
        self.port = port
        self._host = host
        self._reuse_port = reuse_port
        self._census = Census(limits)
        self._service = SmtpService(
            acceptor=acceptor,
            directory=directory,
            census=self._census,
            limits=limits,
            hostname=hostname,
            tls=tls,
            bare_newlines=bare_newlines,
            proxy_networks=proxy_networks,
            now=now,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and listen. Raises OSError when the port is taken or needs privileges."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SmtpDialogue(self._service, loop),
            self._host,
            self.port,
            reuse_port=self._reuse_port or None,
            backlog=_BACKLOG,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        _log.info("smtp_door_open", host=self._host, port=self.port)

    async def stop(self, grace: timedelta) -> None:
        """Answer 421 to whoever comes, finish what is in flight for at most `grace`, then close."""
        if self._server is None:
            return
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self._census.dismiss()
        except TimeoutError:
            _log.info("smtp_door_cut", connections=self.stats().open_connections)
        # Before the last are cut: who connects now would not be served any more.
        self._server.close()
        await self._census.abort()
        await self._server.wait_closed()
        self._server = None

    def stats(self) -> SmtpStats:
        """Counts for the metrics."""
        return self._census.stats()
