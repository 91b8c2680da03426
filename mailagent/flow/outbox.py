"""How does an outbound mail stand in the database, from frozen to settled?

A frozen `Outgoing` becomes one row with its envelope recipients, in the transaction that decided
it; its Message-ID exists before any attempt. The mail's own state is derived from its recipients
by `settle`, in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import bindparam, func, select, update

from mailagent.flow.ledger import note
from mailagent.flow.states import RecipientState
from mailagent.flow.threads import anchor, participate
from mailagent.flow.values import outgoing_from_json, outgoing_to_json
from mailagent.mime import build
from mailagent.outgoing import Outgoing
from mailagent.store.tables import outbound_mails, outbound_recipients
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Queue

__all__ = ["SENDING", "Envelope", "Purpose", "add_recipients", "load", "queue", "settle", "went_to"]

SENDING = Queue("send", outbound_mails, outbound_mails.c.state == "queued")

Purpose = Literal["reply", "person", "new", "tool", "notice", "trial"]
"""`reply`: an agent's; `person`: a person's in a thread; `new`: starts one; `tool`: an agent's, by
a tool; `notice`: to people; `trial`: to ourselves by way of an account, to see how it arrives.
"""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What belongs to an outbound mail beside its content."""

    purpose: Purpose
    author: str
    """`agent:<handle>`, `person:<e-mail>`, `key:<prefix>` or `mailagent`."""
    agent_id: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    answers_delivery_id: str | None = None


def queue(
    tx: Transaction,
    outgoing: Outgoing,
    envelope: Envelope,
    *,
    expiry: timedelta,
    not_before: datetime | None = None,
) -> str:
    """Freeze a mail and make it due for sending, now or later; returns its id. Raises Malformed."""
    build.check(outgoing)
    due = max(not_before or tx.now, tx.now)
    outbound_id = new_id("out")
    tx.insert(
        outbound_mails,
        {
            "id": outbound_id,
            "agent_id": envelope.agent_id,
            "thread_id": envelope.thread_id,
            "turn_id": envelope.turn_id,
            "answers_delivery_id": envelope.answers_delivery_id,
            "purpose": envelope.purpose,
            "message_id": outgoing.message_id,
            "subject": outgoing.subject,
            "from_address": outgoing.from_.address,
            "outgoing": outgoing_to_json(outgoing),
            "digest": outgoing.digest(),
            "state": "queued",
            "author": envelope.author,
            "created_at": tx.now,
            "expires_at": due + expiry,
            "not_before": due,
        },
    )
    fields = (("to", outgoing.to), ("cc", outgoing.cc), ("bcc", outgoing.bcc))
    addresses: dict[str, tuple[str, str]] = {}
    for name, mailboxes in fields:
        for one in mailboxes:
            addresses.setdefault(one.address.lower(), (one.address, name))
    _enter(tx, outbound_id, addresses.values(), due)
    if envelope.agent_id and envelope.thread_id:
        anchor(tx, envelope.agent_id, envelope.thread_id, [outgoing.message_id])
        # Whom we write to may answer in the thread; the answer itself must still be proven.
        participate(
            tx,
            envelope.thread_id,
            [one.address for one in (*outgoing.to, *outgoing.cc)],
            authenticated=True,
        )
    note(
        tx,
        "reply" if envelope.purpose == "reply" else "send",
        f"frozen as {outgoing.message_id} to {', '.join(a for a, _ in addresses.values())}",
        f"by {envelope.author}",
        delivery_id=envelope.answers_delivery_id,
        outbound_id=outbound_id,
    )
    tx.wake("send")
    return outbound_id


def add_recipients(
    tx: Transaction, outbound_id: str, addresses: Iterable[str], *, expiry: timedelta
) -> None:
    """Let a frozen mail, sent already or not, go to more envelope recipients, hidden ones."""
    row = tx.row(_MAIL.with_for_update(), {"outbound": outbound_id})
    assert row is not None
    known = _known(tx, outbound_id)
    fresh = {one.lower(): one for one in addresses if one.lower() not in known}
    if not fresh:
        return
    _enter(tx, outbound_id, [(one, "bcc") for one in fresh.values()], tx.now)
    if row.expires_at <= tx.now:
        later = update(outbound_mails).where(outbound_mails.c.id == outbound_id)
        tx.execute(later.values(expires_at=tx.now + expiry))
    note(tx, "send", f"also to {', '.join(fresh.values())}", "the same mail was handed in again",
         outbound_id=outbound_id)  # fmt: skip
    resettle(tx, outbound_id)


def went_to(tx: Transaction, outbound_id: str, addresses: Iterable[str]) -> bool:
    """Whether a mail has all of these as recipients, whatever became of it."""
    return {one.lower() for one in addresses} <= _known(tx, outbound_id)


def _known(tx: Transaction, outbound_id: str) -> set[str]:
    return {one.address.lower() for one in tx.rows(_RECIPIENTS, {"outbound": outbound_id})}


def _enter(
    tx: Transaction, outbound_id: str, addresses: Iterable[tuple[str, str]], due: datetime
) -> None:
    tx.insert(
        outbound_recipients,
        *(
            {
                "id": new_id("rcp"),
                "outbound_id": outbound_id,
                "address": address,
                "field": field,
                "state": RecipientState.QUEUED,
                "not_before": due,
            }
            for address, field in addresses
        ),
    )


_MAIL = select(outbound_mails).where(outbound_mails.c.id == bindparam("outbound"))
_RECIPIENTS = (
    select(outbound_recipients)
    .where(outbound_recipients.c.outbound_id == bindparam("outbound"))
    .order_by(outbound_recipients.c.id)
)
_STATES = (
    select(
        outbound_recipients.c.state,
        func.min(outbound_recipients.c.not_before).label("not_before"),
    )
    .where(outbound_recipients.c.outbound_id == bindparam("outbound"))
    .group_by(outbound_recipients.c.state)
)


def load(tx: Transaction, outbound_id: str) -> tuple[AnyRow, Outgoing, Sequence[AnyRow]]:
    """The mail's row, its frozen value, its recipients."""
    tx.foresee(_RECIPIENTS, {"outbound": outbound_id})
    row = tx.row(_MAIL, {"outbound": outbound_id})
    assert row is not None
    recipients = tx.rows(_RECIPIENTS, {"outbound": outbound_id})
    return row, outgoing_from_json(row.outgoing), recipients


def foresee_settling(tx: Transaction, outbound_id: str) -> None:
    """Foresee what `settle` asks."""
    tx.foresee(_STATES, {"outbound": outbound_id})


def settle(tx: Transaction, outbound_id: str) -> dict[str, object]:
    """The columns of the mail that follow from its recipients: its state, and when it is due.

    `queued` while any recipient is queued or sending; else the worst that a person should see.
    """
    rows = tx.rows(_STATES, {"outbound": outbound_id})
    due = {row.state: row.not_before for row in rows}
    open_ = [at for state, at in due.items() if state in ("queued", "sending")]
    if open_:
        return {"state": "queued", "not_before": min(open_)}
    order = (
        RecipientState.UNKNOWN,
        RecipientState.REFUSED,
        RecipientState.BOUNCED,
        RecipientState.COMPLAINED,
        RecipientState.EXPIRED,
        RecipientState.SUPPRESSED,
        RecipientState.CANCELLED,
        RecipientState.DELAYED,
        RecipientState.SENT,
        RecipientState.DELIVERED,
    )
    return {"state": next(str(state) for state in order if state in due)}


def resettle(tx: Transaction, outbound_id: str) -> None:
    """Write what `settle` says, for changes that come from outside a claim."""
    tx.execute(
        update(outbound_mails)
        .where(outbound_mails.c.id == outbound_id)
        .values(**settle(tx, outbound_id))
    )
    tx.wake("send")
