"""What is known of a correspondent: counts from their mails, and notes."""

from __future__ import annotations

from sqlalchemy import func, select

from mailagent.agents.tools import ToolResult, data_block
from mailagent.agents.turn import JsonValue
from mailagent.errors import Malformed
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish
from mailagent.store.tables import contact_notes, messages
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["contact_card", "note_contact"]

_SHOWN = 20
_MOST_NOTES = 200


def contact_card(tx: Transaction, _: Services, case: Case, __: Wish) -> ToolResult:
    """The card of whoever wrote this mail."""
    seen = tx.row(
        select(func.count(), func.min(messages.c.at), func.max(messages.c.at)).where(
            messages.c.from_address == case.mail.content.from_[0].address,
            messages.c.agent_id == case.agent_id,
        )
    )
    notes = tx.rows(
        select(contact_notes)
        .where(contact_notes.c.address == case.author)
        .order_by(contact_notes.c.created_at.desc())
        .limit(_SHOWN)
    )
    shown: list[JsonValue] = [
        {"at": row.created_at.isoformat(), "by": row.author, "note": row.note} for row in notes
    ]
    assert seen is not None
    card: JsonValue = {
        "address": case.author,
        "standing": case.standing.word,
        "mails_to_this_agent": seen[0],
        "first_mail_at": seen[1].isoformat() if seen[1] else None,
        "last_mail_at": seen[2].isoformat() if seen[2] else None,
        "notes": shown,
    }
    return ToolResult(data_block("contact", card))


def note_contact(tx: Transaction, _: Services, case: Case, wish: Wish) -> ToolResult:
    """Keep a note. Raises Malformed for one too many."""
    of_them = contact_notes.c.address == case.author
    if len(tx.rows(select(contact_notes.c.id).where(of_them).limit(_MOST_NOTES))) >= _MOST_NOTES:
        raise Malformed("note", f"is one too many: {_MOST_NOTES} are kept of a contact")
    tx.insert(
        contact_notes,
        {
            "id": new_id("not"),
            "address": case.author,
            "delivery_id": case.mail.delivery_id,
            "note": wish["note"],
            "author": f"agent:{case.handle}",
            "created_at": tx.now,
        },
    )
    return ToolResult("Noted.")
