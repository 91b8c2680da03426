"""What may a person decide about a mail that goes out: stop it, or say what became of it?

`unknown` is never repeated by a machine; only a person who knows more may end it, either way. Every
decision leaves a ledger line with its actor.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select, update

from backend.outbound.listing import Summary, get
from mailagent.errors import Conflict, NotFound
from mailagent.flow.ledger import note
from mailagent.flow.outbox import resettle
from mailagent.flow.removal import in_words
from mailagent.flow.states import RecipientState
from mailagent.store.tables import outbound_mails, outbound_recipients
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Unknown", "cancel", "declare_sent", "send_again", "unknown"]

Unknown = tuple[Summary, ...]
"""Mails with at least one recipient of whom nobody knows whether the mail was taken."""


def cancel(tx: Transaction, outbound_id: str, *, actor: str) -> Summary:
    """Stop what has not left yet. Raises NotFound; Conflict when nothing waits any more."""
    mail = get(tx, outbound_id).summary
    stopped = _move(
        tx,
        [one.id for one in mail.recipients],
        RecipientState.QUEUED,
        state=RecipientState.CANCELLED,
        reason=f"cancelled by {_name(actor)}",
    )
    if not stopped:
        raise Conflict(f"{outbound_id} is {mail.state}: nothing of it waits to be sent")
    resettle(tx, outbound_id)
    note(tx, "send", f"cancelled for {', '.join(stopped)}", actor=actor, outbound_id=outbound_id)
    return get(tx, outbound_id).summary


def unknown(tx: Transaction, *, limit: int = 200) -> Unknown:
    """The mails of this workspace that wait for a person's word, oldest first."""
    rows = tx.rows(
        select(outbound_mails.c.id)
        .join(outbound_recipients, outbound_recipients.c.outbound_id == outbound_mails.c.id)
        .where(outbound_recipients.c.state == RecipientState.UNKNOWN)
        .order_by(outbound_mails.c.id)
        .distinct()
        .limit(limit)
    )
    return tuple(get(tx, row.id).summary for row in rows)


def declare_sent(tx: Transaction, id_: str, *, actor: str) -> Summary:
    """A person knows that it arrived. `id_` names a recipient, or a mail and all its unknown ones.

    Raises NotFound; Conflict when nothing of it is unknown.
    """
    recipients = _unknown(tx, id_)
    moved = _move(
        tx,
        [one.id for one in recipients],
        RecipientState.UNKNOWN,
        state=RecipientState.SENT,
        reason=f"declared sent by {_name(actor)}",
        sent_at=tx.now,
    )
    return _decided(tx, id_, recipients, moved, f"declared sent to {', '.join(moved)}", actor)


def send_again(tx: Transaction, id_: str, *, actor: str, expiry: timedelta) -> Summary:
    """A person knows that it did not arrive, or accepts that it may arrive twice.

    `id_` as in `declare_sent`; the mail gets at least `expiry` from now. Raises as that.
    """
    recipients = _unknown(tx, id_)
    _must_have_content(tx, recipients[0].outbound_id)
    moved = _move(
        tx,
        [one.id for one in recipients],
        RecipientState.UNKNOWN,
        state=RecipientState.QUEUED,
        reason=f"sent again by {_name(actor)}",
        not_before=tx.now,
        attempts=0,
    )
    for outbound_id in {one.outbound_id for one in recipients}:
        tx.execute(
            update(outbound_mails)
            .where(
                outbound_mails.c.id == outbound_id, outbound_mails.c.expires_at < tx.now + expiry
            )
            .values(expires_at=tx.now + expiry)
        )
    return _decided(tx, id_, recipients, moved, f"to be sent again to {', '.join(moved)}", actor)


def _unknown(tx: Transaction, id_: str) -> Sequence[AnyRow]:
    columns = outbound_recipients.c
    rows = tx.rows(
        select(outbound_recipients)
        .where((columns.id == id_) | (columns.outbound_id == id_))
        .order_by(columns.id)
    )
    if not rows:
        raise NotFound(f"there is no outbound mail or recipient {id_}")
    waiting = [row for row in rows if row.state == RecipientState.UNKNOWN]
    if not waiting:
        raise Conflict(f"{id_} is {rows[0].state}, not unknown: there is nothing to decide")
    return waiting


def _must_have_content(tx: Transaction, outbound_id: str) -> None:
    row = tx.row(select(outbound_mails).where(outbound_mails.c.id == outbound_id))
    if row is not None and (gone := in_words(row)):
        raise Conflict(f"{outbound_id} cannot be sent again: its content was {gone}")


def _move(
    tx: Transaction, recipient_ids: Sequence[str], was: RecipientState, **values: object
) -> list[str]:
    """Change recipients that still are in state `was`; returns their addresses."""
    moved = tx.rows(
        update(outbound_recipients)
        .where(outbound_recipients.c.id.in_(recipient_ids), outbound_recipients.c.state == was)
        .values(**values)
        .returning(outbound_recipients.c.address)
    )
    return [row.address for row in moved]


def _decided(
    tx: Transaction,
    id_: str,
    recipients: Sequence[AnyRow],
    moved: Sequence[str],
    what: str,
    actor: str,
) -> Summary:
    if not moved:
        raise Conflict(f"{id_} is not unknown any more: look again")
    outbound_id = recipients[0].outbound_id
    resettle(tx, outbound_id)
    note(tx, "send", what, "a person's word", actor=actor, outbound_id=outbound_id)
    return get(tx, outbound_id).summary


def _name(actor: str) -> str:
    return actor.removeprefix("person:")
