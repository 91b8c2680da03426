"""Step 8: what became of a sent mail?

Events merge per recipient whatever their order and repetition: a recipient's state only moves to a
heavier word. A hard bounce or a complaint writes the suppression in the same transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import bindparam, select, update

from mailagent.flow import after_purge, suppression
from mailagent.flow.directory import normalised
from mailagent.flow.ledger import note
from mailagent.flow.outbox import resettle
from mailagent.flow.states import RecipientState
from mailagent.mail import Complaint, Event, EventKind, FailedRecipient, Mail, NonDelivery
from mailagent.store.tables import events, outbound_mails, outbound_recipients
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id

__all__ = ["from_mail", "record"]

_STATES = {
    EventKind.DELAYED: RecipientState.DELAYED,
    EventKind.DELIVERED: RecipientState.DELIVERED,
    # Nobody opens, follows or unsubscribes from what has not arrived.
    EventKind.OPENED: RecipientState.DELIVERED,
    EventKind.CLICKED: RecipientState.DELIVERED,
    EventKind.UNSUBSCRIBED: RecipientState.DELIVERED,
    EventKind.REJECTED: RecipientState.REFUSED,
    EventKind.BLOCKED: RecipientState.BOUNCED,
    EventKind.BOUNCED_SOFT: RecipientState.BOUNCED,
    EventKind.BOUNCED_HARD: RecipientState.BOUNCED,
    EventKind.COMPLAINED: RecipientState.COMPLAINED,
}
"""What each kind makes of a recipient, the lighter kinds first."""
_HEAVINESS = {kind: weight for weight, kind in enumerate(_STATES)}
_WEIGHT = {
    state: weight
    for weight, state in enumerate(
        (
            RecipientState.SENDING,
            RecipientState.UNKNOWN,
            RecipientState.SENT,
            RecipientState.DELAYED,
            RecipientState.DELIVERED,
            RecipientState.REFUSED,
            RecipientState.BOUNCED,
            RecipientState.COMPLAINED,
        )
    )
}
_REASONS = dict(
    zip(
        (EventKind.UNSUBSCRIBED, EventKind.BOUNCED_HARD, EventKind.COMPLAINED),
        suppression.AUTOMATIC,
        strict=True,
    )
)


def from_mail(
    tx: Transaction,
    secrets: Secrets,
    mail: Mail,
    report: NonDelivery | None,
    complaint: Complaint | None,
) -> str:
    """Turn a bounce or complaint that came as mail into events; what was recorded, in words."""
    recipient = _by_return_path(tx, secrets, mail)
    outbound_id = recipient.outbound_id if recipient else _by_message_id(tx, report, complaint)
    if outbound_id is None:
        return "a report about no mail of ours"
    made = _events(mail, outbound_id, report, complaint)
    proven = recipient is not None
    words = [record(tx, outbound_id, recipient, event, proven=proven) for event in made]
    return "; ".join(words) or "a report without a verdict"


def record(
    tx: Transaction,
    outbound_id: str,
    recipient: AnyRow | None,
    event: Event,
    *,
    proven: bool = True,
) -> str:
    """Merge one event into its recipient; repeated, it changes nothing.

    Only a `proven` one suppresses the address: a report that merely names one of our Message-IDs
    may have been made by anybody who got that mail. Of a purged mail no word of it is kept.
    """
    named = event.recipient
    purged = after_purge.is_purged(tx, outbound_id)
    if purged:
        event = after_purge.without_words(event)
    if recipient is None:
        recipient = _named(tx, outbound_id, event.recipient, proven=proven)
    fresh = tx.insert_new(
        events,
        {
            "id": new_id("evt"),
            "source": event.source,
            "source_event_id": event.source_event_id,
            "outbound_id": outbound_id,
            "recipient_id": recipient.id if recipient else None,
            "recipient": event.recipient,
            "kind": event.kind,
            "at": event.at,
            "detail": event.detail[:2_000],
            "raw": event.raw,
        },
        unique=["workspace_id", "source", "source_event_id"],
    )
    if not fresh:
        return f"{event.kind} again"
    if recipient is None:
        return f"{event.kind} for a recipient that the report does not name"
    _merge(tx, outbound_id, recipient)
    # A purge has taken the address of a mail that bounces late; the report may still name it.
    address = recipient.address or (named and suppression.pseudonym(recipient.workspace_id, named))
    if proven and address and event.kind in _REASONS:
        hard = event.kind is EventKind.BOUNCED_HARD
        ends = suppression.bounce_ends(tx) if hard else None
        reason = _REASONS[event.kind]
        suppression.suppress(tx, address, reason, "auto", event.detail, expires_at=ends)
    what = str(_STATES.get(event.kind, "")) if purged else f"{address}: {event.kind}"
    note(tx, "track", what, event.detail, outbound_id=outbound_id)
    return f"{address}: {event.kind}"


_TOLD = (
    select(events.c.kind, events.c.at, events.c.source_event_id, events.c.detail)
    .where(events.c.outbound_id == bindparam("outbound"))
    .where(events.c.recipient_id == bindparam("recipient"))
)


def _merge(tx: Transaction, outbound_id: str, recipient: AnyRow) -> None:
    """Give the recipient what all its events together say, so that their order cannot matter."""
    told = tx.rows(_TOLD, {"outbound": outbound_id, "recipient": recipient.id})
    telling = [row for row in told if row.kind in _HEAVINESS]
    if not telling:
        return
    heaviest = max(
        telling, key=lambda row: (_HEAVINESS[EventKind(row.kind)], row.at, row.source_event_id)
    )
    state = _STATES[EventKind(heaviest.kind)]
    if _WEIGHT[state] < _WEIGHT.get(RecipientState(recipient.state), -1):
        return
    tx.execute(
        update(outbound_recipients)
        .where(outbound_recipients.c.id == recipient.id)
        .values(state=state, reason=heaviest.detail[:500])
    )
    resettle(tx, outbound_id)


def _by_return_path(tx: Transaction, secrets: Secrets, mail: Mail) -> AnyRow | None:
    local = normalised(mail.recipient)[0]
    kind, _, token = local.partition(".")
    recipient_id = secrets.read_verp_token(token) if kind == "b" else None
    if recipient_id is None:
        return None
    return tx.row(select(outbound_recipients).where(outbound_recipients.c.id == recipient_id))


def _by_message_id(
    tx: Transaction, report: NonDelivery | None, complaint: Complaint | None
) -> str | None:
    message_id = (report or complaint).original_message_id if (report or complaint) else None  # type: ignore[union-attr]
    if message_id is None:
        return None
    found: str | None = tx.value(
        select(outbound_mails.c.id).where(outbound_mails.c.message_id == message_id)
    )
    return found


def _named(
    tx: Transaction, outbound_id: str, address: str | None, *, proven: bool
) -> AnyRow | None:
    """The recipient that a report names, or the only one when it names nobody.

    Without our return path anybody may have written the report: it is believed about whom we did
    write to, and about nobody else.
    """
    rows = tx.rows(
        select(outbound_recipients).where(outbound_recipients.c.outbound_id == outbound_id)
    )
    if address is not None:
        rows = [row for row in rows if row.address.lower() == address.lower()]
    if not proven:
        # Believed of one that still waits, it would keep the mail from ever being sent there.
        rows = [row for row in rows if row.state != RecipientState.QUEUED]
    return rows[0] if len(rows) == 1 else None


def _events(
    mail: Mail, outbound_id: str, report: NonDelivery | None, complaint: Complaint | None
) -> Sequence[Event]:
    # The mail's own content names the event: the same report delivered twice is one. With the mail
    # it is about, because many a server words all its reports alike.
    told = f"{outbound_id}:{mail.content.content_sha256}"
    base = hashlib.sha256(told.encode()).hexdigest()[:32]
    if complaint is not None:
        if complaint.feedback_type == "not-spam":
            return []
        named = complaint.original_recipients
        detail = f"feedback report: {complaint.feedback_type}"
        return [
            Event("mail", f"{base}:c", EventKind.COMPLAINED, mail.received_at,
                  named[0] if len(named) == 1 else None, (), detail)
        ]  # fmt: skip
    assert report is not None
    return [
        Event(
            "mail",
            f"{base}:{number}",
            _kind(one),
            mail.received_at,
            one.address,
            (),
            " ".join(part for part in (one.status, one.diagnostic) if part),
        )
        for number, one in enumerate(report.recipients)
    ]


def _kind(one: FailedRecipient) -> EventKind:
    match one.action:
        case "failed":
            return EventKind.BOUNCED_HARD if one.hard else EventKind.BOUNCED_SOFT
        case "delayed":
            return EventKind.DELAYED
        case _:
            return EventKind.DELIVERED
