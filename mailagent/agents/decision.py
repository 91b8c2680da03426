"""What does an agent decide at the end of a turn, and what does that mean in our words?

A decision is foreign input, whether a model's or a webhook's: it is read here against one schema.
Forwarding and asking for a person's yes are a `Reply` that the policy judges, waiting is a
`Silence` with an end, scheduling and tasks are tools that have run before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from mailagent.agents.tools.schema import checked
from mailagent.agents.tools.tool import taking
from mailagent.errors import Malformed
from mailagent.mail import Address
from mailagent.outgoing import Assessment, Handoff, Reply, Sentiment, Silence, Urgency

__all__ = ["ACTIONS", "DECIDE", "SCHEMA", "handed_over", "read"]

ACTIONS = (
    "reply",
    "forward",
    "escalate",
    "schedule",
    "create_task",
    "wait",
    "no_action",
    "request_approval",
)
_BY_TOOL: Mapping[str, Collection[str]] = {
    "schedule": ("schedule_follow_up", "invite"),
    "create_task": ("create_task",),
}
"""Actions that a tool does: one of these must have run in the turn."""
_HANDED_OVER = (
    "Thank you for your message. I cannot answer it myself; a person will read it and reply to you."
)

SCHEMA: Mapping[str, Any] = taking(
    action={
        "type": "string",
        "enum": list(ACTIONS),
        "description": (
            "reply: text is sent to the writer. forward: text and the mail's content go to the"
            " addresses in to. request_approval: as reply, but a person must agree first. escalate:"
            " a person takes over, for the reason. wait: nothing now, look again at wait_until or"
            " when somebody writes. no_action: no answer is due. schedule, create_task: what you"
            " did by the tool of that name; text, if any, is sent to the writer."
        ),
    },
    text={
        "type": "string",
        "maxLength": 50_000,
        "optional": True,
        "description": "The mail to be sent, as it stands: plain text, no subject, no headers.",
    },
    to={
        "type": "array",
        "items": {"type": "string", "format": "email"},
        "maxItems": 10,
        "optional": True,
        "description": "For forward: whom to write to.",
    },
    reason={
        "type": "string",
        "maxLength": 500,
        "optional": True,
        "description": "Why a person must act, or why no answer is due; one sentence.",
    },
    wait_until={"type": "string", "format": "date-time", "optional": True},
    intent={"type": "string", "maxLength": 100, "description": "What the writer wants, in words."},
    sentiment={"type": "string", "enum": list(get_args(Sentiment))},
    urgency={"type": "string", "enum": list(get_args(Urgency))},
    topics={"type": "array", "items": {"type": "string", "maxLength": 60}, "maxItems": 10},
    summary={"type": "string", "maxLength": 1_000, "description": "The case in a few sentences."},
    confidence={
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "How sure you are that this decision is right.",
    },
    reasoning={
        "type": "string",
        "maxLength": 2_000,
        "description": "Why you decided so; people of the workspace read it, the writer does not.",
    },
)
"""The schema of a decision."""

DECIDE: Mapping[str, Any] = {
    "name": "decide",
    "description": (
        "Decide what happens with this case. Every turn ends with exactly one call of this tool,"
        " alone, after all others."
    ),
    "input_schema": SCHEMA,
}


def read(
    wish: object,
    *,
    documents: Sequence[str] = (),
    done: Collection[str] = (),
    required: Collection[str] | None = None,
) -> Reply | Silence | Handoff:
    """A decision in our words. Raises Malformed with a sentence for whoever decided.

    `documents` are the names of what it rests on, `done` the tools that have run; `required` are
    the fields that must be there, where not all of the schema's.
    """
    schema = SCHEMA if required is None else {**SCHEMA, "required": list(required)}
    said: Mapping[str, Any] = checked(schema, wish)
    action, text = said["action"], str(said.get("text") or "").strip()
    reason = str(said.get("reason") or "").strip()
    assessment = _assessment(said)
    tools = _BY_TOOL.get(action)
    if tools is not None and not set(tools) & set(done):
        raise Malformed("action", f"{action} is done by a tool: call {' or '.join(tools)} first")
    match action:
        case "escalate":
            return Handoff(reason or "the agent gave no reason", _notice(text), assessment)
        case "wait":
            at = said.get("wait_until")
            wake_at = None if at is None else datetime.fromisoformat(at)
            return Silence(reason or "it waits", wake_at, assessment)
        case "no_action":
            return Silence(reason or "no answer is due", None, assessment)
        case "schedule" | "create_task" if not text:
            return Silence(reason or f"{action} was done by a tool", None, assessment)
    if not text:
        raise Malformed("text", f"must be given for {action}: the mail to be sent")
    to = tuple(map(Address, said.get("to") or ()))
    if action == "forward" and not to:
        raise Malformed("to", "must name whom to forward to")
    if to and action not in ("forward", "request_approval"):
        raise Malformed("to", "is for forward: a reply goes to the writer")
    ask = reason or "the agent asks for a person's yes" if action == "request_approval" else None
    return Reply(
        text,
        sources=tuple(documents),
        to=to,
        ask=ask,
        confidence=assessment.confidence,
        assessment=assessment,
    )


def handed_over(reason: str) -> Handoff:
    """A person answers, and the writer is told so."""
    return Handoff(reason, notice=_HANDED_OVER)


def _notice(text: str) -> str:
    return text or _HANDED_OVER


def _assessment(said: Mapping[str, Any]) -> Assessment:
    confidence = said.get("confidence")
    return Assessment(
        intent=str(said.get("intent") or ""),
        sentiment=said.get("sentiment"),
        urgency=said.get("urgency"),
        topics=tuple(said.get("topics") or ()),
        summary=str(said.get("summary") or ""),
        reasoning=str(said.get("reasoning") or ""),
        confidence=None if confidence is None else float(confidence),
    )
