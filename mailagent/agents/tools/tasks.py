"""The tool that makes a task in the workspace's own system."""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["CREATE_TASK"]

CREATE_TASK = Tool(
    name="create_task",
    description="Make a task in the workspace's task system, for a person to work on later.",
    input_schema=taking(
        title={"type": "string", "minLength": 1, "maxLength": 200},
        description={"type": "string", "maxLength": 4_000, "optional": True},
        due={"type": "string", "format": "date-time", "optional": True},
        priority={
            "type": "string",
            "enum": ["low", "normal", "high", "urgent"],
            "optional": True,
        },
    ),
    effect="changes",
    least=Standing.STRANGER,
    touches="posts a task to the agent's task address, signed",
)
