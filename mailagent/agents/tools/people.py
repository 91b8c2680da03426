"""The tools that bring a person in."""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["ASK_COLLEAGUE", "HAND_OVER"]

ASK_COLLEAGUE = Tool(
    name="ask_colleague",
    description=(
        "Ask a person of the workspace a question by mail, by their e-mail address. Their answer"
        " comes back into this case as a further turn. Then decide to wait; tell the writer that"
        " you are asking, when it will take long."
    ),
    input_schema=taking(
        person={"type": "string", "format": "email"},
        question={"type": "string", "minLength": 1, "maxLength": 4_000},
    ),
    effect="sends",
    least=Standing.STRANGER,
    touches="sends a mail to a member of the workspace, who may answer into the case",
)
HAND_OVER = Tool(
    name="hand_over",
    description=(
        "Give this case to a person: when one must decide or act, when you are asked for a person,"
        " or when you cannot help. The turn ends with it."
    ),
    input_schema=taking(reason={"type": "string", "minLength": 1, "maxLength": 500}),
    effect="reads",
    least=Standing.BLOCKED,
    touches="hands the case to the agent's people",
)
