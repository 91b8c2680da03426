"""What was said between us and the model since the mails, and what does its last word mean?

A message of the model is kept as the JSON it came as: thinking blocks and whatever the service adds
must go back unchanged. Source: platform.claude.com "Tool use", "Handling stop reasons".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mailagent.agents.decision import handed_over
from mailagent.agents.tools import ToolResult
from mailagent.agents.turn import Step
from mailagent.errors import Malformed
from mailagent.outgoing import Handoff

__all__ = ["Exchange", "model_step", "read_message", "text_of", "tool_step", "unfinished"]

_DECIDE_NOW = "Now call decide, with what you have written as its text if that is your answer."
_ENDS = ("end_turn", "stop_sequence")


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
        if step.kind not in ("model", "tool"):
            return
        assert isinstance(step.content, Mapping)
        if step.kind == "model":
            self._rounds.append((step.content, []))
        else:
            self._rounds[-1][1].append(step.content)

    @property
    def questions(self) -> int:
        return len(self._rounds)

    @property
    def last(self) -> Mapping[str, Any] | None:
        return self._rounds[-1][0] if self._rounds else None

    @property
    def words(self) -> Sequence[Mapping[str, Any]]:
        """The last answers, as far back as they were words and no tool; oldest first."""
        found: list[Mapping[str, Any]] = []
        for answer, _ in reversed(self._rounds):
            if answer["stop_reason"] == "tool_use":
                break
            found.insert(0, answer)
        return found

    @property
    def documents(self) -> tuple[str, ...]:
        """Names of all documents that the model was shown."""
        shown = (name for _, results in self._rounds for r in results for name in r["documents"])
        return tuple(dict.fromkeys(shown))

    @property
    def done(self) -> frozenset[str]:
        """Names of the tools that did what they were asked for."""
        results = (result for _, results in self._rounds for result in results)
        return frozenset(str(one["name"]) for one in results if not one["is_error"])

    @property
    def hand_over(self) -> str | None:
        """Why a tool gave the case to a person; None when none did."""
        reasons = (r.get("hand_over") for _, results in self._rounds for r in results)
        return next((str(reason) for reason in reasons if reason), None)

    def next_wish(self) -> Mapping[str, Any] | None:
        """The first tool use of the last answer that has no result yet."""
        if not self._rounds:
            return None
        answer, results = self._rounds[-1]
        done = {result["tool_use_id"] for result in results}
        if answer["stop_reason"] != "tool_use":
            return None
        return next((wish for wish in _wishes(answer) if wish.get("id") not in done), None)

    @property
    def wishes(self) -> int:
        """How many tools the last answer asks for at once."""
        return len(_wishes(self._rounds[-1][0])) if self._rounds else 0

    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for answer, results in self._rounds:
            messages.append({"role": "assistant", "content": answer["content"]})
            blocks: list[dict[str, Any]] = [
                {
                    "type": "tool_result",
                    "tool_use_id": result["tool_use_id"],
                    "content": result["text"],
                    "is_error": result["is_error"],
                }
                for result in results
            ]
            messages.append(
                {"role": "user", "content": blocks or [{"type": "text", "text": _DECIDE_NOW}]}
            )
        return messages


def read_message(body: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    """A message of the model from an answer's body. Raises Malformed when it is none."""
    try:
        answer = json.loads(body) if isinstance(body, bytes) else body
    except (ValueError, RecursionError):
        answer = None
    answer = _cleaned(answer)
    if isinstance(answer, Mapping) and isinstance(answer.get("content"), list):
        blocks = answer["content"]
        if all(isinstance(block, Mapping) for block in blocks):
            wants_tool = answer.get("stop_reason") == "tool_use"
            wishes = _wishes(answer)
            named = all(isinstance(wish.get("id"), str) for wish in wishes)
            different = len({str(wish.get("id")) for wish in wishes}) == len(wishes)
            if named and different and (wishes or not wants_tool):
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
            "hand_over": result.hand_over,
        },
    )


def text_of(answer: Mapping[str, Any]) -> str:
    """The words of a message."""
    text = "\n\n".join(
        block["text"].strip()
        for block in answer["content"]
        if block.get("type") == "text" and isinstance(block.get("text"), str)
    )
    return text.strip()


def unfinished(answer: Mapping[str, Any]) -> Handoff | None:
    """Why a message that asks for no tool cannot be what the turn ends with; None when it can."""
    match answer["stop_reason"]:
        case reason if reason in _ENDS and text_of(answer):
            return None
        case reason if reason in _ENDS:
            return handed_over("the model gave an empty answer")
        case "refusal":
            return handed_over("the model refused to answer")
        case "max_tokens":
            return handed_over("the model's answer was cut off at its limit")
        case "model_context_window_exceeded":
            return handed_over("the thread is too long for the model")
        case other:
            return handed_over(f"the model stopped for {other!r}")


def _cleaned(value: Any) -> Any:
    """JSON can say what no mail and no database can hold: half a character, NUL."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode().replace("\x00", "")
        case list():
            return [_cleaned(one) for one in value]
        case dict():
            return {_cleaned(name): _cleaned(one) for name, one in value.items()}
        case _:
            return value


def _wishes(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [block for block in answer["content"] if block.get("type") == "tool_use"]
