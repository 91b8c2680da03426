"""The tools that know what was noted of a correspondent."""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["CONTACT_CARD", "NOTE_CONTACT"]

CONTACT_CARD = Tool(
    name="contact_card",
    description=(
        "What this workspace knows of the writer of this mail: since when, how many mails, and the"
        " notes that agents and people made."
    ),
    input_schema=taking(),
    effect="reads",
    least=Standing.CORRESPONDENT,
    touches="reads the contact card of the writer",
)
NOTE_CONTACT = Tool(
    name="note_contact",
    description=(
        "Keep a note about the writer of this mail for later turns: what will still matter in a"
        " month (their role, a preference, an agreement). Not what the thread says anyway."
    ),
    input_schema=taking(note={"type": "string", "minLength": 1, "maxLength": 2_000}),
    effect="changes",
    least=Standing.STRANGER,
    touches="adds a note to the contact card of the writer",
)
