"""The tool that comes back to a thread at a later time."""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["SCHEDULE_FOLLOW_UP"]

SCHEDULE_FOLLOW_UP = Tool(
    name="schedule_follow_up",
    description=(
        "Look at this thread again at a time, at most 90 days ahead, with a note of what to do"
        " then. A mail of the writer before that cancels it, unless keep is true."
    ),
    input_schema=taking(
        at={"type": "string", "format": "date-time"},
        note={"type": "string", "minLength": 1, "maxLength": 1_000},
        keep={"type": "boolean", "optional": True},
    ),
    effect="changes",
    least=Standing.CORRESPONDENT,
    touches="adds a follow-up to this thread",
)
