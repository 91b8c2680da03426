"""An SMTP server that takes every mail, or fails at any command exactly as told.

In a test: `async with Sink(script={"RCPT": "550 5.1.1 no such user"}) as sink:` and then
`sink.port`, `sink.taken`. As a process of its own, for tests that kill the sender:
`python -m tests.smtp_sink --port 0 --log taken.log` prints its port, and the Message-ID of each
mail it takes is on disk (fsync) before the 250 is said.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import ipaddress
import os
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Behaviour", "Certificate", "Fault", "Sink", "Taken", "make_certificate"]


class Fault(Enum):
    """What a server does instead of a reply."""

    HANG = "say nothing, keep the connection"
    DROP = "close the connection"
    CUT = "say half a reply, then close the connection"
    RESET = "reset the connection"


Behaviour = str | Fault
"""A reply line (`451 4.3.0 later`), any garbage, or a fault."""
Script = Mapping[str, Behaviour | list[Behaviour]]
"""What to do at each point: always, or once for each entry of a list, which is used up."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One mail that was answered with 250."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    content: bytes
    mail_options: str
    username: str | None
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-made certificate: for the server, and for a client that shall trust it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@dataclass
class Sink:
    """Keys of `script`: CONNECT, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, CONTENT (the reply to the
    final dot) and MIDWAY (what happens at the content's first bytes)."""

    script: Script = field(default_factory=dict)
    certificate: Certificate | None = None
    implicit_tls: bool = False
    users: Mapping[str, str] = field(default_factory=dict)
    logins: str = "PLAIN LOGIN"
    extensions: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "SIZE 30000000", "ENHANCEDSTATUSCODES")
    log: Path | None = None
    delay: timedelta = timedelta()
    held: asyncio.Event | None = None
    """Awaited when a mail was read, before anything is said of it."""
    then: Callable[[Taken], Awaitable[None]] | None = None
    """What is done with each mail once its 250 was said."""
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    """How many there were."""
    port: int = 0

    async def __aenter__(self) -> Sink:
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        context = self.certificate.server if self.certificate and self.implicit_tls else None
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=context, limit=64 * 1024 * 1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.close()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            await _Session(self, reader, writer).serve()
        except (OSError, EOFError, _Dropped):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def hang_up(self, last_word: str = "") -> None:
        """Close all connections, after a last word if there is one; returns when they are gone."""
        tasks = tuple(self._tasks)
        for writer in self._writers:
            writer.write(last_word.encode())
            writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def keep(self, mail: Taken) -> None:
        """Record a mail; durable on return when there is a log."""
        if self.log is not None:
            found = re.search(rb"^message-id:\s*(<[^>]*>)", mail.content, re.MULTILINE | re.I)
            line = (found[1] if found else b"?") + b" " + ",".join(mail.rcpt_to).encode() + b"\n"
            with self.log.open("ab") as log:
                log.write(line)
                log.flush()
                os.fsync(log.fileno())
        self.taken.append(mail)


class _Dropped(Exception):
    """The script says: close now."""


class _Session:
    def __init__(
        self, sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.sink = sink
        self.reader = reader
        self.writer = writer
        self.encrypted = sink.implicit_tls
        self.username: str | None = None
        self.mail_from: str | None = None
        self.mail_options = ""
        self.rcpt_to: list[str] = []

    async def serve(self) -> None:
        await self.reply("CONNECT", "220 sink.example ESMTP")
        while line := await self.line():
            self.sink.commands.append(line)
            verb = line.split(" ", 1)[0].upper()
            match verb:
                case "EHLO" | "HELO":
                    await self.reply("EHLO", self.greeting(verb))
                case "STARTTLS":
                    await self.start_tls()
                case "AUTH":
                    await self.authenticate(line)
                case "MAIL":
                    await self.mail(line)
                case "RCPT":
                    await self.rcpt(line)
                case "DATA":
                    await self.data()
                case "RSET":
                    self.rcpt_to = []
                    await self.reply("RSET", "250 2.0.0 forgotten")
                case "QUIT":
                    await self.say("221 2.0.0 bye")
                    return
                case _:
                    await self.say("500 5.5.2 what?")

    async def line(self) -> str:
        waiting = asyncio.create_task(self.reader.readline())
        closing = asyncio.create_task(self.sink._closing.wait())
        await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not waiting.done():
            waiting.cancel()
            return ""
        return waiting.result().decode("utf-8", "replace").rstrip("\r\n")

    async def say(self, reply: str) -> None:
        self.writer.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
        await self.writer.drain()

    async def reply(self, point: str, usual: str) -> bool:
        """Answer as the script says; True when the answer was the usual one."""
        told = self.sink.script.get(point)
        if isinstance(told, list):
            told = told.pop(0) if told else None
        match told:
            case None:
                await self.say(usual)
                return True
            case Fault.HANG:
                await self.sink._closing.wait()
                raise _Dropped
            case Fault.DROP:
                raise _Dropped
            case Fault.CUT:
                self.writer.write(usual[:2].encode())
                await self.writer.drain()
                raise _Dropped
            case Fault.RESET:
                # No time to linger: what was not sent is dropped, and a RST says so (socket(7)).
                abrupt = struct.pack("ii", 1, 0)
                connection = self.writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abrupt)
                raise _Dropped
            case reply:
                assert isinstance(reply, str)
                await self.say(reply)
                return False

    def greeting(self, verb: str) -> str:
        if verb == "HELO":
            return "250 sink.example"
        offered = ["sink.example", *self.sink.extensions]
        if self.sink.certificate and not self.encrypted:
            offered.append("STARTTLS")
        if self.sink.users:
            offered.append(f"AUTH {self.sink.logins}")
        return "\n".join([*(f"250-{word}" for word in offered[:-1]), f"250 {offered[-1]}"])

    async def start_tls(self) -> None:
        if self.sink.certificate is None:
            await self.say("502 5.5.1 not here")
        elif await self.reply("STARTTLS", "220 2.0.0 go ahead"):
            await self.writer.start_tls(self.sink.certificate.server)
            self.encrypted = True

    async def authenticate(self, line: str) -> None:
        if not await self._scripted("AUTH"):
            return
        words = base64.b64decode(line.split(" ")[2]).decode()
        if line.split(" ")[1] == "LOGIN":
            await self.say("334 UGFzc3dvcmQ6")
            user, password = words, base64.b64decode(await self.line()).decode()
        else:
            _, user, password = words.split("\0")
        if self.sink.users.get(user) == password:
            self.username = user
            await self.say("235 2.7.0 welcome")
        else:
            await self.say(f"535 5.7.8 not with {line.split(' ')[2]}")

    async def _scripted(self, point: str) -> bool:
        """False when the script has answered already."""
        return point not in self.sink.script or await self.reply(point, "")

    async def mail(self, line: str) -> None:
        found = re.match(r"MAIL FROM:<([^>]*)>(.*)", line, re.I)
        assert found, line
        self.mail_from, self.mail_options, self.rcpt_to = found[1], found[2].strip(), []
        await self.reply("MAIL", "250 2.1.0 ok")

    async def rcpt(self, line: str) -> None:
        found = re.match(r"RCPT TO:<(.*)>", line, re.I)
        assert found, line
        if await self.reply("RCPT", "250 2.1.5 ok"):
            self.rcpt_to.append(found[1])

    async def data(self) -> None:
        if not await self.reply("DATA", "354 go on"):
            return
        if "MIDWAY" in self.sink.script:
            await self.reader.readexactly(1)
            await self.reply("MIDWAY", "")
        content = await self.reader.readuntil(b"\r\n.\r\n")
        mail = Taken(
            mail_from=self.mail_from or "",
            rcpt_to=tuple(self.rcpt_to),
            content=re.sub(rb"(?m)^\.\.", b".", content[:-3]),
            mail_options=self.mail_options,
            username=self.username,
            encrypted=self.encrypted,
        )
        # Taking the mail and then not saying so is what a lost connection looks like.
        if not isinstance(self.sink.script.get("CONTENT"), str):
            self.sink.keep(mail)
        await asyncio.sleep(self.sink.delay.total_seconds())
        if self.sink.held is not None:
            await self.sink.held.wait()
        if await self.reply("CONTENT", "250 2.0.0 taken as Q1") and self.sink.then is not None:
            await self.sink.then(mail)


def make_certificate(folder: Path, host: str = "127.0.0.1") -> Certificate:
    """Make a certificate for a loopback address and the contexts of both sides."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    chain = folder / "sink.pem"
    chain.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    client = ssl.create_default_context(
        cadata=certificate.public_bytes(serialization.Encoding.PEM).decode()
    )
    return Certificate(server, client)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file for the Message-IDs of what was taken")
    parser.add_argument("--delay", type=float, default=0, help="seconds from taking to the 250")
    parser.add_argument("--content", help="reply to the final dot, e.g. '451 4.3.0 later'")
    given = parser.parse_args()
    script: dict[str, Behaviour] = {"CONTENT": given.content} if given.content else {}
    delay = timedelta(seconds=given.delay)
    async with Sink(script=script, log=given.log, delay=delay, port=given.port) as sink:
        print(sink.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
