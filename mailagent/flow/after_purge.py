"""What may still be written of a mail once it was purged? How it ended, and none of its words.

Whoever had it in hand meanwhile comes back with news of it: a hand-over, a call to the outside, a
provider's event. Each asks first, which locks the row that the purge marks: it comes before the
purge, which then sees what it wrote, or it finds the mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, select, update

from mailagent.flow import outbox
from mailagent.flow.ledger import note
from mailagent.flow.states import RecipientState
from mailagent.mail import Event
from mailagent.outgoing import HandedOver, Later, Refused, Sent
from mailagent.store.tables import (
    deliveries,
    hand_overs,
    outbound_mails,
    outbound_recipients,
    turns,
)
from mailagent.store.transaction import Transaction

__all__ = ["is_gone", "is_purged", "is_purged_turn", "keep_outcomes", "without_words"]

_BY = (
    select(outbound_mails.c.content_removed_by)
    .where(outbound_mails.c.id == bindparam("mail"))
    .with_for_update()
)
_AT = (
    select(deliveries.c.content_removed_at)
    .where(deliveries.c.id == bindparam("mail"))
    .with_for_update()
)
_SENDER = select(turns.c.sender).where(turns.c.id == bindparam("turn")).with_for_update()
_UNANSWERED = update(outbound_recipients).where(
    outbound_recipients.c.id == bindparam("recipient"),
    outbound_recipients.c.state == RecipientState.UNKNOWN,
)
_HAND_OVER = update(hand_overs).where(hand_overs.c.id == bindparam("hand_over"))


def is_purged(tx: Transaction, outbound_id: str) -> bool:
    """Whether a mail that went out was purged; locks it."""
    return bool(tx.value(_BY, {"mail": outbound_id}) == "purge")


def is_gone(tx: Transaction, delivery_id: str) -> bool:
    """Whether the content of a mail that came in was removed; locks it."""
    return tx.value(_AT, {"mail": delivery_id}) is not None


def is_purged_turn(tx: Transaction, turn_id: str) -> bool:
    """Whether a purge has ended or emptied a turn; locks it."""
    return bool(tx.value(_SENDER, {"turn": turn_id}) == "")


def keep_outcomes(
    tx: Transaction,
    outbound_id: str,
    hand_over_id: str,
    account: str,
    said: HandedOver,
    outcome: str,
) -> Sequence[str]:
    """Keep what the far side said of a purged mail, which may be nothing; the ids by which it will
    tell more. Nothing of it is tried again, whatever was said.
    """
    ids: list[str] = []
    for recipient, one in said.items():
        state, by = _state(one), {}
        if isinstance(one, Sent):
            by = {"account": account, "provider_id": one.provider_id, "sent_at": tx.now}
            ids += [*one.message_ids, *([one.provider_id] if one.provider_id else [])]
        if tx.execute(_UNANSWERED, {"recipient": recipient.id, "state": state, **by}).rowcount:
            note(tx, "send", state, outbound_id=outbound_id)
    if not said:
        note(tx, "send", RecipientState.UNKNOWN, outbound_id=outbound_id)
    ended = {"outcome": outcome, "finished_at": tx.now}
    tx.execute(_HAND_OVER, {"hand_over": hand_over_id, **ended})
    outbox.resettle(tx, outbound_id)
    return ids


def _state(said: Sent | Refused | Later) -> RecipientState:
    match said:
        case Sent():
            return RecipientState.SENT
        case Refused(about="account") | Later():
            return RecipientState.CANCELLED
        case Refused():
            return RecipientState.REFUSED


def without_words(event: Event) -> Event:
    """Of a provider's event, what it says of a purged mail."""
    return replace(event, recipient=None, detail="", raw={})
