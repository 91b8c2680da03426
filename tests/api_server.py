"""A provider's HTTP API on loopback, or one that fails exactly as told.

A provider's own server (`tests.postmark_server`, `tests.sendgrid_server`) says what a request gets;
`script` stands in for that, one entry a request, until it is used up.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self

__all__ = ["ApiServer", "Fault", "Reply", "Request"]


class Fault(Enum):
    """What the server does instead of an answer."""

    DEAF = "read nothing after the header, keep the connection"
    RESET_EARLY = "reset the connection after the header"
    HANG = "read all, say nothing"
    CUT = "read all, close the connection within the answer"
    RESET = "read all, reset the connection"
    SLOW = "read all, and answer an octet at a time"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `body` is sent as JSON unless it is bytes."""

    status: int
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was read whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ApiServer:
    """`requests` holds what was read whole, also where no answer followed."""

    script: Sequence[Reply | Fault | None] = ()
    """None leaves the request to `reply`."""
    requests: list[Request] = field(default_factory=list)
    held: asyncio.Event | None = None
    """Awaited when a request was read, before it is answered."""

    def reply(self, request: Request) -> Reply:
        """What a request gets that the script says nothing of."""
        raise NotImplementedError

    def now_does(self, *steps: Reply | Fault | None) -> None:
        """Another script, for the next requests of a server that runs."""
        self._script = list(steps)

    async def __aenter__(self) -> Self:
        self._script = list(self.script)
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._end.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (EOFError, OSError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.partition(": ") for line in lines if line)
        headers = {name.lower(): value for name, _, value in pairs}
        step = self._script.pop(0) if self._script else None
        if step is Fault.DEAF:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await self._end.wait()
            return False
        if step is Fault.RESET_EARLY:
            _reset(writer)
            return False
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, path, headers, body)
        self.requests.append(request)
        if self.held is not None:
            await self.held.wait()
        match step:
            case Fault.RESET:
                _reset(writer)
            case Fault.HANG:
                await self._end.wait()
            case Fault.CUT:
                await _say(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            case Fault.SLOW:
                for octet in _octets(self.reply(request)):
                    await _say(writer, bytes([octet]))
                return True
            case reply:
                await _say(writer, _octets(reply or self.reply(request)))
                return True
        return False


def _octets(reply: Reply) -> bytes:
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    fields = {"Content-Length": str(len(body)), **reply.headers}
    header = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {reply.status} X\r\n{header}\r\n".encode() + body


async def _say(writer: asyncio.StreamWriter, octets: bytes) -> None:
    writer.write(octets)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
