"""A loopback HTTP server that speaks the Messages API, as far as an agent's tests need it.

`async with ModelServer([decide("Hello."), status(529)]) as server:` answers one request after
another; `server.requests` holds what was asked. After the last answer it repeats the last one. A
function in place of the list answers by what is asked. Who asks for a stream gets the message as
one, block by block, unless the server is made without.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any

__all__ = [
    "Answer",
    "Fault",
    "ModelServer",
    "decide",
    "message",
    "status",
    "stream",
    "text",
    "tool_use",
    "wish",
]


class Fault(Enum):
    """What the server does instead of an answer."""

    HANG = "read the request, say nothing"
    CUT = "send half an answer, then close"
    CUT_STREAM = "begin a stream, then close within a block"
    DROP = "close without a byte"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    kind: str = "application/json"


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


def wish(name: str, given: object, *, number: int = 1) -> dict[str, Any]:
    """A block that asks for a tool."""
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}


def decide(words: str | None = None, *, number: int = 9, **said: Any) -> Answer:
    """A message that decides: a reply of these words, or what `said` says; None leaves out."""
    given: dict[str, Any] = {
        "action": "reply",
        "text": words,
        "intent": "question",
        "sentiment": "neutral",
        "urgency": "normal",
        "topics": ["returns"],
        "summary": "A question.",
        "confidence": 0.9,
        "reasoning": "A document says so.",
        **said,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return message(wish("decide", given, number=number), stop_reason="tool_use")


def stream(*events: dict[str, Any] | str, code: int = 200) -> Answer:
    """A stream of these events; a text is sent as it stands."""
    body = "".join(
        one if isinstance(one, str) else f"event: {one['type']}\ndata: {json.dumps(one)}\n\n"
        for one in events
    )
    return Answer(body.encode(), code, kind="text/event-stream")


def _events(message: dict[str, Any]) -> list[dict[str, Any] | str]:
    """What the service streams for a message: each block begun, filled in two pieces, ended."""
    usage = message.get("usage")
    head = {**message, "content": [], "stop_reason": None}
    if isinstance(usage, dict):
        head["usage"] = {**usage, "output_tokens": 1}
    events: list[dict[str, Any] | str] = [
        {"type": "message_start", "message": head},
        {"type": "ping"},
    ]
    for index, block in enumerate(message["content"]):
        begun, changes = dict(block), []
        match block:
            case {"type": "text", "text": str() as text}:
                begun["text"] = ""
                changes = [{"type": "text_delta", "text": one} for one in (text[:3], text[3:])]
            case {"type": "thinking", "thinking": str() as text}:
                begun |= {"thinking": "", "signature": ""}
                changes = [
                    {"type": "thinking_delta", "thinking": text},
                    {"type": "signature_delta", "signature": block.get("signature")},
                ]
            case {"type": "tool_use", "input": given}:
                begun["input"] = {}
                written = json.dumps(given)
                changes = [
                    {"type": "input_json_delta", "partial_json": one}
                    for one in ("", written[:5], written[5:])
                ]
            case _:
                pass
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": one} for one in changes]
        events.append({"type": "content_block_stop", "index": index})
    told = usage.get("output_tokens") if isinstance(usage, dict) else None
    ended = {"stop_reason": message.get("stop_reason"), "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": told}})
    events.append({"type": "message_stop"})
    return events


def _streamed(answer: Answer) -> Answer:
    """The answer as a stream, where it is a message."""
    try:
        message = json.loads(answer.body)
    except ValueError:
        return answer
    content = message.get("content") if isinstance(message, dict) else None
    if answer.status != 200 or not isinstance(content, list):
        return answer
    if not all(isinstance(block, dict) for block in content):
        return answer
    return stream(*_events(message))


def status(code: int, *, kind: str = "api_error", **headers: str) -> Answer:
    """An error of the API; headers are given with `_` for `-`."""
    body = {"type": "error", "error": {"type": kind, "message": "an error for the test"}}
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(json.dumps(body).encode(), code, named)


@dataclass
class ModelServer:
    """Answers each request with the next of `answers`, or with what that says to it."""

    answers: Sequence[Answer | Fault] | Callable[[dict[str, Any]], Awaitable[Answer | Fault]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""
    streams: bool = True

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

    async def _next(self) -> Answer | Fault:
        if callable(self.answers):
            return await self.answers(self.requests[-1])
        return self.answers[min(len(self.requests), len(self.answers)) - 1]

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
        match answer := await self._next():
            case Fault.HANG:
                await self._closing.wait()
            case Fault.DROP:
                return
            case Fault.CUT:
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"id": "msg')
                await writer.drain()
            case Fault.CUT_STREAM:
                begun = _events(json.loads(text("Half an answer").body))[:4]
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                piece = stream(*begun).body
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
            case Answer():
                if self.streams and self.requests[-1].get("stream"):
                    answer = _streamed(answer)
                lines = [
                    f"HTTP/1.1 {answer.status} Answer",
                    f"Content-Type: {answer.kind}",
                    "Connection: close",
                    f"Content-Length: {len(answer.body)}",
                    *(f"{name}: {value}" for name, value in answer.headers),
                ]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)
                await writer.drain()
