"""What happened to a mail, when, why, and who decided? One line for every step, kept for ever."""

from __future__ import annotations

from mailagent.store.tables import ledger
from mailagent.store.transaction import Transaction

__all__ = ["note"]


def note(
    tx: Transaction,
    step: str,
    what: str,
    why: str = "",
    *,
    actor: str = "mailagent",
    delivery_id: str | None = None,
    outbound_id: str | None = None,
) -> None:
    """Write one line in the transaction of the step it tells of.

    `actor` is `mailagent` or `person:<e-mail>` or `key:<prefix>`.
    """
    tx.insert_at_end(
        ledger,
        {
            "delivery_id": delivery_id,
            "outbound_id": outbound_id,
            "at": tx.now,
            "step": step,
            "what": what,
            "why": why[:2_000],
            "actor": actor,
        },
    )
