"""Which mails went out or wait to, and what became of each recipient?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select

from backend.paging import Page, Window, newest
from mailagent.errors import NotFound
from mailagent.flow.values import outgoing_from_json
from mailagent.outgoing import Outgoing
from mailagent.store.tables import events, hand_overs, outbound_mails, outbound_recipients
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.store.types import EPOCH, verbatim

__all__ = [
    "Event",
    "Filter",
    "HandOver",
    "OutboundMail",
    "RecipientView",
    "Summary",
    "get",
    "listing",
    "recipients_of",
]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which outbound mails a list shows; None of a field shows all."""

    state: str | None = None
    agent_id: str | None = None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class RecipientView:
    """One envelope recipient and where it stands."""

    id: str
    outbound_id: str
    address: str
    field: str
    """`to`, `cc` or `bcc`."""
    state: str
    reason: str
    attempts: int
    account: str | None
    provider_id: str | None
    sent_at: datetime | None
    not_before: datetime


@dataclass(frozen=True, slots=True)
class Summary:
    """One outbound mail as a list shows it."""

    id: str
    message_id: str
    from_address: str
    subject: str
    state: str
    purpose: str
    author: str
    agent_id: str | None
    thread_id: str | None
    answers_delivery_id: str | None
    created_at: datetime
    expires_at: datetime
    recipients: tuple[RecipientView, ...]


@dataclass(frozen=True, slots=True)
class HandOver:
    """One attempt to give some recipients to one account."""

    id: str
    account: str
    why_account: str
    recipient_ids: tuple[str, ...]
    outcome: str
    response: str
    code: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Event:
    """One report about a sent mail."""

    id: str
    source: str
    kind: str
    recipient: str | None
    recipient_id: str | None
    detail: str
    at: datetime
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OutboundMail:
    """One outbound mail whole: frozen value, digest, attempts and reports."""

    summary: Summary
    digest: str
    outgoing: Outgoing
    hand_overs: tuple[HandOver, ...]
    events: tuple[Event, ...]


_SHOWN = (
    outbound_mails.c.id,
    outbound_mails.c.message_id,
    outbound_mails.c.from_address,
    outbound_mails.c.subject,
    outbound_mails.c.state,
    outbound_mails.c.purpose,
    outbound_mails.c.author,
    outbound_mails.c.agent_id,
    outbound_mails.c.thread_id,
    outbound_mails.c.answers_delivery_id,
    outbound_mails.c.created_at,
    outbound_mails.c.expires_at,
)


def listing(tx: Transaction, which: Filter, window: Window) -> Page[Summary]:
    """The mails of a window, newest first. Raises Malformed for a cursor that is not ours."""
    columns = outbound_mails.c
    found = newest(tx, [_selected(which)], window, at=columns.created_at, id_=columns.id)
    recipients = recipients_of(tx, [row.id for row in found.items])
    return found.map(lambda row: _summary(row, recipients.get(row.id, ())))


def _selected(which: Filter) -> Select[*tuple[Any, ...]]:
    """The mails of a filter, with the conditions of the partial indexes that find them."""
    columns = outbound_mails.c
    statement = select(*_SHOWN)
    if which.agent_id is not None:
        statement = statement.where(columns.agent_id == which.agent_id)
    if which.purpose is not None:
        statement = statement.where(columns.purpose == which.purpose)
        if which.purpose != "reply":
            statement = statement.where(columns.purpose != verbatim("reply"))
    match which.state:
        case None:
            return statement
        case "queued":
            # The time says nothing but which index is meant: that of the few mails to send.
            return statement.where(columns.state == verbatim("queued"), columns.not_before >= EPOCH)
        case "sent" | "delivered":
            return statement.where(columns.state == which.state)
    usual = [verbatim(state) for state in ("queued", "sent", "delivered")]
    return statement.where(columns.state == which.state, columns.state.not_in(usual))


def get(tx: Transaction, outbound_id: str) -> OutboundMail:
    """One mail with everything known of it. Raises NotFound."""
    row = tx.row(select(outbound_mails).where(outbound_mails.c.id == outbound_id))
    if row is None:
        raise NotFound(f"there is no outbound mail {outbound_id}")
    attempts = tx.rows(
        select(hand_overs)
        .where(hand_overs.c.outbound_id == outbound_id)
        .order_by(hand_overs.c.started_at, hand_overs.c.id)
    )
    reports = tx.rows(
        select(events).where(events.c.outbound_id == outbound_id).order_by(events.c.at, events.c.id)
    )
    return OutboundMail(
        summary=_summary(row, recipients_of(tx, [outbound_id]).get(outbound_id, ())),
        digest=row.digest,
        outgoing=outgoing_from_json(row.outgoing),
        hand_overs=tuple(
            HandOver(
                one.id,
                one.account,
                one.why_account,
                tuple(one.recipient_ids),
                one.outcome,
                one.response,
                one.code,
                one.started_at,
                one.finished_at,
            )
            for one in attempts
        ),
        events=tuple(
            Event(
                one.id,
                one.source,
                one.kind,
                one.recipient,
                one.recipient_id,
                one.detail,
                one.at,
                one.raw,
            )
            for one in reports
        ),
    )


def recipients_of(
    tx: Transaction, outbound_ids: Sequence[str]
) -> dict[str, tuple[RecipientView, ...]]:
    """The recipients of some mails by the mail's id, in the order in which they were named."""
    statement = (
        select(outbound_recipients)
        .where(outbound_recipients.c.outbound_id.in_(outbound_ids))
        .order_by(outbound_recipients.c.id)
    )
    found: dict[str, tuple[RecipientView, ...]] = {}
    for row in tx.rows(statement):
        found[row.outbound_id] = (*found.get(row.outbound_id, ()), _recipient(row))
    return found


def _summary(row: AnyRow, recipients: tuple[RecipientView, ...]) -> Summary:
    return Summary(
        id=row.id,
        message_id=row.message_id,
        from_address=row.from_address,
        subject=row.subject,
        state=row.state,
        purpose=row.purpose,
        author=row.author,
        agent_id=row.agent_id,
        thread_id=row.thread_id,
        answers_delivery_id=row.answers_delivery_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        recipients=recipients,
    )


def _recipient(row: AnyRow) -> RecipientView:
    return RecipientView(
        id=row.id,
        outbound_id=row.outbound_id,
        address=row.address,
        field=row.field,
        state=row.state,
        reason=row.reason,
        attempts=row.attempts,
        account=row.account,
        provider_id=row.provider_id,
        sent_at=row.sent_at,
        not_before=row.not_before,
    )
