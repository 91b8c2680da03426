"""An HTTP server on loopback that speaks rspamd's `/checkv2` as it is documented.

async with RspamdServer() as server:
    server.answers = verdict("add header", 8.5, {"BAYES_SPAM": 5.1})
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

__all__ = ["Asked", "RspamdServer", "verdict"]


def verdict(action: str, score: float = 0.0, symbols: Mapping[str, float] | None = None) -> bytes:
    """A whole answer, with all that rspamd says beside the part that is read."""
    rules = {
        name: {"name": name, "score": weight, "metric_score": weight, "description": "a rule"}
        for name, weight in (symbols or {}).items()
    }
    return json.dumps(
        {
            "is_skipped": False,
            "score": score,
            "required_score": 15.0,
            "action": action,
            "thresholds": {"reject": 15.0, "add header": 6.0, "greylist": 4.0},
            "symbols": rules,
            "messages": {},
            "message-id": "1@customer.example",
            "time_real": 0.01,
            "milter": {"remove_headers": {"X-Spam": 0}},
        }
    ).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


@dataclass
class RspamdServer:
    """Answers all requests alike; every field may be changed while it runs."""

    answers: bytes = verdict("no action")
    status: int = 200
    silent: bool = False
    """Take the request and never answer."""
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head, reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.asked.append(Asked(first.split(" ")[1], headers, body))
        if self.silent:
            await asyncio.Event().wait()
        length = f"content-length: {len(self.answers)}\r\n"
        writer.write(f"HTTP/1.1 {self.status} X\r\n{length}\r\n".encode() + self.answers)
        await writer.drain()
