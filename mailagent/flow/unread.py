"""What becomes of a mail that its reader failed at?

A worker of the sandbox that died, hung or ran out of memory may have been the machine's fault:
once. Twice it is the mail's. Its failures are lines of the ledger: what else makes a reading begin
anew (a node's death, a DNS server that is silent) says nothing of the mail.
"""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from mailagent.flow.ledger import note
from mailagent.flow.states import DeliveryState
from mailagent.store.tables import ledger
from mailagent.store.transaction import Transaction
from mailagent.work import Claim, Queue, finish, holds

__all__ = ["has_failed_twice", "quarantine"]

_FAILED = "its reader failed"
_DRIVEN_AGAIN = select(func.max(ledger.c.id)).where(
    ledger.c.delivery_id == bindparam("delivery"), ledger.c.what == "driven again"
)
_FAILURES = select(func.count()).where(
    ledger.c.delivery_id == bindparam("delivery"),
    ledger.c.step == "read",
    ledger.c.what == _FAILED,
    ledger.c.id > bindparam("since"),
)


def has_failed_twice(tx: Transaction, queue: Queue, claim: Claim, reason: str) -> bool:
    """Note that the reader failed at a mail in hand; the second time it is quarantined."""
    since = tx.value(_DRIVEN_AGAIN, {"delivery": claim.id}) or 0
    if tx.value(_FAILURES, {"delivery": claim.id, "since": since}):
        quarantine(tx, queue, claim, f"reading it failed twice: {reason[:300]}")
        return True
    holds(tx, queue, claim)
    note(tx, "read", _FAILED, reason[:300], delivery_id=claim.id)
    return False


def quarantine(tx: Transaction, queue: Queue, claim: Claim, reason: str) -> None:
    """End the reading of a mail; its raw bytes are kept."""
    finish(tx, queue, claim, state=DeliveryState.QUARANTINED, reason=reason[:500])
    note(tx, "read", "quarantined, raw bytes kept", reason, delivery_id=claim.id)
