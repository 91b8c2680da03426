"""Which rows hold something of a person, a mail or a whole workspace?

Looked for in windows, by primary key, so that no statement is long. A person's mails are those that
name the address anywhere, and the conversations in which they took part: every mail there quotes
the others. SQL finds candidates; that it is this address and not a longer one is seen in Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Text, cast, func, or_, select

from mailagent.flow import octets
from mailagent.store.tables import (
    deliveries,
    messages,
    outbound_mails,
    outbound_recipients,
    participants,
    raw_messages,
)
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "Named",
    "Person",
    "Target",
    "Whole",
    "Window",
    "came",
    "contains",
    "copies",
    "outside",
    "went",
]

_WINDOW = 500
_OUR_ID = re.compile(r"\b(?:dlv|out)_[0-9a-f]{32}\b")


@dataclass(frozen=True)
class Whole:
    """All mail of the workspace."""


@dataclass(frozen=True)
class Named:
    """These mails, with their copies and all that answered or told of them."""

    delivery_ids: tuple[str, ...] = ()
    outbound_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Person:
    """All that names an e-mail address."""

    address: str

    @cached_property
    def lower(self) -> str:
        """The address in lower case."""
        return self.address.lower()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # `joann@x.example` and `ann@x.example.org` are other people.
        needle = re.escape(self.lower)
        return re.compile(rf"(?<![\w.+%-]){needle}(?![\w-]|\.\w)")

    def named_in(self, words: str) -> bool:
        """Whether a text names exactly this address."""
        return self._pattern.search(words.lower()) is not None


Target = Whole | Person | Named


@dataclass(frozen=True, slots=True)
class Window:
    """What one look found, and where the next one begins; None after the last."""

    ids: Sequence[str]
    next_cursor: str | None


def came(tx: Transaction, target: Target, before: datetime, after: str) -> Window:
    """Deliveries of a target that came before a time, in the window after an id."""
    if isinstance(target, Named):
        return Window(copies(tx, target.delivery_ids), None)
    rows = _window(tx, before, after)
    ids = [row.id for row in rows]
    if isinstance(target, Person):
        ids = copies(tx, _persons(tx, target, rows))
    return Window(ids, _next(rows))


def outside(tx: Transaction, before: datetime, after: str) -> Sequence[AnyRow]:
    """Of the same window, the deliveries whose octets are not in the database, with
    `octets.COLUMNS`: whether they name a person, only the octets tell.

    Asked after `came`, so that what moves out meanwhile is looked at by one of the two.
    """
    ids = [row.id for row in _window(tx, before, after)]
    return tx.rows(
        select(deliveries.c.id, *octets.COLUMNS)
        .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
        .where(
            deliveries.c.id.in_(ids),
            raw_messages.c.content.is_(None),
            raw_messages.c.kept_at.is_not(None),
        )
    )


def _window(tx: Transaction, before: datetime, after: str) -> Sequence[AnyRow]:
    columns = deliveries.c
    return tx.rows(
        select(columns.id, columns.thread_id, columns.mail_from)
        .where(
            columns.id > after,
            columns.received_at <= before,
            columns.content_removed_by.is_distinct_from("purge"),
        )
        .order_by(columns.id)
        .limit(_WINDOW)
    )


def copies(tx: Transaction, delivery_ids: Collection[str]) -> list[str]:
    """These deliveries and all others of the same octets, or of the same mail by another way."""
    read = tx.rows(
        select(messages.c.message_id, messages.c.content_sha256).where(
            messages.c.delivery_id.in_(delivery_ids), messages.c.message_id.is_not(None)
        )
    )
    known = {(row.message_id, row.content_sha256) for row in read}
    same = tx.rows(
        select(messages.c.delivery_id, messages.c.message_id, messages.c.content_sha256).where(
            messages.c.message_id.in_({message_id for message_id, _ in known})
        )
    )
    ids = {row.delivery_id for row in same if (row.message_id, row.content_sha256) in known}
    of_raw = select(deliveries.c.raw_id).where(deliveries.c.id.in_(ids | set(delivery_ids)))
    raw_ids = [row.raw_id for row in tx.rows(of_raw)]
    found = tx.rows(
        select(deliveries.c.id)
        .where(
            deliveries.c.raw_id.in_(raw_ids),
            deliveries.c.content_removed_by.is_distinct_from("purge"),
        )
        .order_by(deliveries.c.id)
    )
    return [row.id for row in found]


def _persons(tx: Transaction, person: Person, rows: Sequence[AnyRow]) -> list[str]:
    if not rows:
        return []
    theirs = _conversations(tx, person, [row.thread_id for row in rows if row.thread_id])
    found = {
        row.id
        for row in rows
        if row.thread_id in theirs or (row.mail_from or "").lower() == person.lower
    }
    here = [row.id for row in rows if row.id not in found]
    read = tx.rows(
        select(messages.c.delivery_id, messages.c.content).where(
            messages.c.delivery_id.in_(here), contains(tx, messages.c.content, person.lower)
        )
    )
    found |= {row.delivery_id for row in read if person.named_in(_plain(row.content))}
    raw = (
        select(deliveries.c.id, raw_messages.c.content)
        .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
        .where(deliveries.c.id.in_(here), contains(tx, raw_messages.c.content, person.lower))
    )
    found |= {row.id for row in tx.rows(raw) if person.named_in(row.content.decode("latin-1"))}
    return sorted(found)


def _conversations(tx: Transaction, person: Person, thread_ids: Collection[str]) -> set[str]:
    """Which of these threads the person takes part in."""
    rows = tx.rows(
        select(participants.c.thread_id).where(
            participants.c.thread_id.in_(thread_ids), participants.c.address == person.lower
        )
    )
    return {row.thread_id for row in rows}


def went(
    tx: Transaction, target: Target, before: datetime, after: str, gone: Collection[str]
) -> Window:
    """Outbound mails of a target from before a time, in the window after an id, and notices of any
    time that name a mail which is `gone` or was purged earlier.
    """
    columns = outbound_mails.c
    kept = columns.content_removed_by.is_distinct_from("purge")
    notice, early = columns.purpose == "notice", columns.created_at <= before
    statement = select(columns.id, columns.thread_id, columns.purpose, columns.created_at).where(
        columns.id > after, notice if isinstance(target, Named) else or_(notice, early), kept
    )
    rows = tx.rows(statement.order_by(columns.id).limit(_WINDOW))
    of_then = [row for row in rows if row.created_at <= before]
    match target:
        case Whole():
            found = {row.id for row in of_then}
        case Person():
            found = _to_person(tx, target, of_then)
        case Named():
            named = select(columns.id).where(columns.id.in_(target.outbound_ids), kept)
            found = {row.id for row in tx.rows(named)} if not after else set()
    # A notice is younger than what it tells of: that was found before it, or is in this window. It
    # may be younger than the purge: what was in work at its start told people before it was ended.
    found |= _telling_of(tx, rows, found.union(gone))
    return Window(sorted(found), _next(rows))


def _to_person(tx: Transaction, person: Person, rows: Sequence[AnyRow]) -> set[str]:
    theirs = _conversations(tx, person, [row.thread_id for row in rows if row.thread_id])
    ids = [row.id for row in rows]
    to = tx.rows(
        select(outbound_recipients.c.outbound_id).where(
            outbound_recipients.c.outbound_id.in_(ids),
            func.lower(outbound_recipients.c.address) == person.lower,
        )
    )
    named = tx.rows(
        select(outbound_mails.c.id, outbound_mails.c.outgoing).where(
            outbound_mails.c.id.in_(ids), contains(tx, outbound_mails.c.outgoing, person.lower)
        )
    )
    return (
        {row.id for row in rows if row.thread_id in theirs}
        | {row.outbound_id for row in to}
        | {row.id for row in named if person.named_in(_plain(row.outgoing))}
    )


def _telling_of(tx: Transaction, rows: Sequence[AnyRow], gone: Set[str]) -> set[str]:
    """Notices whose text names a purged mail: they may quote it."""
    notices = tx.rows(
        select(outbound_mails.c.id, outbound_mails.c.outgoing["text"].as_string()).where(
            outbound_mails.c.id.in_([row.id for row in rows if row.purpose == "notice"])
        )
    )
    named = {row[0]: set(_OUR_ID.findall(row[1] or "")) for row in notices}
    wanted = {one for ids in named.values() for one in ids}
    purged = {
        row.id
        for table in (deliveries, outbound_mails)
        for row in tx.rows(
            select(table.c.id).where(table.c.id.in_(wanted), table.c.content_removed_by == "purge")
        )
    }
    return {id_ for id_, ids in named.items() if not ids.isdisjoint(purged | gone)}


def contains(tx: Transaction, column: ColumnElement[Any], needle: str) -> ColumnElement[bool]:
    """Whether a text, JSON or binary column holds some lower-case text, in any case."""
    if isinstance(column.type, LargeBinary) and not tx.on_sqlite:
        # Bytes as text, those outside ASCII escaped: an address is found as it stands.
        words: ColumnElement[Any] = func.encode(column, "escape")
    else:
        words = cast(column, Text)
    place = func.instr if tx.on_sqlite else func.strpos
    escaped = json.dumps(needle)[1:-1]  # SQLite keeps JSON with its escapes
    return or_(*(place(func.lower(words), one) > 0 for one in dict.fromkeys((needle, escaped))))


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _next(rows: Sequence[AnyRow]) -> str | None:
    return rows[-1].id if len(rows) == _WINDOW else None
