"""Looks into earlier conversations of this agent with whoever wrote this mail, and no others."""

from __future__ import annotations

from sqlalchemy import Select, func, or_, select

from mailagent.agents.tools import ToolResult, data_block
from mailagent.agents.turn import JsonValue
from mailagent.errors import Malformed
from mailagent.flow import threads
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish
from mailagent.store.tables import messages, participants
from mailagent.store.tables import threads as thread_rows
from mailagent.store.transaction import Transaction

__all__ = ["read_thread", "search_threads"]

_MOST_FOUND = 10
_MOST_ENTRIES = 20
_ENTRY_CHARACTERS = 4_000


def search_threads(tx: Transaction, _: Services, case: Case, wish: Wish) -> ToolResult:
    """The newest conversations whose subject or mails hold the query."""
    query = str(wish.get("query") or "").strip().lower()
    statement = _theirs(case).where(thread_rows.c.id != case.thread_id)
    if query:
        holding = select(messages.c.thread_id).where(
            messages.c.workspace_id == thread_rows.c.workspace_id,
            messages.c.thread_id == thread_rows.c.id,
            func.lower(messages.c.written).contains(query, autoescape=True),
        )
        by_subject = func.lower(thread_rows.c.subject).contains(query, autoescape=True)
        statement = statement.where(or_(by_subject, holding.exists()))
    rows = tx.rows(statement.order_by(thread_rows.c.last_at.desc()).limit(_MOST_FOUND))
    if not rows:
        return ToolResult("There is no such conversation with this correspondent.")
    shown: list[JsonValue] = [
        {"thread_id": row.id, "subject": row.subject, "last_at": row.last_at.isoformat()}
        for row in rows
    ]
    return ToolResult(data_block("threads", shown))


def read_thread(tx: Transaction, _: Services, case: Case, wish: Wish) -> ToolResult:
    """One conversation. Raises Malformed for one that is not this correspondent's."""
    row = tx.row(_theirs(case).where(thread_rows.c.id == wish["thread_id"]))
    if row is None:
        raise Malformed("thread_id", "is no conversation of this correspondent with this address")
    thread = threads.history(tx, row.id, row.subject, without=[case.mail.delivery_id])
    shown: list[JsonValue] = [
        {
            "from": "we" if entry.by_us else entry.author,
            "at": entry.at.isoformat(),
            "text": entry.text[:_ENTRY_CHARACTERS],
        }
        for entry in thread.entries[-_MOST_ENTRIES:]
    ]
    return ToolResult(data_block("thread", {"subject": row.subject, "mails": shown}))


def _theirs(case: Case) -> Select[tuple[str, str, object]]:
    """Threads of this agent in which the writer is a proven participant."""
    return (
        select(thread_rows.c.id, thread_rows.c.subject, thread_rows.c.last_at)
        .join(participants, participants.c.thread_id == thread_rows.c.id)
        .where(
            thread_rows.c.agent_id == case.agent_id,
            participants.c.address == case.author,
            participants.c.authenticated,
        )
    )
