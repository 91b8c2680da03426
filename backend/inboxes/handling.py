"""What may a person do with a mail that came in, beside answering it?

Every action leaves a ledger line with its actor: `person:<e-mail>`, `key:<prefix>` or `cli`.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select, update

from mailagent.errors import Conflict, NotFound
from mailagent.flow import approvals, people
from mailagent.flow.answers import IN_WORK
from mailagent.flow.assessing import of_turns
from mailagent.flow.ledger import note
from mailagent.flow.removal import in_words
from mailagent.flow.route import destination
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import load_mails
from mailagent.outgoing import Urgency
from mailagent.store.tables import (
    anchors,
    approval_invitations,
    attachments,
    deliveries,
    messages,
    outbound_mails,
    participants,
    turns,
)
from mailagent.store.tables import approvals as waiting
from mailagent.store.tables import threads as thread_rows
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["REPLAYABLE", "archive", "escalate", "replay", "set_priority"]

REPLAYABLE = frozenset(
    {
        DeliveryState.FAILED,
        DeliveryState.QUARANTINED,
        DeliveryState.HELD,
        DeliveryState.SILENT,
        DeliveryState.LOOPED,
    }
)
"""The ends of a mail that another reading can change."""


def archive(tx: Transaction, delivery_id: str, *, actor: str, away: bool = True) -> None:
    """Put a delivery away, or (`away` False) back; its state is not touched. Raises NotFound."""
    row = _row(tx, delivery_id)
    if (row.archived_at is not None) is away:
        return
    tx.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(archived_at=tx.now if away else None)
    )
    what = "put away" if away else "taken back from the archive"
    note(tx, "archive", what, actor=actor, delivery_id=delivery_id)


def set_priority(
    tx: Transaction, delivery_id: str, priority: Urgency | None, *, actor: str
) -> None:
    """Say how urgent a delivery is, whatever its agent says; None: as the agent reads it. Raises
    NotFound.
    """
    row = _row(tx, delivery_id)
    read = of_turns(tx, [row.turn_id] if row.turn_id else [])
    urgency = read[row.turn_id].assessment.urgency if row.turn_id in read else None
    by_agent = None if urgency == "normal" else urgency
    values = {
        "priority": by_agent if priority is None else priority,
        "priority_by": None if priority is None else actor,
    }
    tx.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))
    what = priority or "as its agent reads it"
    note(tx, "priority", what, actor=actor, delivery_id=delivery_id)


_ESCALATABLE = frozenset(
    {
        DeliveryState.ANSWERED,
        DeliveryState.WAITING_FOR_APPROVAL,
        DeliveryState.SILENT,
        DeliveryState.HELD,
        DeliveryState.LOOPED,
        DeliveryState.REJECTED,
        DeliveryState.FAILED,
    }
)


def escalate(
    tx: Transaction, services: Services, delivery_id: str, *, reason: str, actor: str
) -> None:
    """Hand a delivery to a person, and tell the agent's people; once is enough.

    Raises NotFound; Conflict when the agent has it in hand, or there is nothing to be read in it.
    """
    row = _row(tx, delivery_id)
    if row.state == DeliveryState.HANDED_TO_A_PERSON:
        return
    mails = load_mails(tx, [delivery_id])
    if row.state not in _ESCALATABLE or not mails or in_words(row):
        raise Conflict(f"{delivery_id} is {row.state}: it cannot be handed to a person now")
    approvals.withdraw(tx, row, "escalated")
    by = actor.removeprefix("person:")
    told = reason.strip() or f"{by} asks a person to look"
    handed = {"state": DeliveryState.HANDED_TO_A_PERSON, "reason": told[:500], "held_until": None}
    moved = tx.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id, deliveries.c.state == row.state)
        .values(**handed)
    )
    if moved.rowcount != 1:
        raise Conflict(f"{delivery_id} is being worked on: look again in a moment")
    note(tx, "decide", str(DeliveryState.HANDED_TO_A_PERSON), told, actor=actor,
         delivery_id=delivery_id)  # fmt: skip
    people.hand_over(tx, services, mails[0], row.agent_id, told)


# --- driving it again -------------------------------------------------------------------------


def replay(tx: Transaction, delivery_id: str, *, actor: str) -> None:
    """Read, route and think about a delivery as if it had just been accepted.

    Raises NotFound; Conflict when it has an answer, is in work, has ended in a way that another
    reading cannot change, or its octets are gone.
    """
    row = _row(tx, delivery_id)
    _may_be_replayed(tx, row)
    approvals.withdraw(tx, row, "driven again", calls=True)
    _forget_reading(tx, row)
    place, agent_id = destination(tx, row)
    moved = tx.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id, deliveries.c.state == row.state)
        .values(
            state=DeliveryState.ACCEPTED,
            reason="",
            place=place,
            agent_id=agent_id,
            held_until=None,
            message_ref=None,
            thread_id=None,
            turn_id=None,
            archived_at=None,
            not_before=tx.now,
            claimed_by=None,
            lease_until=None,
            attempts=0,
            deaths=0,
        )
    )
    if moved.rowcount != 1:
        raise Conflict(f"{delivery_id} is being worked on: look again in a moment")
    note(
        tx,
        "replay",
        "driven again",
        f"it was {row.state}: {row.reason}" if row.reason else f"it was {row.state}",
        actor=actor,
        delivery_id=delivery_id,
    )
    tx.wake("read")


def _may_be_replayed(tx: Transaction, row: AnyRow) -> None:
    answered = tx.value(
        select(outbound_mails.c.message_id)
        .where(
            outbound_mails.c.answers_delivery_id == row.id,
            outbound_mails.c.purpose.in_(["reply", "person"]),
        )
        .order_by(outbound_mails.c.created_at)
        .limit(1)
    )
    if answered is not None:
        raise Conflict(f"{row.id} was answered already by {answered}: it would be answered twice")
    if row.state in IN_WORK:
        raise Conflict(f"{row.id} is in work already ({row.state})")
    if gone := in_words(row):
        raise Conflict(f"{row.id} cannot be driven again: its content was {gone}")
    if row.state not in REPLAYABLE:
        can = ", ".join(sorted(REPLAYABLE))
        raise Conflict(f"{row.id} is {row.state}: only one that is {can} can be driven again")


def _forget_reading(tx: Transaction, row: AnyRow) -> None:
    """Remove what the earlier reading made, so that the next one finds the mail as new."""
    message = tx.row(
        select(messages.c.id, messages.c.message_id).where(messages.c.delivery_id == row.id)
    )
    if message is not None:
        tx.execute(delete(attachments).where(attachments.c.owner_id == message.id))
        tx.execute(delete(messages).where(messages.c.id == message.id))
    # A copy that was merged into this one would else be found as the mail that came before.
    tx.execute(
        update(deliveries)
        .where(deliveries.c.raw_id == row.raw_id, deliveries.c.state == DeliveryState.MERGED)
        .values(thread_id=None)
    )
    if row.thread_id is not None:
        _leave_thread(tx, row.thread_id, row.id, message.message_id if message else None)


def _leave_thread(
    tx: Transaction, thread_id: str, delivery_id: str, message_id: str | None
) -> None:
    """Let the mail's own id lead to its next thread; a thread that is empty then is removed."""
    if message_id is not None:
        tx.execute(
            delete(anchors).where(
                anchors.c.thread_id == thread_id, anchors.c.message_id == message_id
            )
        )
    others = select(func.count()).where(
        deliveries.c.thread_id == thread_id, deliveries.c.id != delivery_id
    )
    if tx.value(others.select_from(deliveries)):
        return
    for table in (turns, outbound_mails):
        used = select(func.count()).select_from(table).where(table.c.thread_id == thread_id)
        if tx.value(used):
            return
    # What waited here before its agent was never thought about: it is asked anew.
    asked = tx.rows(select(waiting.c.id).where(waiting.c.thread_id == thread_id))
    of_them = approval_invitations.c.approval_id.in_([row.id for row in asked])
    tx.execute(delete(approval_invitations).where(of_them))
    for table in (participants, anchors, waiting):
        tx.execute(delete(table).where(table.c.thread_id == thread_id))
    tx.execute(delete(thread_rows).where(thread_rows.c.id == thread_id))


def _row(tx: Transaction, delivery_id: str) -> AnyRow:
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id}")
    return row
