"""What of a restored installation may go on by itself?

The installation that was backed up may have worked on after that moment: what was queued then may
have been sent since, what waited for an answer may have been answered. Nothing is sent twice, so
all that is left to a person, who is told why and by which command it goes on
(docs/decisions/0010). Only whoever knows that nothing ran in between may let it go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, or_, select, update

from mailagent.flow import outbox
from mailagent.flow.ledger import note
from mailagent.flow.states import DeliveryState, RecipientState
from mailagent.store.tables import (
    approval_invitations,
    approvals,
    deliveries,
    hand_overs,
    metadata,
    outbound_mails,
    outbound_recipients,
    rounds,
    sign_ins,
    threads,
    tool_calls,
    turns,
    zone_serials,
)
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Aftermath", "settle"]

_CUT_OFF = "the backup was made during the hand-over"


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What was taken out of the machine's hands."""

    unknown: int
    """Recipients of outbound mail: `mailagent unknown` lists them and lets each go."""
    held: int
    """Mails that nobody had answered by then: `mailagent replay ID` has one answered."""


def settle(tx: Transaction, made_at: datetime, *, send_queued: bool) -> Aftermath:
    """Bring freshly restored rows to rest, in the transaction that restored them.

    What was being sent is `unknown` in any case. With `send_queued` the rest goes on where it
    stood.
    """
    for table in metadata.sorted_tables:
        if "claimed_by" in table.c:
            tx.execute(update(table).values(claimed_by=None, lease_until=None))
    # A session that was ended since would be open again.
    tx.execute(delete(sign_ins))
    # Secondaries may have a later zone than the backup: it gets a serial above all of them.
    tx.execute(delete(zone_serials))
    unknown = _leave_unsent(tx, [RecipientState.SENDING], _CUT_OFF)
    tx.execute(
        update(hand_overs)
        .where(hand_overs.c.outcome == "sending")
        .values(outcome="unknown", response=_CUT_OFF, finished_at=tx.now)
    )
    if send_queued:
        return Aftermath(unknown, 0)
    # What providers have from before now may have been answered too: `webhook recover` asks for it.
    tx.execute(delete(rounds))
    restored = f"restored from a backup of {made_at:%Y-%m-%d %H:%M} UTC"
    unknown += _leave_unsent(
        tx, [RecipientState.QUEUED], f"{restored}: it may have been sent since"
    )
    _ask_anew(tx, f"{restored}: it may have been decided and sent since")
    _leave_undone(tx, f"{restored}: it may have been done since")
    return Aftermath(unknown, _hold(tx, f"{restored}: it may have been answered since"))


def _leave_unsent(tx: Transaction, states: Sequence[RecipientState], reason: str) -> int:
    moved = tx.rows(
        update(outbound_recipients)
        .where(outbound_recipients.c.state.in_(states))
        .values(state=RecipientState.UNKNOWN, reason=reason)
        .returning(outbound_recipients.c.workspace_id, outbound_recipients.c.outbound_id)
    )
    for row in {(one.workspace_id, one.outbound_id): one for one in moved}.values():
        inside = tx.of(row.workspace_id)
        settled = outbox.settle(inside, row.outbound_id)
        inside.execute(
            update(outbound_mails).where(outbound_mails.c.id == row.outbound_id).values(**settled)
        )
        note(inside, "restore", "unknown whether it was sent", reason, outbound_id=row.outbound_id)
    return len(moved)


def _ask_anew(tx: Transaction, reason: str) -> None:
    """Let whoever decides about a draft read that first: no lapse of time and no earlier notice may
    say yes for them.
    """
    for row in tx.rows(select(approvals).where(approvals.c.state == "waiting")):
        values = {"reasons": [reason, *row.reasons], "at_expiry": "reject"}
        tx.execute(update(approvals).where(approvals.c.id == row.id).values(**values))
    tx.execute(delete(approval_invitations))


def _leave_undone(tx: Transaction, reason: str) -> None:
    """Make no call of a tool that people had agreed to: `mailagent tool calls` lists them."""
    for row in tx.rows(
        update(tool_calls)
        .where(tool_calls.c.state == "agreed")
        .values(state="unknown", why=reason[:500])
        .returning(tool_calls.c.workspace_id, tool_calls.c.name, tool_calls.c.delivery_id)
    ):
        what = f"{row.name}: unknown"
        note(tx.of(row.workspace_id), "restore", what, reason, delivery_id=row.delivery_id)


def _hold(tx: Transaction, reason: str) -> int:
    """Hold what would be answered: what waits for the agent, and what a schedule would release."""
    would_be_answered = or_(
        deliveries.c.state.in_(
            [
                DeliveryState.ACCEPTED,
                DeliveryState.READ,
                DeliveryState.ROUTED,
                DeliveryState.THINKING,
            ]
        ),
        and_(deliveries.c.state == DeliveryState.HELD, deliveries.c.held_until.is_not(None)),
    )
    moved: Sequence[AnyRow] = tx.rows(
        update(deliveries)
        .where(would_be_answered)
        .values(state=DeliveryState.HELD, reason=reason, held_until=None)
        .returning(deliveries.c.workspace_id, deliveries.c.id)
    )
    for row in moved:
        note(tx.of(row.workspace_id), "restore", "held", reason, delivery_id=row.id)
    tx.execute(update(threads).values(ready=False).where(threads.c.ready))
    tx.execute(
        update(turns)
        .where(turns.c.state == "running")
        .values(state="failed", outcome=reason, finished_at=tx.now)
    )
    return len(moved)
