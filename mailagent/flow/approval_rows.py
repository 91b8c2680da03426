"""How does something begin to wait in the queue of approvals, and how does it end, once?

What all kinds share. `approvals` decides, `held_mail` and `asked_calls` know what a yes to theirs
does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import bindparam, or_, select, update

from mailagent.agents.limits import Limits
from mailagent.errors import Conflict, NotFound
from mailagent.flow.ledger import note
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import outgoing_from_json
from mailagent.outgoing import Outgoing
from mailagent.store.tables import approvals, deliveries
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "Kind",
    "State",
    "draft_of",
    "end",
    "get",
    "insert",
    "move",
    "move_or_refuse",
    "name_of",
    "taken",
    "waiting",
    "waiting_rows",
]

Kind = Literal["draft", "call", "mail"]
State = Literal["waiting", "approved", "rejected", "expired", "stale"]

_LOCKED = select(approvals).where(approvals.c.id == bindparam("approval")).with_for_update()
_BY_ID = update(approvals).where(approvals.c.id == bindparam("approval"))


def insert(
    tx: Transaction,
    limits: Limits,
    *,
    kind: Kind,
    delivery_id: str,
    digest: str,
    reasons: Sequence[str],
    remind: bool = True,
    at_expiry: str = "reject",
    **row: Any,
) -> AnyRow:
    """Let something wait. `row` are the other columns of what waits."""
    approval_id = new_id("apr")
    waits = timedelta(hours=limits.remind_after_hours)
    hours = limits.working_hours
    remind_at = hours.after(tx.now, waits) if hours else tx.now + waits
    tx.insert(
        approvals,
        {
            "id": approval_id,
            "kind": kind,
            "state": "waiting",
            "delivery_id": delivery_id,
            "digest": digest,
            "reasons": list(reasons),
            "edits": [],
            "created_at": tx.now,
            "expires_at": tx.now + timedelta(hours=limits.approval_hours),
            "at_expiry": at_expiry,
            "remind_at": remind_at if remind else None,
            "reminders": 0,
            **row,
        },
    )
    return get(tx, approval_id)


def get(tx: Transaction, approval_id: str) -> AnyRow:
    """One approval of the workspace. Raises NotFound."""
    row = tx.row(select(approvals).where(approvals.c.id == approval_id))
    if row is None:
        raise _unknown(approval_id)
    return row


def draft_of(row: AnyRow) -> Outgoing | None:
    """The mail that waits; None for what is no draft, and when its content was removed."""
    return None if row.outgoing is None else outgoing_from_json(row.outgoing)


def waiting(tx: Transaction, approval_id: str, digest: str | None = None) -> AnyRow:
    """One that waits, locked until the transaction ends; `digest` is what somebody saw of it.

    Raises NotFound; Conflict when it waits no longer or is not what was seen.
    """
    row = tx.row(_LOCKED, {"approval": approval_id})
    if row is None:
        raise _unknown(approval_id)
    if row.state != "waiting":
        by = f" by {name_of(row.decided_by)}" if row.decided_by not in (None, "mailagent") else ""
        why = f": {row.decision}" if row.decision else ""
        raise Conflict(f"{approval_id} waits no longer, it was {row.state}{by}{why}")
    if digest is not None and digest != row.digest:
        raise Conflict(f"{approval_id} was changed since you saw it: look again")
    return row


def waiting_rows(tx: Transaction, *which: Any) -> Sequence[AnyRow]:
    """Those of a condition that wait, locked until the transaction ends."""
    statement = select(approvals).where(*which, approvals.c.state == "waiting").with_for_update()
    return [row for row in tx.rows(statement.order_by(approvals.c.id)) if row.state == "waiting"]


def end(
    tx: Transaction,
    row: AnyRow,
    state: State,
    actor: str,
    decision: str,
    *,
    outbound_id: str | None = None,
) -> AnyRow:
    """Write how the waiting ended, and who ended it."""
    ended: Mapping[str, Any] = {
        "state": state,
        "decided_at": tx.now,
        "decided_by": actor,
        "decision": decision[:500],
        "outbound_id": outbound_id,
        "remind_at": None,
    }
    tx.execute(_BY_ID, {"approval": row.id, **ended})
    note(tx, "approve", f"{row.kind} {state}", decision, actor=actor, delivery_id=row.delivery_id)
    return get(tx, row.id)


def move(
    tx: Transaction,
    row: AnyRow,
    was: DeliveryState,
    becomes: DeliveryState,
    reason: str,
    *,
    among: Collection[str] | None = None,
) -> int:
    """Give the mails that wait with an approval their next state; how many there were."""
    mine = deliveries.c.id == row.delivery_id
    if row.turn_id is not None:
        mine = or_(mine, deliveries.c.turn_id == row.turn_id)
    statement = update(deliveries).where(mine, deliveries.c.state == was)
    if among is not None:
        statement = statement.where(deliveries.c.id.in_(among))
    values: dict[str, Any] = {"state": becomes, "reason": reason[:500], "held_until": None}
    if becomes is DeliveryState.ROUTED:
        values["turn_id"] = None
    moved = tx.rows(statement.values(**values).returning(deliveries.c.id))
    for one in moved:
        note(tx, "decide", str(becomes), reason, delivery_id=one.id)
    return len(moved)


def move_or_refuse(
    tx: Transaction, row: AnyRow, was: DeliveryState, becomes: DeliveryState, reason: str
) -> None:
    """As `move`. Raises Conflict when there was none."""
    if not move(tx, row, was, becomes, reason):
        raise taken(row)


def taken(row: AnyRow) -> Conflict:
    """What is said when the mail of an approval waits no longer."""
    return Conflict(f"{row.id}: its mail has been taken by somebody else, look again")


def name_of(actor: str) -> str:
    """How people read an actor."""
    return actor.removeprefix("person:")


def _unknown(approval_id: str) -> NotFound:
    return NotFound(f"there is no approval {approval_id[:80]!r}")
