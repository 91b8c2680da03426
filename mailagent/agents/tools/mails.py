"""The tool that writes to somebody else."""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["SEND_MAIL"]

SEND_MAIL = Tool(
    name="send_mail",
    description=(
        "Send a new mail from this address, in a thread of its own. Not for answering the writer:"
        " that is your decision at the end."
    ),
    input_schema=taking(
        to={
            "type": "array",
            "items": {"type": "string", "format": "email"},
            "minItems": 1,
            "maxItems": 10,
        },
        subject={"type": "string", "minLength": 1, "maxLength": 200},
        text={"type": "string", "minLength": 1, "maxLength": 20_000},
    ),
    effect="sends",
    least=Standing.CORRESPONDENT,
    touches="sends a new mail from this agent's address",
)
