"""Whom have people allowed or blocked, and by which of our addresses?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, select

from backend.naming import checked_text
from backend.outbound.suppressions import senders
from backend.paging import Page, Window, page
from mailagent.agents.lists import Entry, Listed, What, parse_pattern
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.ledger import note
from mailagent.store.tables import list_entries
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["MOST", "Brought", "ListEntry", "add", "bring_in", "listing", "remove"]

MOST = 1_000
"""Entries of one list: of a mailbox, or of the workspace, for one of send, receive and reply."""
_NOTE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One line of a list."""

    id: str
    what: str
    verdict: str
    pattern: str
    mailbox: str | None
    """The address of ours that it is about; None for all of the workspace."""
    note: str
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Brought:
    """What an import did; `known` said the same already."""

    added: int
    known: int


def listing(
    tx: Transaction, window: Window, *, what: What | None = None, verdict: Listed | None = None
) -> Page[ListEntry]:
    """The entries by age. Raises Malformed for a cursor not ours."""
    statement = select(list_entries)
    if what is not None:
        statement = statement.where(list_entries.c.what == what)
    if verdict is not None:
        statement = statement.where(list_entries.c.verdict == verdict)
    return page(tx, statement, window, by=list_entries.c.id).map(_entry)


def add(
    tx: Transaction,
    pattern: str,
    *,
    what: What,
    verdict: Listed,
    mailbox: str | None = None,
    note_: str = "",
    actor: str,
) -> ListEntry:
    """Allow or block a pattern. Raises Malformed; Conflict when the list speaks of it already."""
    row = _row(tx, pattern, what, verdict, mailbox, note_, actor)
    tx.lock(f"lists {tx.workspace_id}")
    _demand_room(tx, what, str(row["mailbox"]), 1)
    if not _insert(tx, row):
        there = tx.row(_same(row))
        assert there is not None
        raise Conflict(f"there is {_pure(there)} already: remove {there.id} first")
    added = tx.row(_same(row))
    assert added is not None
    note(tx, "list", str(_pure(added)), note_, actor=actor)
    return _entry(added)


def bring_in(
    tx: Transaction,
    lines: Sequence[str],
    *,
    what: What,
    verdict: Listed,
    mailbox: str | None = None,
    actor: str,
) -> Brought:
    """Add a pattern a line, all or none; empty lines and those that begin with # are left out.

    Raises Malformed naming the line; Conflict when an entry says the opposite.
    """
    wanted = []
    for number, line in enumerate(lines, start=1):
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            try:
                wanted.append(_row(tx, pattern, what, verdict, mailbox, "", actor))
            except Malformed as error:
                raise Malformed("lines", f"line {number}: {error.problem}") from error
    tx.lock(f"lists {tx.workspace_id}")
    added = sum(_insert(tx, row) for row in wanted)
    for row in wanted:
        there = tx.row(_same(row))
        if there is not None and there.verdict != verdict:
            raise Conflict(f"there is {_pure(there)} already: remove {there.id} first")
    if wanted:
        _demand_room(tx, what, str(wanted[0]["mailbox"]), 0)
        whose = wanted[0]["mailbox"] or "the workspace"
        note(tx, "list", f"{added} patterns imported: {verdict} {what} of {whose}", actor=actor)
    return Brought(added, len(wanted) - added)


def remove(tx: Transaction, entry_id: str, *, actor: str) -> ListEntry:
    """Take an entry away. Raises NotFound."""
    row = tx.row(select(list_entries).where(list_entries.c.id == entry_id))
    if row is None:
        raise NotFound(f"the lists have no entry {entry_id[:80]!r}")
    tx.execute(delete(list_entries).where(list_entries.c.id == row.id))
    note(tx, "list", f"removed: {_pure(row)}", actor=actor)
    return _entry(row)


def _row(
    tx: Transaction,
    pattern: str,
    what: What,
    verdict: Listed,
    mailbox: str | None,
    note_: str,
    actor: str,
) -> dict[str, object]:
    if mailbox is not None and mailbox.lower() not in senders(tx):
        raise Malformed("mailbox", f"{mailbox[:80]!r} is no address of this workspace")
    return {
        "id": new_id("lst"),
        "mailbox": (mailbox or "").lower(),
        "what": what,
        "verdict": verdict,
        "pattern": parse_pattern(pattern),
        "note": checked_text("note", note_, at_most=_NOTE_CHARACTERS),
        "author": actor,
        "created_at": tx.now,
    }


def _insert(tx: Transaction, row: dict[str, object]) -> bool:
    unique = ["workspace_id", "pattern", "what", "mailbox"]
    return tx.insert_new(list_entries, row, unique=unique)


def _same(row: Mapping[str, object]) -> Select[Any]:
    names = ("pattern", "what", "mailbox")
    return select(list_entries).where(*(list_entries.c[one] == row[one] for one in names))


def _demand_room(tx: Transaction, what: What, mailbox: str, more: int) -> None:
    there = tx.value(
        select(func.count())
        .select_from(list_entries)
        .where(list_entries.c.what == what, list_entries.c.mailbox == mailbox)
    )
    if there + more > MOST:
        whose = mailbox or "the workspace"
        raise Conflict(f"the {what} list of {whose} would have more than {MOST:,} entries")


def _pure(row: AnyRow) -> Entry:
    return Entry(row.what, row.verdict, row.pattern, row.mailbox)


def _entry(row: AnyRow) -> ListEntry:
    return ListEntry(
        id=row.id,
        what=row.what,
        verdict=row.verdict,
        pattern=row.pattern,
        mailbox=row.mailbox or None,
        note=row.note,
        author=row.author,
        created_at=row.created_at,
    )
