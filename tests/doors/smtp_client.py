"""A peer for the SMTP door: real sockets, octets in full control, and stand-ins behind the door."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from mailagent.doors import SmtpDoor
from mailagent.doors.smtp import listening_socket
from mailagent.inbound import Accepted, Inbound, Known, Outcome

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Shelf:
    """An acceptor that keeps mails in a list; `answer` replaces its yes."""

    def __init__(self) -> None:
        self.mails: list[Inbound] = []
        self.answer: Outcome | Exception | None = None
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        self.asked.set()
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return [self.answer] * len(batch)
        self.mails += batch
        return [Accepted(tuple(m.envelope.rcpt_to)) for m in batch]


class Book:
    """A directory: everyone at our.example is known, but for a few names."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def knows(self, address: str) -> Known:
        self.asked.append(address)
        if address.lower() == "postmaster":
            return Known.YES
        local, _, domain = address.rpartition("@")
        if domain.lower() not in {"our.example", "bücher.example"}:
            return Known.NOT_OUR_DOMAIN
        match local:
            case "nobody":
                return Known.NO_SUCH_ADDRESS
            case "off":
                return Known.OFF
            case "unknown":
                return Known.UNKNOWN
            case "crash":
                raise RuntimeError("secret of the directory")
        return Known.YES


class Client:
    """One SMTP connection. `ask` sends a line and returns the whole reply."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        """The next reply, its lines joined by LF; empty when the door has closed."""
        lines: list[str] = []
        while True:
            try:
                line = (await self.reader.readline()).decode()
            except ConnectionError:
                line = ""
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def ask(self, line: str | bytes) -> str:
        self.send(line)
        return await self.reply()

    def send(self, line: str | bytes) -> None:
        octets = line.encode() if isinstance(line, str) else line
        self.writer.write(octets + b"\r\n")

    async def begin(self, *recipients: str, sender: str = "ann@their.example") -> str:
        """EHLO, MAIL and RCPTs; the last reply."""
        await self.ask("EHLO client.example")
        reply = await self.ask(f"MAIL FROM:<{sender}>")
        for recipient in recipients or ("bob@our.example",):
            reply = await self.ask(f"RCPT TO:<{recipient}>")
        return reply

    async def deliver(self, content: bytes, *recipients: str) -> str:
        """A whole mail whose content is sent as it stands; the reply to the final dot."""
        await self.begin(*recipients)
        await self.ask("DATA")
        return await self.ask(content + b".")

    async def secure(self) -> None:
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        await self.writer.start_tls(trusting)

    def reset(self) -> None:
        """Go away with an RST, not a FIN: the door is told at once that no one is left."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> bool:
        """Read to the end: whether the door closed, whatever it still said."""
        try:
            await self.reader.read()
        except ConnectionError:
            return True
        return self.reader.at_eof()


class House:
    """A running door with what stands behind it."""

    def __init__(self, door: SmtpDoor, port: int, shelf: Shelf, book: Book) -> None:
        self.door, self.port, self.shelf, self.book = door, port, shelf, book
        self._clients: list[Client] = []

    async def knock(self) -> Client:
        """A connection, its banner unread."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def client(self) -> Client:
        """A connection that was greeted."""
        client = await self.knock()
        assert (await client.reply()).startswith("220 ")
        return client

    async def gone(self) -> None:
        """Until the door holds no connection any more."""
        await self.left(0)

    async def left(self, connections: int) -> None:
        """Until the door holds so many connections."""
        while self.door.stats().open_connections != connections:
            await asyncio.sleep(0)

    async def end(self) -> None:
        await self.door.stop(timedelta(0))
        for client in self._clients:
            client.writer.close()
            try:
                await client.writer.wait_closed()
            except (ConnectionError, ssl.SSLError):
                continue


@asynccontextmanager
async def house(**options: Any) -> AsyncIterator[House]:
    """A door on a free loopback port."""
    shelf, book = Shelf(), Book()
    door = SmtpDoor(
        shelf,
        book,
        hostname="mx.our.example",
        now=lambda: NOON,
        **options,
    )
    listening = listening_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]
    await door.start(listening)
    running = House(door, port, shelf, book)
    try:
        yield running
    finally:
        await running.end()
