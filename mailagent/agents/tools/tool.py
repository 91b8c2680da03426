"""What is a tool, and what does it give back?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mailagent.agents.trust import Action, Effect, Standing

__all__ = ["Tool", "ToolResult", "taking"]


@dataclass(frozen=True, slots=True)
class Tool:
    """Something an agent may ask for."""

    name: str
    """`[a-z0-9_]{1,64}`; what policies name it by, after `tool:`."""
    description: str
    """For the model: what it does and when to use it."""
    input_schema: Mapping[str, Any]
    """JSON Schema of what it takes; for our own tools in the subset of `tools.schema`."""
    effect: Effect
    least: Standing
    """The least standing of the mail's writer; no policy lowers it."""
    touches: str
    """What it reads and what it changes, in words for people."""

    @property
    def action(self) -> Action:
        """What a policy decides about."""
        return Action(self.name, self.effect, self.least)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the agent is told, and which documents it thereby saw. Foreign words stand in blocks."""

    text: str
    documents: tuple[str, ...] = ()
    is_error: bool = False
    hand_over: str | None = field(default=None)
    """Why a person must take the case over, when the call asked for that."""


def taking(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema of these properties; those without `optional` must be given."""
    required = [name for name, one in properties.items() if not one.get("optional")]
    return {
        "type": "object",
        "properties": {
            name: {key: value for key, value in one.items() if key != "optional"}
            for name, one in properties.items()
        },
        "required": required,
        "additionalProperties": False,
    }
