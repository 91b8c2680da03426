"""A loopback server that speaks the Message Batches API, and the Messages API for single questions.

`says` decides what each question gets: a message, or how it ended without one. A batch ends at the
look after `looks`; a server that `holds` ends none until `release`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.api_server import ApiServer, Reply, Request
from tests.model_server import Answer

__all__ = ["BatchServer", "errored"]

Body = Mapping[str, Any]
Says = Callable[[Body], Answer | str]


def errored(kind: str) -> str:
    """How a question ends that met an error of this kind; also `expired`, `canceled`, `lost`."""
    return f"errored {kind}"


@dataclass
class BatchServer(ApiServer):
    """`batches` holds the questions of each batch by their names, in the order of creation."""

    says: Says = field(default=lambda _: "expired")
    looks: int = 0
    holds: bool = False
    breaks_after_creating: int = 0
    """So many times it takes a batch and answers 500."""
    batches: list[dict[str, Body]] = field(default_factory=list)
    alone: list[Body] = field(default_factory=list)
    answers: dict[int, dict[str, Answer | str]] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """End what was held."""
        self.holds = False

    def reply(self, request: Request) -> Reply:
        """As platform.claude.com "Message Batches" has it."""
        url = urlsplit(request.path)
        match request.method, url.path.removeprefix("/v1/messages").strip("/").split("/"):
            case "POST", [""]:
                self.alone.append(request.json)
                said = self.says(request.json)
                assert isinstance(said, Answer)
                return Reply(said.status, said.body, {"Content-Type": said.kind})
            case "POST", ["batches"]:
                return self._create(request.json)
            case "GET", ["batches"]:
                limit = int(parse_qs(url.query)["limit"][0])
                newest = list(reversed(range(len(self.batches))))[:limit]
                told = [self._told(number) for number in newest]
                ids = {"first_id": None, "last_id": None}
                return _json({"data": told, "has_more": False, **ids})
            case "GET", ["batches", id_]:
                number = _number(id_)
                self.seen[number] = self.seen.get(number, 0) + 1
                self.looked.set()
                return _json(self._told(number))
            case "GET", ["batches", id_, "results"]:
                return Reply(
                    200, self._results(_number(id_)), {"Content-Type": "application/jsonl"}
                )
        return _json({"type": "error", "error": {"type": "not_found_error"}}, 404)

    def _create(self, asked: Any) -> Reply:
        questions = {one["custom_id"]: one["params"] for one in asked["requests"]}
        assert len(questions) == len(asked["requests"])
        number = len(self.batches)
        self.batches.append(questions)
        # Decided now, like the real service: whoever looks twice finds the same.
        self.answers[number] = {name: self.says(body) for name, body in questions.items()}
        if self.breaks_after_creating:
            self.breaks_after_creating -= 1
            return _json({"type": "error", "error": {"type": "api_error"}}, 500)
        return _json(self._told(number))

    def _told(self, number: int) -> dict[str, Any]:
        ended = not self.holds and self.seen.get(number, 0) > self.looks
        count = len(self.batches[number])
        kinds = [_kind(said) for said in self.answers[number].values()]
        now = datetime.now(UTC)
        counted = ("succeeded", "errored", "canceled", "expired")
        return {
            "id": f"msgbatch_{number}",
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": {
                "processing": 0 if ended else count,
                **{kind: kinds.count(kind) if ended else 0 for kind in counted},
            },
            "created_at": now.isoformat(),
            "expires_at": (now + timedelta(days=1)).isoformat(),
            "ended_at": now.isoformat() if ended else None,
            "results_url": f"{self.url}/v1/messages/batches/msgbatch_{number}/results"
            if ended
            else None,
        }

    def _results(self, number: int) -> bytes:
        lines = []
        # In another order than they were asked.
        for name, said in reversed(self.answers[number].items()):
            match said:
                case Answer():
                    result = {"type": "succeeded", "message": json.loads(said.body)}
                case "lost":
                    continue
                case "expired" | "canceled":
                    result = {"type": said}
                case _:
                    kind = {"type": said.removeprefix("errored "), "message": "for the test"}
                    result = {"type": "errored", "error": {"type": "error", "error": kind}}
            lines.append(json.dumps({"custom_id": name, "result": result}))
        return "".join(f"{line}\n" for line in lines).encode()


def _kind(said: Answer | str) -> str:
    return "succeeded" if isinstance(said, Answer) else said.partition(" ")[0]


def _json(body: Any, status: int = 200) -> Reply:
    return Reply(status, body, {"Content-Type": "application/json"})


def _number(id_: str) -> int:
    return int(id_.removeprefix("msgbatch_"))
