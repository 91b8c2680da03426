"""Which tables follow from others, and how are they made anew?

Each database has a form of its own for the words by which mail is found, so a backup leaves them
out and a restore makes them from the mails.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, select

from mailagent.store import mail_search
from mailagent.store.tables import message_words, messages
from mailagent.store.transaction import Transaction

__all__ = ["DERIVED", "rebuild"]

DERIVED = frozenset({message_words.name})

_AT_ONCE = 1_000
_NEXT = (
    select(
        messages.c.id,
        messages.c.workspace_id,
        messages.c.agent_id,
        messages.c.subject,
        messages.c.from_name,
        messages.c.from_address,
        messages.c.written,
    )
    .where(messages.c.id > bindparam("last"), messages.c.agent_id.is_not(None))
    .order_by(messages.c.id)
    .limit(_AT_ONCE)
)


def rebuild(tx: Transaction) -> None:
    """Let every mail be found by its words, in the order in which they were read."""
    tx.execute(delete(message_words))
    last = ""
    while rows := tx.rows(_NEXT, {"last": last}):
        for row in rows:
            texts = (row.subject, row.from_name, row.from_address, row.written)
            mail_search.add(tx.of(row.workspace_id), row.id, row.agent_id, *texts)
        tx.end()
        last = rows[-1].id
