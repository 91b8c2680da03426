"""A loopback HTTP server that speaks the Messages API, as far as an agent's tests need it.

`async with ModelServer([text("Hello."), status(529)]) as server:` answers one request after
another; `server.requests` holds what was asked. After the last answer it repeats the last one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any

__all__ = ["Answer", "Fault", "ModelServer", "message", "status", "text", "tool_use"]


class Fault(Enum):
    """What the server does instead of an answer."""

    HANG = "read the request, say nothing"
    CUT = "send half an answer, then close"
    DROP = "close without a byte"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


def message(
    *content: dict[str, Any],
    stop_reason: str | None = "end_turn",
    model: str = "claude-sonnet-5-5",
    usage: dict[str, Any] | None = None,
) -> Answer:
    """A message of the model with these blocks; 100 tokens in, 20 out."""
    body = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage or {"input_tokens": 100, "output_tokens": 20},
    }
    return Answer(json.dumps(body).encode())


def text(words: str, **changes: Any) -> Answer:
    """A message that is one text."""
    return message({"type": "text", "text": words}, **changes)


def tool_use(query: object, *, name: str = "search_documents", number: int = 1) -> Answer:
    """A message that asks for a tool."""
    wish = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {"query": query}}
    return message(
        {"type": "thinking", "thinking": "Let me look.", "signature": "c2lnbmVk"},
        {"type": "text", "text": "I will look that up."},
        wish,
        stop_reason="tool_use",
    )


def status(code: int, *, kind: str = "api_error", **headers: str) -> Answer:
    """An error of the API; headers are given with `_` for `-`."""
    body = {"type": "error", "error": {"type": kind, "message": "an error for the test"}}
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(json.dumps(body).encode(), code, named)


@dataclass
class ModelServer:
    """Answers each request with the next of `answers`."""

    answers: Sequence[Answer | Fault]
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> ModelServer:
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
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
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._answer(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.paths.append(head[0].split(" ")[1])
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        self.keys.append(headers.get("x-api-key", bearer))
        self.requests.append(json.loads(body))
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        match answer:
            case Fault.HANG:
                await self._closing.wait()
            case Fault.DROP:
                return
            case Fault.CUT:
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"id": "msg')
                await writer.drain()
            case Answer():
                lines = [
                    f"HTTP/1.1 {answer.status} Answer",
                    "Content-Type: application/json",
                    "Connection: close",
                    f"Content-Length: {len(answer.body)}",
                    *(f"{name}: {value}" for name, value in answer.headers),
                ]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)
                await writer.drain()
