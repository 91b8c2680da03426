"""The tools that find a time and invite to it."""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["FREE_TIMES", "INVITE"]

FREE_TIMES = Tool(
    name="free_times",
    description=(
        "Times that are free in the agent's calendars, as start times with offset. Propose two or"
        " three of them. What the calendars hold is not shown."
    ),
    input_schema=taking(
        earliest={"type": "string", "format": "date-time"},
        latest={"type": "string", "format": "date-time"},
        minutes={"type": "integer", "minimum": 5, "maximum": 480},
    ),
    effect="reads",
    least=Standing.STRANGER,
    touches="reads free and busy times from the agent's ICS feeds",
)
INVITE = Tool(
    name="invite",
    description=(
        "Send the writer of this mail a calendar invitation (iCalendar) for a time that they"
        " have agreed to."
    ),
    input_schema=taking(
        start={"type": "string", "format": "date-time"},
        minutes={"type": "integer", "minimum": 5, "maximum": 480},
        title={"type": "string", "minLength": 1, "maxLength": 200},
        place={"type": "string", "maxLength": 500, "optional": True},
    ),
    effect="sends",
    least=Standing.CORRESPONDENT,
    touches="sends an invitation to the writer, in this thread",
)
