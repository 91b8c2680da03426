"""Which mails came in, and what was answered? Lists of deliveries, newest first.

A page is a fixed number of statements, whatever its length: deliveries, their messages, the twins
of merged ones, the answers, and how agents read them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, or_, select

from backend.inboxes.filtering import Filter, selected
from backend.inboxes.words import Status, status_of
from backend.paging import Page, Window, before, ended, newest
from mailagent.errors import NotFound
from mailagent.flow.assessing import Assessed, of_turns
from mailagent.flow.removal import in_words
from mailagent.flow.states import DeliveryState
from mailagent.outgoing import Urgency
from mailagent.store import mail_search
from mailagent.store.tables import deliveries, messages, outbound_mails
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Filter", "Item", "Reply", "items_of", "listing", "one", "search"]

_PREVIEW = 200
_FURTHER = (200, 1_000)
"""So many found mails more are held against the rest of a filter, to fill a page."""
_ANSWERS = ("reply", "person")


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
    content_removed: str | None
    """`removed by retention on 2026-11-21`, or by `purge`; None while the content is there."""
    replies: tuple[Reply, ...]
    assessed: Assessed | None = None
    """How the agent read it; None until it has, and for an agent that does not tell."""
    priority: Urgency = "normal"
    """As somebody has set it, else as the agent read it."""
    priority_by: str | None = None
    """Who set it; None for the agent."""


def listing(tx: Transaction, which: Filter, window: Window) -> Page[Item]:
    """The deliveries of a window, newest first. Raises Malformed for a cursor that is not ours."""
    table = deliveries.c
    found = newest(tx, selected(which), window, at=table.received_at, id_=table.id)
    return Page(tuple(items_of(tx, found.items)), found.next_cursor)


def search(tx: Transaction, which: Filter, words: str, window: Window) -> Page[Item]:
    """The mails of `which.agent_id` that hold every one of `words` in subject, sender or text, the
    last read first (see `store.mail_search`).

    Raises Malformed for a query without a word, or a cursor that is not ours. Where other fields of
    the filter leave little of what the words find, a page may be short and still have a next one.
    """
    assert which.agent_id is not None
    last, rows = before(window), list[tuple[int, AnyRow]]()
    # The words alone mostly fill a page; each further look reaches farther.
    for most in (window.limit + 1, *_FURTHER):
        found = mail_search.matching(tx, which.agent_id, words, limit=most, before=last)
        rows += _found(tx, which, {one.message_ref: one.id for one in found})
        last = found[-1].id if len(found) == most else None
        if last is None or len(rows) > window.limit:
            break
    if len(rows) > window.limit:
        rows = rows[: window.limit]
        last = rows[-1][0]
    return ended(items_of(tx, [row for _, row in rows]), last)


def _found(tx: Transaction, which: Filter, numbers: Mapping[str, int]) -> list[tuple[int, AnyRow]]:
    """The deliveries of the messages in `numbers` that pass the filter, highest number first."""
    read = tx.rows(
        select(messages.c.delivery_id, messages.c.id).where(messages.c.id.in_(list(numbers)))
    )
    of_delivery = {row.delivery_id: numbers[row.id] for row in read}
    rows = [
        (of_delivery[row.id], row)
        for statement in selected(which)
        for row in tx.rows(statement.where(deliveries.c.id.in_(list(of_delivery))))
    ]
    return sorted(rows, key=lambda one: -one[0])


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
    assessed = of_turns(tx, [row.turn_id for row in known.values() if row.turn_id])
    return [_item(row, twins.get(row.id, row), read.get(row.id), replies, assessed) for row in rows]


def _item(
    row: AnyRow,
    counts_as: AnyRow,
    message: AnyRow | None,
    replies: Mapping[str, tuple[Reply, ...]],
    assessed: Mapping[str, Assessed],
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
        content_removed=in_words(row),
        replies=replies.get(counts_as.id, ()),
        assessed=assessed.get(counts_as.turn_id),
        priority=counts_as.priority or "normal",
        priority_by=counts_as.priority_by,
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
    of_turn: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.turn_id:
            of_turn[row.turn_id].append(row.id)
    ids = {row.id for row in rows}
    found: dict[str, list[Reply]] = defaultdict(list)
    for answer in tx.rows(_answers(ids, of_turn)):
        asked = dict.fromkeys(of_turn.get(answer.turn_id, ()))
        if answer.answers_delivery_id in ids:
            asked[answer.answers_delivery_id] = None
        for id_ in asked:
            found[id_].append(_reply(answer))
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
