"""What follows for a mail from what became of its recipients?

Its state, when it is tried again, and whom a bad end is told.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update

from mailagent.flow import outbox, people
from mailagent.flow.outbox import SENDING
from mailagent.flow.services import FlowSettings, Services
from mailagent.flow.states import RecipientState
from mailagent.store.tables import outbound_mails, outbound_recipients
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim, backoff, finish

__all__ = ["RECIPIENT", "end", "next_try", "set_state", "tell"]

_FIRST_RETRY = timedelta(seconds=30)

RECIPIENT = update(outbound_recipients).where(outbound_recipients.c.id == bindparam("recipient"))


def end(tx: Transaction, services: Services, claim: Claim) -> None:
    """Give the claim back with the state that follows from the recipients'; tell of a bad one.

    LostClaim, when it is not ours, as in `finish`.
    """
    settled = outbox.settle(tx, claim.id)
    finish(tx, SENDING, claim, **settled)
    if settled["state"] in (RecipientState.REFUSED, RecipientState.UNKNOWN):
        row = tx.row(select(outbound_mails).where(outbound_mails.c.id == claim.id))
        assert row is not None
        tell(tx, services.settings, row, f"is {settled['state']}")


def tell(
    tx: Transaction, settings: FlowSettings, row: AnyRow, what: str, *, mend: str = ""
) -> None:
    """Tell a person that a mail did not leave; a notice that did not leave tells nobody."""
    if row.purpose == "notice":
        return
    text = (
        f"The mail {row.message_id} ({row.subject!r}) from {row.from_address} {what}.\n\n"
        f"{mend}What happened: mailagent trace {row.id}\n"
    )
    people.notify(tx, settings, row.agent_id, f"A mail {what}: {row.subject}", text)


def set_state(tx: Transaction, recipient_id: str, state: RecipientState, reason: str) -> None:
    """Give one recipient a state that needed no far side."""
    tx.execute(RECIPIENT, {"recipient": recipient_id, "state": state, "reason": reason[:500]})


_ATTEMPTS = select(outbound_recipients.c.attempts).where(
    outbound_recipients.c.id == bindparam("recipient")
)


def next_try(
    tx: Transaction, recipient_id: str, retry_at: datetime | None, expires_at: datetime
) -> datetime:
    """When to try a recipient again: as the far side said, else ever later, before it expires."""
    attempts = tx.value(_ATTEMPTS, {"recipient": recipient_id})
    tx.execute(RECIPIENT, {"recipient": recipient_id, "attempts": attempts + 1})
    wait = tx.now + backoff(attempts, base=_FIRST_RETRY)
    # Never past the expiry: that is when a person must hear of it.
    return min(max(wait, retry_at) if retry_at else wait, expires_at)
