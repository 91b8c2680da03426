"""Who can answer a mail? `KINDS` is the whole list: one file, one line here."""

from __future__ import annotations

from collections.abc import Mapping

from mailagent.agents.builtin import Builtin
from mailagent.agents.claude import Claude
from mailagent.agents.turn import (
    Agent,
    AgentKind,
    AnswerLater,
    Callback,
    Endpoint,
    Memory,
    Passage,
    Profile,
    Reminder,
    Step,
    Steps,
    Summary,
    Tools,
    Turn,
    Usage,
)
from mailagent.agents.webhook import Webhook
from mailagent.errors import Misconfigured

__all__ = [
    "KINDS",
    "Agent",
    "AgentKind",
    "AnswerLater",
    "Callback",
    "Endpoint",
    "Memory",
    "Passage",
    "Profile",
    "Reminder",
    "Step",
    "Steps",
    "Summary",
    "Tools",
    "Turn",
    "Usage",
    "open_agent",
    "unpriced",
]

KINDS: tuple[type[AgentKind], ...] = (
    Builtin,
    Claude,
    Webhook,
)


def open_agent(kind: str, settings: Mapping[str, str]) -> AgentKind:
    """The agent of that kind (`LLM_PROVIDER`). Raises Misconfigured; connects to nothing."""
    for candidate in KINDS:
        if candidate.kind == kind:
            return candidate.open(settings)
    known = ", ".join(candidate.kind for candidate in KINDS)
    raise Misconfigured("LLM_PROVIDER", f"{kind!r} is no agent: choose one of {known}")


def unpriced(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Kinds of agent whose answers cost what nobody knows, each with its model's name."""
    found = {kind.kind: kind.unpriced(settings) for kind in KINDS}
    return {kind: model for kind, model in found.items() if model is not None}
