"""When is a thread looked at again, though its correspondent has not written?

A reminder is a row: an agent's follow-up, the end of its waiting, a colleague's answer. When it is
due, the newest mail of the thread that has had its turn is given to the agent once more, with the
reminder beside it. A mail of the correspondent cancels what was to happen if none came.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select, update

from mailagent.agents.turn import Reminder
from mailagent.flow.ledger import note
from mailagent.flow.states import DeliveryState
from mailagent.store.tables import deliveries, messages, reminders, threads
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["LATEST", "give", "of_turn", "remind", "wake_due"]

LATEST = timedelta(days=90)
_AT_ONCE = 200
_MOST_OF_A_THREAD = 20
_WOKEN = (DeliveryState.ANSWERED, DeliveryState.SILENT, DeliveryState.HANDED_TO_A_PERSON)


def remind(
    tx: Transaction,
    thread_id: str,
    kind: str,
    *,
    at: datetime,
    text: str,
    author: str = "",
    keep: bool = False,
) -> bool:
    """Have the thread looked at again; now when `at` has passed. False for one too many."""
    open_ = tx.rows(
        select(reminders.c.id).where(
            reminders.c.thread_id == thread_id, reminders.c.state.in_(["waiting", "due"])
        )
    )
    if len(open_) >= _MOST_OF_A_THREAD:
        return False
    tx.insert(
        reminders,
        {
            "id": new_id("rem"),
            "thread_id": thread_id,
            "kind": kind,
            "due_at": min(max(at, tx.now), tx.now + LATEST),
            "text": text,
            "author": author[:320],
            "keep": keep,
            "state": "waiting",
            "created_at": tx.now,
        },
    )
    if at <= tx.now:
        _wake(tx, thread_id)
    return True


def wake_due(tx: Transaction) -> None:
    """Wake the threads whose time has come: a chore, in an unscoped transaction."""
    rows = tx.rows(
        select(reminders.c.workspace_id, reminders.c.thread_id)
        .where(reminders.c.state == "waiting", reminders.c.due_at <= tx.now)
        .distinct()
        .limit(_AT_ONCE)
    )
    for row in rows:
        _wake(tx.of(row.workspace_id), row.thread_id)


def give(tx: Transaction, thread_id: str, turn_id: str) -> None:
    """Give a turn that opens what is due; without any, a mail has come, and ends the waiting."""
    due = tx.execute(_DUE, {"thread": thread_id, "state": "used", "turn_id": turn_id}).rowcount
    if not due:
        tx.execute(_WAITING, {"thread": thread_id, "state": "cancelled"})


_OF_THREAD = update(reminders).where(reminders.c.thread_id == bindparam("thread"))
_DUE = _OF_THREAD.where(reminders.c.state == "due")
_WAITING = _OF_THREAD.where(reminders.c.state == "waiting", reminders.c.keep.is_(False))


def of_turn(tx: Transaction, turn_id: str) -> tuple[Reminder, ...]:
    """What a turn was given, oldest first."""
    rows: Sequence[object] = tx.rows(_OF_TURN, {"turn": turn_id})
    return tuple(Reminder(*row) for row in rows)  # type: ignore[misc]


_OF_TURN = (
    select(reminders.c.kind, reminders.c.created_at, reminders.c.text, reminders.c.author)
    .where(reminders.c.turn_id == bindparam("turn"))
    .order_by(reminders.c.id)
)


def _wake(tx: Transaction, thread_id: str) -> None:
    tx.rows(select(threads.c.id).where(threads.c.id == thread_id).with_for_update())
    tx.execute(
        update(reminders)
        .where(
            reminders.c.thread_id == thread_id,
            reminders.c.state == "waiting",
            reminders.c.due_at <= tx.now,
        )
        .values(state="due")
    )
    newest = tx.row(
        select(deliveries.c.id, deliveries.c.state)
        .join(messages, messages.c.delivery_id == deliveries.c.id)
        .where(
            deliveries.c.thread_id == thread_id,
            messages.c.kind == "person",
            deliveries.c.content_removed_at.is_(None),
            deliveries.c.state.not_in([DeliveryState.MERGED, DeliveryState.DUPLICATE]),
        )
        .order_by(deliveries.c.received_at.desc(), deliveries.c.id.desc())
        .limit(1)
    )
    # One in work takes the reminder into its next turn; one that is held or parked is a person's.
    if newest is None or newest.state not in _WOKEN:
        return
    tx.execute(
        update(deliveries)
        .where(deliveries.c.id == newest.id)
        .values(state=DeliveryState.ROUTED, reason="a reminder is due", turn_id=None)
    )
    tx.execute(update(threads).where(threads.c.id == thread_id).values(ready=True))
    note(tx, "think", "woken", "a reminder of the thread is due", delivery_id=newest.id)
    tx.wake("think")
