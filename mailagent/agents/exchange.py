"""What was said between us and the model since the mails, and what does its last word mean?

A message of the model is kept as the JSON it came as: thinking blocks and whatever the service adds
must go back unchanged. Source: platform.claude.com "Tool use", "Handling stop reasons".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mailagent.agents.prompt import HAND_OVER, NO_REPLY
from mailagent.agents.tools import ToolResult
from mailagent.agents.turn import Step
from mailagent.errors import Malformed
from mailagent.outgoing import Handoff, Reply, Silence

__all__ = ["Exchange", "handoff", "model_step", "outcome", "read_message", "tool_step"]

_HANDED_OVER = (
    "Thank you for your message. I cannot answer it myself; a person will read it and reply to you."
)


class Exchange:
    """What was said since the mails: the model's answers and the tools' results, in order."""

    def __init__(self) -> None:
        self._rounds: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = []

    @classmethod
    def of(cls, past: Sequence[Step]) -> Exchange:
        exchange = cls()
        for step in past:
            exchange.add(step)
        return exchange

    def add(self, step: Step) -> None:
        assert isinstance(step.content, Mapping)
        if step.kind == "model":
            self._rounds.append((step.content, []))
        elif step.kind == "tool":
            self._rounds[-1][1].append(step.content)

    @property
    def questions(self) -> int:
        return len(self._rounds)

    @property
    def last(self) -> Mapping[str, Any] | None:
        return self._rounds[-1][0] if self._rounds else None

    @property
    def documents(self) -> tuple[str, ...]:
        """Names of all documents that the model was shown."""
        shown = (name for _, results in self._rounds for r in results for name in r["documents"])
        return tuple(dict.fromkeys(shown))

    def next_wish(self) -> Mapping[str, Any] | None:
        """The first tool use of the last answer that has no result yet."""
        if not self._rounds:
            return None
        answer, results = self._rounds[-1]
        done = {result["tool_use_id"] for result in results}
        if answer["stop_reason"] != "tool_use":
            return None
        return next((wish for wish in _wishes(answer) if wish.get("id") not in done), None)

    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for answer, results in self._rounds:
            messages.append({"role": "assistant", "content": answer["content"]})
            blocks = [
                {
                    "type": "tool_result",
                    "tool_use_id": result["tool_use_id"],
                    "content": result["text"],
                    "is_error": result["is_error"],
                }
                for result in results
            ]
            messages.append({"role": "user", "content": blocks})
        return messages


def read_message(body: bytes) -> Mapping[str, Any]:
    """A message of the model from an answer's body. Raises Malformed when it is none."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, Mapping) and isinstance(answer.get("content"), list):
        blocks = answer["content"]
        if all(isinstance(block, Mapping) for block in blocks):
            wants_tool = answer.get("stop_reason") == "tool_use"
            wishes = _wishes(answer)
            named = all(isinstance(wish.get("id"), str) for wish in wishes)
            if named and (wishes or not wants_tool):
                return answer
    raise Malformed("answer", "is no message of a model")


def model_step(answer: Mapping[str, Any]) -> Step:
    """What is recorded of a message of the model."""
    kept = ("id", "model", "stop_reason", "content")
    return Step("model", {name: answer.get(name) for name in kept})


def tool_step(wish: Mapping[str, Any], result: ToolResult) -> Step:
    """What is recorded of a tool's result."""
    return Step(
        "tool",
        {
            "tool_use_id": wish.get("id"),
            "name": wish.get("name"),
            "text": result.text,
            "documents": list(result.documents),
            "is_error": result.is_error,
        },
    )


def outcome(answer: Mapping[str, Any], documents: tuple[str, ...]) -> Reply | Silence | Handoff:
    """What the model's last message says, in our words."""
    text = "\n\n".join(
        block["text"].strip()
        for block in answer["content"]
        if block.get("type") == "text" and isinstance(block.get("text"), str)
    )
    # JSON can say what no mail and no database can hold: half a character, NUL.
    text = text.encode("utf-8", "replace").decode().replace("\x00", "").strip()
    match answer["stop_reason"]:
        case "end_turn" | "stop_sequence" if text.startswith(HAND_OVER):
            return handoff(_reason(text, HAND_OVER))
        case "end_turn" | "stop_sequence" if text.startswith(NO_REPLY):
            return Silence(_reason(text, NO_REPLY))
        case "end_turn" | "stop_sequence" if text:
            return Reply(text, sources=documents)
        case "end_turn" | "stop_sequence":
            return handoff("the model gave an empty answer")
        case "refusal":
            return handoff("the model refused to answer")
        case "max_tokens":
            return handoff("the model's answer was cut off at its limit")
        case "model_context_window_exceeded":
            return handoff("the thread is too long for the model")
        case other:
            return handoff(f"the model stopped for {other!r}")


def handoff(reason: str) -> Handoff:
    """A person answers, and the writer is told so."""
    return Handoff(reason, notice=_HANDED_OVER)


def _reason(text: str, marker: str) -> str:
    return text.removeprefix(marker).strip()[:500] or "the model gave no reason"


def _wishes(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [block for block in answer["content"] if block.get("type") == "tool_use"]
