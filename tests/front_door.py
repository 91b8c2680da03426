"""The SMTP door of a house that runs in a test, and clients that come from any address.

A proxy that the door trusts names the client (PROXY protocol), so that SPF is asked of the address
from which a mail is said to come, though all of it is on loopback.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network

from mailagent.doors import SmtpDoor
from mailagent.doors.smtp import listening_socket
from tests.flow.house import House

__all__ = ["FrontDoor", "front_door"]

_PATIENCE = 10.0


def _connect(port: int, ip: str) -> smtplib.SMTP:
    """A client whose connection begins with what a proxy says of it."""
    connected = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    connected.sendall(f"PROXY TCP4 {ip} 127.0.0.1 4711 25\r\n".encode())
    client = smtplib.SMTP(local_hostname="mx.sender.example")
    client.sock = connected
    client.getreply()
    return client


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """Where mail comes in."""

    port: int

    async def send(self, raw: bytes, to: str, *, mail_from: str | None, ip: str) -> str:
        """Hand a mail in, and return what the door said last: `250 …`, or why not."""
        return await asyncio.to_thread(self.send_now, raw, to, mail_from=mail_from, ip=ip)

    def send_now(self, raw: bytes, to: str, *, mail_from: str | None, ip: str) -> str:
        """As `send`, in a thread of its own."""
        with _connect(self.port, ip) as client:
            client.ehlo()
            said = client.mail(mail_from or "")
            if said[0] < 400:
                said = client.rcpt(to)
            if said[0] < 400:
                said = client.data(raw)
        return f"{said[0]} {said[1].decode()}"


@asynccontextmanager
async def front_door(house: House) -> AsyncIterator[FrontDoor]:
    """Open the house's SMTP door on a free port."""
    services = house.services
    door = SmtpDoor(
        services.acceptor,
        services.directory,
        hostname=services.settings.hostname,
        proxy_networks=[ip_network("127.0.0.0/8")],
        now=house.store.now,
    )
    listening = listening_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]
    await door.start(listening)
    try:
        yield FrontDoor(port)
    finally:
        await door.stop(timedelta(seconds=1))
