"""What happened to a mail, told to a person?

A story is gathered from the rows that every step left: where it came in, its ledger lines, the
turns' and the hand-overs' times, and where it stands. It may be asked for by any id that a person
has in hand: ours, a Message-ID, a provider's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, Select, Table, and_, bindparam, or_, select

from backend.inboxes import telling
from backend.inboxes.words import MEANINGS, next_steps
from mailagent.errors import NotFound
from mailagent.flow.removal import in_words
from mailagent.flow.states import DeliveryState
from mailagent.store.tables import (
    deliveries,
    events,
    hand_overs,
    ledger,
    messages,
    outbound_mails,
    outbound_recipients,
    raw_messages,
    turns,
    workspaces,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.store.types import verbatim

__all__ = ["Ending", "Line", "Story", "locate", "story"]

_MOST_MAILS = 20
"""Of a thread's mails the newest are told: a story is for reading."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    at: datetime
    step: str
    """`arrived`, or the ledger's word: read, route, thread, think, decide, reply, send, track …"""
    what: str
    why: str
    actor: str
    took: timedelta | None = None
    """How long it took, where that was measured: a turn, a hand-over."""
    since_start: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Ending:
    """Where one mail stands now, what that means and what a person can do."""

    id: str
    state: str
    reason: str
    means: str
    next_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """All lines in the order of time, and how it ended for each mail of the story."""

    id: str
    workspace_id: str
    title: str
    lines: tuple[Line, ...]
    endings: tuple[Ending, ...]
    delivery_ids: tuple[str, ...]
    outbound_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """The workspace and the mails that an id names."""

    workspace_id: str
    delivery_ids: tuple[str, ...]
    outbound_ids: tuple[str, ...]


def locate(tx: Transaction, id_: str) -> Located:
    """The mails that an id names: of a delivery, an outbound mail, a recipient, a thread, a
    Message-ID with or without `<>`, or a provider's id. Raises NotFound.

    In an unscoped transaction the newest workspace that knows the id is taken.
    """
    wanted = id_.strip()
    bracketed = f"<{wanted.strip('<>')}>"
    incoming = _newest(tx, _CAME, wanted, bracketed)
    outgoing = _newest(tx, _WENT, wanted, bracketed)
    newest = max((*incoming, *outgoing), key=lambda row: row[2], default=None)
    if newest is None:
        raise NotFound(f"no mail is known by {wanted}")
    return Located(
        newest.workspace_id,
        tuple(row.id for row in incoming if row.workspace_id == newest.workspace_id),
        tuple(row.id for row in outgoing if row.workspace_id == newest.workspace_id),
    )


_WANTED: BindParameter[str] = bindparam("wanted")
_BRACKETED: BindParameter[str] = bindparam("bracketed")
_IN = select(deliveries.c.workspace_id, deliveries.c.id, deliveries.c.received_at.label("at"))
_OUT = select(
    outbound_mails.c.workspace_id, outbound_mails.c.id, outbound_mails.c.created_at.label("at")
)
_OF_RECIPIENT = _OUT.join(
    outbound_recipients,
    and_(
        outbound_recipients.c.outbound_id == outbound_mails.c.id,
        outbound_recipients.c.workspace_id == outbound_mails.c.workspace_id,
    ),
)
_SMTP = verbatim("smtp")
# One statement for each way to name a mail, so that each takes the index it is made for.
_CAME = (
    _IN.where(deliveries.c.id == _WANTED),
    _IN.where(deliveries.c.thread_id == _WANTED),
    _IN.where(deliveries.c.source == _SMTP, deliveries.c.source_id == _WANTED),
    _IN.where(deliveries.c.source != _SMTP, deliveries.c.source_id == _WANTED),
    _IN.join(messages, messages.c.delivery_id == deliveries.c.id).where(
        messages.c.message_id == _BRACKETED
    ),
)
_WENT = (
    _OUT.where(outbound_mails.c.id == _WANTED),
    _OUT.where(outbound_mails.c.thread_id == _WANTED),
    # An index lookup for each workspace: the id is unique within one only.
    _OUT.join(workspaces, workspaces.c.id == outbound_mails.c.workspace_id).where(
        outbound_mails.c.message_id == _BRACKETED
    ),
    _OF_RECIPIENT.where(outbound_recipients.c.provider_id == _WANTED),
    _OF_RECIPIENT.where(outbound_recipients.c.id == _WANTED),
)


def _newest(
    tx: Transaction, ways: Sequence[Select[*tuple[Any, ...]]], wanted: str, bracketed: str
) -> list[AnyRow]:
    found = {
        row.id: row
        for way in ways
        for row in tx.rows(_limited(way), {"wanted": wanted, "bracketed": bracketed})
    }
    return sorted(found.values(), key=lambda row: row.at, reverse=True)[:_MOST_MAILS]


@cache
def _limited(way: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    return way.order_by(way.selected_columns.at.desc()).limit(_MOST_MAILS)


def story(tx: Transaction, id_: str) -> Story:
    """Tell what happened to the mail that `id_` names (see `locate`). Raises NotFound."""
    found = locate(tx, id_)
    came = _came(tx, found.delivery_ids)
    went = _went(tx, found.outbound_ids, [row.id for row in came])
    delivery_ids, outbound_ids = [row.id for row in came], [row.id for row in went]
    lines = sorted(
        (
            *(line for row in came for line in _arrival(row)),
            *_ledger_lines(tx, delivery_ids, outbound_ids),
        ),
        key=lambda line: line.at,
    )
    start = lines[0].at if lines else tx.now
    return Story(
        id=id_,
        workspace_id=found.workspace_id,
        title=_title(tx, came, went),
        lines=tuple(_timed(line, start) for line in lines),
        endings=(
            *(_ending(row) for row in came),
            *(end for row in went for end in _endings_out(tx, row)),
        ),
        delivery_ids=tuple(delivery_ids),
        outbound_ids=tuple(outbound_ids),
    )


def _came(tx: Transaction, delivery_ids: Sequence[str]) -> Sequence[AnyRow]:
    return tx.rows(
        select(deliveries, raw_messages.c.size_bytes)
        .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
        .where(deliveries.c.id.in_(delivery_ids))
        .order_by(deliveries.c.received_at, deliveries.c.id)
    )


def _went(
    tx: Transaction, outbound_ids: Sequence[str], delivery_ids: Sequence[str]
) -> Sequence[AnyRow]:
    """The named mails and all that answered or told of the deliveries."""
    columns = outbound_mails.c
    statement = select(
        columns.id,
        columns.purpose,
        columns.message_id,
        columns.subject,
        columns.from_address,
        columns.state,
        columns.author,
    ).where(or_(columns.id.in_(outbound_ids), columns.answers_delivery_id.in_(delivery_ids)))
    return tx.rows(statement.order_by(columns.created_at, columns.id))


def _title(tx: Transaction, came: Sequence[AnyRow], went: Sequence[AnyRow]) -> str:
    if came:
        message = tx.row(
            select(messages.c.subject, messages.c.from_address).where(
                messages.c.delivery_id == came[0].id
            )
        )
        subject = message.subject if message else "(not read)"
        author = message.from_address if message else came[0].mail_from or "<>"
        return f"{subject or '(no subject)'} — from {author} to {came[0].recipient}"
    return f"{went[0].subject or '(no subject)'} — from {went[0].from_address}"


def _arrival(row: AnyRow) -> Iterator[Line]:
    yield Line(row.received_at, "arrived", telling.arrival(row), telling.kept(row), row.source)


def _ledger_lines(
    tx: Transaction, delivery_ids: Sequence[str], outbound_ids: Sequence[str]
) -> Iterator[Line]:
    about = or_(ledger.c.delivery_id.in_(delivery_ids), ledger.c.outbound_id.in_(outbound_ids))
    handed = {
        (row.outbound_id, row.finished_at): row
        for row in _of(tx, hand_overs, outbound_ids)
        if row.finished_at is not None
    }
    thought = {row.finished_at: row for row in _turns(tx, delivery_ids)}
    for row in tx.rows(select(ledger).where(about).order_by(ledger.c.at, ledger.c.id)):
        # A hand-over and its ledger line are one commit, so they have one time.
        hand_over = handed.get((row.outbound_id, row.at)) if row.step == "send" else None
        turn = thought.get(row.at) if row.step == "decide" else None
        if hand_over is not None:
            what, why = telling.hand_over(row, hand_over)
            took = hand_over.finished_at - hand_over.started_at
        elif turn is not None:
            what, why = telling.turn(row, turn)
            took = turn.finished_at - turn.started_at
        else:
            what, why, took = telling.step(row), row.why, None
        yield Line(row.at, row.step, what, why, row.actor, took)


def _turns(tx: Transaction, delivery_ids: Sequence[str]) -> Sequence[AnyRow]:
    return tx.rows(
        select(turns)
        .join(deliveries, deliveries.c.turn_id == turns.c.id)
        .where(deliveries.c.id.in_(delivery_ids), turns.c.finished_at.is_not(None))
        .distinct()
    )


def _of(tx: Transaction, table: Table, outbound_ids: Sequence[str]) -> Sequence[AnyRow]:
    return tx.rows(select(table).where(table.c.outbound_id.in_(outbound_ids)))


def _ending(row: AnyRow) -> Ending:
    means = MEANINGS[DeliveryState(row.state)]
    if row.held_until is not None:
        means = f"{means}; it goes on by itself at {row.held_until:%Y-%m-%d %H:%M} UTC"
    if gone := in_words(row):
        return Ending(row.id, row.state, row.reason, f"{means}; its content was {gone}", ())
    return Ending(row.id, row.state, row.reason, means, next_steps(row.state, row.id))


def _endings_out(tx: Transaction, row: AnyRow) -> Iterator[Ending]:
    recipients = tx.rows(
        select(outbound_recipients)
        .where(outbound_recipients.c.outbound_id == row.id)
        .order_by(outbound_recipients.c.id)
    )
    # Events that name no recipient belong to the mail; the others have moved their recipient.
    loose = [one.detail for one in _of(tx, events, [row.id]) if one.recipient_id is None]
    for one in recipients:
        state, means, steps = telling.recipient(one)
        reason = "; ".join((one.reason, *loose)) if loose else one.reason
        yield Ending(row.id, f"{one.address}: {state}", reason, means, steps)


def _timed(line: Line, start: datetime) -> Line:
    return Line(line.at, line.step, line.what, line.why, line.actor, line.took, line.at - start)
