"""Which mails came in, and what was answered? Lists of deliveries, newest first.

A page is a fixed number of statements, whatever its length: deliveries, their messages, the twins
of merged ones, and the answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select

from backend.inboxes.words import Status, states_of, status_of
from backend.paging import Page, Window, page
from mailagent.errors import NotFound
from mailagent.flow.states import DeliveryState
from mailagent.store.tables import deliveries, messages, outbound_mails
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Filter", "Item", "Reply", "items_of", "listing", "one"]

_PREVIEW = 200
_ANSWERS = ("reply", "person")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries a list shows; None of a field shows all."""

    agent_id: str | None = None
    status: Status | None = None
    state: DeliveryState | None = None
    since: datetime | None = None
    """Received at this time or later; aware."""
    recipient: str | None = None
    thread_id: str | None = None
    archived: bool | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to a delivery, by the agent or by a person."""

    id: str
    message_id: str
    in_reply_to: str | None
    state: str
    author: str
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """One delivery as a list shows it."""

    id: str
    workspace_id: str
    agent_id: str | None
    from_address: str
    """The header From once the mail was read; before that the envelope sender."""
    from_name: str
    recipient: str
    subject: str
    preview: str
    """The beginning of what its writer wrote, at most 200 characters."""
    received_at: datetime
    message_id: str | None
    thread_id: str | None
    status: Status
    state: DeliveryState
    reason: str
    held_until: datetime | None
    archived_at: datetime | None
    kind: str | None
    replies: tuple[Reply, ...]
    priority: str = "normal"


def listing(tx: Transaction, which: Filter, window: Window) -> Page[Item]:
    """The deliveries of a window, newest first. Raises Malformed for a cursor that is not ours."""
    statement = select(deliveries).where(*_conditions(which))
    found = page(tx, statement, window, by=deliveries.c.id, newest_first=True)
    return Page(tuple(items_of(tx, found.items)), found.next_cursor)


def one(tx: Transaction, delivery_id: str) -> Item:
    """One delivery as a list shows it. Raises NotFound."""
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id}")
    return items_of(tx, [row])[0]


def items_of(tx: Transaction, rows: Sequence[AnyRow]) -> list[Item]:
    """Rows of `deliveries`, in their order, with what belongs to them."""
    twins = _twins(tx, rows)
    known = {row.id: row for row in (*rows, *twins.values())}
    read = _messages(tx, known)
    replies = _replies(tx, list(known.values()))
    return [_item(row, twins.get(row.id, row), read.get(row.id), replies) for row in rows]


def _item(
    row: AnyRow, counts_as: AnyRow, message: AnyRow | None, replies: Mapping[str, tuple[Reply, ...]]
) -> Item:
    return Item(
        id=row.id,
        workspace_id=row.workspace_id,
        agent_id=row.agent_id,
        from_address=message.from_address if message else row.mail_from or "",
        from_name=message.from_name if message else "",
        recipient=row.recipient,
        subject=message.subject if message else "",
        preview=" ".join(message.written.split())[:_PREVIEW] if message else "",
        received_at=row.received_at,
        message_id=message.message_id if message else None,
        thread_id=row.thread_id,
        status=status_of(counts_as.state, row.archived_at),
        state=DeliveryState(row.state),
        reason=row.reason,
        held_until=row.held_until,
        archived_at=row.archived_at,
        kind=message.kind if message else None,
        replies=replies.get(counts_as.id, ()),
    )


def _conditions(which: Filter) -> Iterable[ColumnElement[bool]]:
    table = deliveries.c
    if which.agent_id is not None:
        yield table.agent_id == which.agent_id
    if which.state is not None:
        yield table.state == which.state
    if which.since is not None:
        yield table.received_at >= which.since
    if which.recipient is not None:
        yield table.recipient == which.recipient
    if which.thread_id is not None:
        yield table.thread_id == which.thread_id
    if which.archived is not None:
        yield table.archived_at.is_not(None) if which.archived else table.archived_at.is_(None)
    if which.status is Status.ARCHIVED:
        yield or_(table.archived_at.is_not(None), _stands(Status.ARCHIVED))
    elif which.status is not None:
        yield and_(table.archived_at.is_(None), _stands(which.status))


def _stands(status: Status) -> ColumnElement[bool]:
    """The delivery, or for a merged one the twin that it was merged into, has this status."""
    states = states_of(status)
    twin = deliveries.alias("twin")
    of_twin = exists(
        select(twin.c.id).where(
            twin.c.workspace_id == deliveries.c.workspace_id,
            twin.c.raw_id == deliveries.c.raw_id,
            twin.c.agent_id == deliveries.c.agent_id,
            twin.c.state.in_([one for one in states if one is not DeliveryState.MERGED]),
        )
    )
    return or_(
        deliveries.c.state.in_([one for one in states if one is not DeliveryState.MERGED]),
        and_(deliveries.c.state == DeliveryState.MERGED, of_twin),
    )


def _twins(tx: Transaction, rows: Sequence[AnyRow]) -> dict[str, AnyRow]:
    """For each merged delivery the one that stands for it: same octets, same agent."""
    merged = [row for row in rows if row.state == DeliveryState.MERGED]
    if not merged:
        return {}
    found = tx.rows(
        select(deliveries).where(
            deliveries.c.raw_id.in_([row.raw_id for row in merged]),
            deliveries.c.state != DeliveryState.MERGED,
        )
    )
    by_key = {(row.raw_id, row.agent_id): row for row in found}
    keys = {row.id: (row.raw_id, row.agent_id) for row in merged}
    return {id_: by_key[key] for id_, key in keys.items() if key in by_key}


def _messages(tx: Transaction, delivery_ids: Iterable[str]) -> dict[str, AnyRow]:
    columns = messages.c
    rows = tx.rows(
        select(
            columns.delivery_id,
            columns.message_id,
            columns.from_address,
            columns.from_name,
            columns.subject,
            columns.written,
            columns.kind,
        ).where(columns.delivery_id.in_(list(delivery_ids)))
    )
    return {row.delivery_id: row for row in rows}


def _replies(tx: Transaction, rows: Sequence[AnyRow]) -> dict[str, tuple[Reply, ...]]:
    """By delivery. A turn's one answer belongs to every mail of the turn."""
    turns = {row.turn_id for row in rows if row.turn_id}
    ids = {row.id for row in rows}
    found: dict[str, list[Reply]] = defaultdict(list)
    for answer in tx.rows(_answers(ids, turns)):
        for row in rows:
            of_turn = answer.turn_id is not None and row.turn_id == answer.turn_id
            if of_turn or row.id == answer.answers_delivery_id:
                found[row.id].append(_reply(answer))
    return {id_: tuple(answers) for id_, answers in found.items()}


def _answers(delivery_ids: Iterable[str], turn_ids: Iterable[str]) -> Select[*tuple[object, ...]]:
    columns = outbound_mails.c
    return (
        select(
            columns.id,
            columns.message_id,
            columns.state,
            columns.author,
            columns.created_at,
            columns.turn_id,
            columns.answers_delivery_id,
            # Not the frozen mail whole: a page of them would carry every attachment along.
            columns.outgoing["text"].as_string().label("text"),
            columns.outgoing["in_reply_to"].as_string().label("in_reply_to"),
        )
        .where(
            columns.purpose.in_(_ANSWERS),
            or_(
                columns.answers_delivery_id.in_(list(delivery_ids)),
                columns.turn_id.in_(list(turn_ids)),
            ),
        )
        .order_by(columns.created_at, columns.id)
    )


def _reply(row: AnyRow) -> Reply:
    return Reply(
        id=row.id,
        message_id=row.message_id,
        in_reply_to=row.in_reply_to,
        state=row.state,
        author=row.author,
        text=row.text,
        created_at=row.created_at,
    )
