"""The SES API as a client sees it, or a server that fails exactly as told.

In a test: `async with SesServer([Reply(429, {...})]) as server:` and then `server.url`,
`server.requests`. Each request takes the next entry of the script; after the last all is well.
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
from typing import Any

__all__ = ["Fault", "Reply", "Request", "SesServer"]


class Fault(Enum):
    """What the server does instead of an answer."""

    DEAF = "read no octet of the body, keep the connection"
    RESET_EARLY = "reset the connection before the body"
    HANG = "read all, say nothing"
    CUT = "read all, close the connection within the answer"
    RESET = "read all, reset the connection"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `body` is sent as JSON unless it is bytes."""

    status: int
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was read whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class SesServer:
    """`script`: what becomes of each request, in turn."""

    script: Sequence[Reply | Fault] = ()
    requests: list[Request] = field(default_factory=list)
    begun: int = 0
    """Requests whose header came."""

    async def __aenter__(self) -> SesServer:
        self._script = list(self.script)
        self._end = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._end.set()
        for writer in list(self._open):
            writer.close()
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.begun += 1
                step = self._script.pop(0) if self._script else _SENT
                if not await self._one(head.decode(), step, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            self._open.remove(writer)
            writer.close()

    async def _one(
        self,
        head: str,
        step: Reply | Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Whether the connection goes on."""
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        if step is Fault.DEAF:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await self._end.wait()
            return False
        if step is Fault.RESET_EARLY:
            _reset(writer)
            return False
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append(Request(method, path, headers, body))
        match step:
            case Fault.RESET:
                _reset(writer)
            case Fault.HANG:
                await self._end.wait()
            case Fault.CUT:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                await writer.drain()
            case Reply(status, said, more):
                octets = said if isinstance(said, bytes) else json.dumps(said).encode()
                fields = {"Content-Length": str(len(octets)), **more}
                header = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{header}\r\n".encode() + octets)
                await writer.drain()
                return more.get("Connection") != "close"
        return False


_SENT = Reply(200, {"MessageId": "0102019a5b2c3d4e-1f2e3d4c-0000-4000-8000-00000000beef-000000"})


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
