"""What waits for a person's yes, and what ends the waiting?

One queue for both directions: a draft that the policy asks about, and a mail that nothing proves,
which waits before its agent. A yes is bound to the digest of the frozen `Outgoing` and to the
thread's last message, and fires once: it queues the mail in the transaction that ends the waiting,
so whoever comes second, and whoever was killed in between, finds it ended. A participant's next
mail that no machine wrote makes a draft stale, and the agent thinks again.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import bindparam, delete, or_, select, update

from mailagent.agents.limits import Limits
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import outbox, threads
from mailagent.flow.ledger import note
from mailagent.flow.limits import of_agent
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import outgoing_from_json, outgoing_to_json, to_json
from mailagent.mail import Mail
from mailagent.mime import build
from mailagent.outgoing import Assessment, Outgoing
from mailagent.store.tables import (
    agents,
    approval_invitations,
    approvals,
    deliveries,
    messages,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "State",
    "approve",
    "ask",
    "draft_of",
    "edit",
    "expire",
    "forget",
    "get",
    "hold",
    "let_in",
    "new_message",
    "reject",
    "withdraw",
]

State = Literal["waiting", "approved", "rejected", "expired", "stale"]

_LOCKED = select(approvals).where(approvals.c.id == bindparam("approval")).with_for_update()
_BY_ID = update(approvals).where(approvals.c.id == bindparam("approval"))


# --- asking -----------------------------------------------------------------------------------


def ask(
    tx: Transaction,
    draft: Outgoing,
    mail: Mail,
    *,
    agent_id: str,
    thread_id: str,
    turn_id: str,
    reasons: Sequence[str],
    assessment: Assessment | None,
    limits: Limits,
    only_person: bool,
) -> str:
    """Let a draft that answers `mail`, its thread's last, wait; returns the approval's id.

    With `only_person` no expiry approves it, whatever is set. Raises Malformed for a draft that
    could not be sent either.
    """
    build.check(draft)
    return _insert(
        tx,
        limits,
        at_expiry="reject" if only_person else limits.at_expiry,
        direction="outbound",
        agent_id=agent_id,
        thread_id=thread_id,
        turn_id=turn_id,
        delivery_id=mail.delivery_id,
        outgoing=outgoing_to_json(draft),
        digest=draft.digest(),
        reasons=list(reasons),
        assessment=None if assessment is None else to_json(assessment),
    )


def hold(tx: Transaction, mail: Mail, agent_id: str, thread_id: str, reason: str) -> str:
    """Let a mail that nothing proves wait before its agent; nobody is told, it is in the queue."""
    return _insert(
        tx,
        of_agent(tx, agent_id),
        at_expiry="reject",
        direction="inbound",
        agent_id=agent_id,
        thread_id=thread_id,
        turn_id=None,
        delivery_id=mail.delivery_id,
        outgoing=None,
        digest=mail.content.content_sha256,
        reasons=[reason],
        assessment=None,
    )


def _insert(tx: Transaction, limits: Limits, **row: Any) -> str:
    approval_id = new_id("apr")
    waits = timedelta(hours=limits.remind_after_hours)
    hours = limits.working_hours
    told = row["direction"] == "outbound"
    remind_at = hours.after(tx.now, waits) if hours else tx.now + waits
    tx.insert(
        approvals,
        {
            "id": approval_id,
            "state": "waiting",
            "edits": [],
            "created_at": tx.now,
            "expires_at": tx.now + timedelta(hours=limits.approval_hours),
            "remind_at": remind_at if told else None,
            "reminders": 0,
            **row,
        },
    )
    return approval_id


# --- looking ----------------------------------------------------------------------------------


def get(tx: Transaction, approval_id: str) -> AnyRow:
    """One approval of the workspace. Raises NotFound."""
    row = tx.row(select(approvals).where(approvals.c.id == approval_id))
    if row is None:
        raise NotFound(f"there is no approval {approval_id[:80]!r}")
    return row


def draft_of(row: AnyRow) -> Outgoing | None:
    """The mail that waits; None for one that came in, and when its content was removed."""
    return None if row.outgoing is None else outgoing_from_json(row.outgoing)


_LET_IN = select(approvals.c.id).where(
    approvals.c.delivery_id == bindparam("delivery"),
    approvals.c.direction == "inbound",
    approvals.c.state == "approved",
)


def let_in(tx: Transaction, delivery_id: str) -> bool:
    """Whether a person let this unproven mail pass to its agent."""
    return tx.row(_LET_IN, {"delivery": delivery_id}) is not None


# --- deciding ---------------------------------------------------------------------------------


def approve(
    tx: Transaction,
    services: Services,
    approval_id: str,
    *,
    actor: str,
    digest: str | None = None,
    how: str = "",
) -> AnyRow:
    """Say yes: the draft is queued as it stands, or the mail that came in goes to its agent.

    `digest` is that of the draft which was seen; another one is not approved. Raises NotFound;
    Conflict when it waits no longer or is not what was seen.
    """
    row = _waiting(tx, approval_id, digest)
    if row.expires_at <= tx.now and actor != "mailagent":
        raise Conflict(f"{approval_id}: its time ended on {row.expires_at:%Y-%m-%d %H:%M} UTC")
    by = _name(actor)
    if row.direction == "inbound":
        _move_or_refuse(
            tx, row, DeliveryState.HELD, DeliveryState.ROUTED, f"{by} let it in: {_first(row)}"
        )
        threads.set_ready(tx, row.thread_id)
        return _end(tx, row, "approved", actor, how)
    draft = draft_of(row)
    if draft is None or draft.digest() != row.digest:
        raise Conflict(f"{approval_id} is not the draft that was asked about: reject it")
    if _last_message(tx, row.thread_id) != row.delivery_id:
        raise Conflict(f"{approval_id}: a newer mail has come in its thread, look again")
    handle = tx.value(select(agents.c.handle).where(agents.c.id == row.agent_id))
    envelope = outbox.Envelope(
        "reply", f"agent:{handle}", row.agent_id, row.thread_id, row.turn_id, row.delivery_id
    )
    outbound_id = outbox.queue(tx, draft, envelope, expiry=services.settings.send_expiry)
    _move_or_refuse(
        tx,
        row,
        DeliveryState.WAITING_FOR_APPROVAL,
        DeliveryState.ANSWERED,
        f"approved by {by}",
    )
    return _end(tx, row, "approved", actor, how, outbound_id=outbound_id)


def reject(
    tx: Transaction, approval_id: str, *, actor: str, reason: str = "", how: str = ""
) -> AnyRow:
    """Say no: nothing is sent, and the mail is a person's to answer; one that came in is turned
    away. Raises NotFound, Conflict.
    """
    row = _waiting(tx, approval_id, None)
    said = f"rejected by {_name(actor)}" + (f": {reason}" if reason else "")
    if row.direction == "inbound":
        _move_or_refuse(tx, row, DeliveryState.HELD, DeliveryState.REJECTED, said)
    else:
        after = DeliveryState.HANDED_TO_A_PERSON
        _move_or_refuse(tx, row, DeliveryState.WAITING_FOR_APPROVAL, after, said)
    return _end(tx, row, "rejected", actor, reason or how)


def expire(tx: Transaction, approval_id: str) -> AnyRow | None:
    """End what nobody decided, by `reject`; None when somebody just has.

    A mail that came in stays held, as nobody is told of those. Whoever calls it hands the other
    kind over.
    """
    row = tx.row(_LOCKED, {"approval": approval_id})
    if row is None or row.state != "waiting" or row.expires_at > tx.now:
        return None
    if row.direction == "outbound":
        why = "nobody decided about the draft in time"
        after = DeliveryState.HANDED_TO_A_PERSON
        _move(tx, row, DeliveryState.WAITING_FOR_APPROVAL, after, why)
    return _end(tx, row, "expired", "mailagent", "nobody decided in time")


def edit(
    tx: Transaction,
    approval_id: str,
    *,
    actor: str,
    text: str | None = None,
    subject: str | None = None,
    digest: str | None = None,
) -> AnyRow:
    """Change the words of a waiting draft; what changed is kept beside it.

    HTML goes with the text it was made for. Raises NotFound, Malformed, Conflict.
    """
    row = _waiting(tx, approval_id, digest)
    before = draft_of(row)
    if before is None:
        raise Conflict(f"{approval_id} is a mail that came in: there is no draft to change")
    if text is not None and not text.strip():
        raise Malformed("text", "is empty: write the answer, or reject the draft")
    after = replace(
        before,
        text=before.text if text is None else text,
        html=before.html if text is None or text == before.text else None,
        subject=before.subject if subject is None else subject,
    )
    build.check(after)
    if after.digest() == before.digest():
        raise Malformed("text", "changes nothing: approve the draft as it stands")
    changed = {
        "at": tx.now.isoformat(),
        "by": actor,
        "from": before.digest(),
        "to": after.digest(),
        "difference": _difference(before, after),
    }
    values = {
        "outgoing": outgoing_to_json(after),
        "digest": after.digest(),
        "edits": [*row.edits, changed],
    }
    tx.execute(update(approvals).where(approvals.c.id == approval_id).values(**values))
    note(
        tx,
        "approve",
        f"the draft was changed by {_name(actor)}",
        f"{before.digest()[:12]} is now {after.digest()[:12]}",
        actor=actor,
        delivery_id=row.delivery_id,
    )
    return get(tx, approval_id)


# --- what makes it void -----------------------------------------------------------------------


def new_message(tx: Transaction, thread_id: str, delivery_id: str) -> None:
    """A participant wrote, and no machine: drafts of the thread are stale, their mails wait for the
    next turn with this one.
    """
    for row in _void(tx, approvals.c.thread_id == thread_id, f"{delivery_id} came in the thread"):
        _move(
            tx,
            row,
            DeliveryState.WAITING_FOR_APPROVAL,
            DeliveryState.ROUTED,
            "a newer mail came: it joins the next turn",
        )
        threads.set_ready(tx, thread_id)


def withdraw(tx: Transaction, delivery: AnyRow, why: str) -> None:
    """A person answered or drove this mail again: what waits of it never fires."""
    mine = approvals.c.delivery_id == delivery.id
    if delivery.turn_id is not None:
        mine = or_(mine, approvals.c.turn_id == delivery.turn_id)
    _void(tx, mine, why, outbound_only=False)


def forget(tx: Transaction, delivery_ids: Collection[str], *, purge: bool) -> None:
    """Take what approvals of these mails say; what still waits is over. Mails that waited with them
    go back to their agent.
    """
    turn_ids = select(deliveries.c.turn_id).where(
        deliveries.c.id.in_(delivery_ids), deliveries.c.turn_id.is_not(None)
    )
    turns_of = [row.turn_id for row in tx.rows(turn_ids)]
    mine = or_(approvals.c.delivery_id.in_(delivery_ids), approvals.c.turn_id.in_(turns_of))
    for row in _void(tx, mine, "its content was removed", outbound_only=False):
        _move(tx, row, DeliveryState.WAITING_FOR_APPROVAL, DeliveryState.EXPIRED,
              "its content was removed", among=delivery_ids)  # fmt: skip
        if _move(tx, row, DeliveryState.WAITING_FOR_APPROVAL, DeliveryState.ROUTED,
                 "the draft is gone: it joins the next turn"):  # fmt: skip
            threads.set_ready(tx, row.thread_id)
    ids = [row.id for row in tx.rows(select(approvals.c.id).where(mine))]
    if purge:
        invited = approval_invitations.c.approval_id.in_(ids)
        tx.execute(delete(approval_invitations).where(invited))
        tx.execute(delete(approvals).where(approvals.c.id.in_(ids)))
    else:
        nothing: dict[str, Any] = {"outgoing": None, "assessment": None, "reasons": [], "edits": []}
        tx.execute(update(approvals).where(approvals.c.id.in_(ids)).values(**nothing, decision=""))


def _void(tx: Transaction, which: Any, why: str, *, outbound_only: bool = True) -> Sequence[AnyRow]:
    statement = select(approvals).where(which, approvals.c.state == "waiting").with_for_update()
    if outbound_only:
        statement = statement.where(approvals.c.direction == "outbound")
    rows = [row for row in tx.rows(statement.order_by(approvals.c.id)) if row.state == "waiting"]
    for row in rows:
        _end(tx, row, "stale", "mailagent", why)
    return rows


# --- how --------------------------------------------------------------------------------------


def _waiting(tx: Transaction, approval_id: str, digest: str | None) -> AnyRow:
    row = tx.row(_LOCKED, {"approval": approval_id})
    if row is None:
        raise NotFound(f"there is no approval {approval_id[:80]!r}")
    if row.state != "waiting":
        by = f" by {_name(row.decided_by)}" if row.decided_by not in (None, "mailagent") else ""
        why = f": {row.decision}" if row.decision else ""
        raise Conflict(f"{approval_id} waits no longer, it was {row.state}{by}{why}")
    if digest is not None and digest != row.digest:
        raise Conflict(f"{approval_id} was changed since you saw it: look again")
    return row


def _end(
    tx: Transaction,
    row: AnyRow,
    state: State,
    actor: str,
    decision: str,
    *,
    outbound_id: str | None = None,
) -> AnyRow:
    ended: Mapping[str, Any] = {
        "state": state,
        "decided_at": tx.now,
        "decided_by": actor,
        "decision": decision[:500],
        "outbound_id": outbound_id,
        "remind_at": None,
    }
    tx.execute(_BY_ID, {"approval": row.id, **ended})
    what = f"{row.direction} approval {state}"
    note(tx, "approve", what, decision, actor=actor, delivery_id=row.delivery_id)
    return get(tx, row.id)


def _move(
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


def _move_or_refuse(
    tx: Transaction, row: AnyRow, was: DeliveryState, becomes: DeliveryState, reason: str
) -> None:
    if not _move(tx, row, was, becomes, reason):
        raise Conflict(f"{row.id}: its mail has been taken by somebody else, look again")


_LAST = (
    select(messages.c.delivery_id)
    .join(deliveries, deliveries.c.id == messages.c.delivery_id)
    .where(
        messages.c.thread_id == bindparam("thread"),
        messages.c.kind == "person",
        deliveries.c.state.not_in(["rejected", "merged", "duplicate", "quarantined"]),
    )
    .order_by(deliveries.c.received_at.desc(), deliveries.c.id.desc())
    .limit(1)
)


def _last_message(tx: Transaction, thread_id: str) -> str | None:
    found: str | None = tx.value(_LAST, {"thread": thread_id})
    return found


def _difference(before: Outgoing, after: Outgoing) -> str:
    old = [f"Subject: {before.subject}", "", *before.text.splitlines()]
    new = [f"Subject: {after.subject}", "", *after.text.splitlines()]
    return "\n".join(difflib.unified_diff(old, new, "draft", "changed", lineterm="", n=2))


def _first(row: AnyRow) -> str:
    return str(row.reasons[0]) if row.reasons else ""


def _name(actor: str) -> str:
    return actor.removeprefix("person:")
