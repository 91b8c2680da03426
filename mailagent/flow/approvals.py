"""What waits for a person's yes, and what ends the waiting?

One queue: a draft that the policy asks about, a call of a tool (`asked_calls`), and a mail that
nothing proves or a rule holds, which waits before its agent (`held_mail`). A yes is bound to the
digest of what was shown, a draft's to the thread's last message as well, and fires once: what it
orders is written in the transaction that ends the waiting, so whoever comes second, and whoever was
killed in between, finds it ended. A participant's next mail that no machine wrote makes a draft
stale, and the agent thinks again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, or_, select, update

from mailagent.agents.limits import Limits, due_at
from mailagent.errors import Conflict, NotFound
from mailagent.flow import asked_calls, held_mail, outbox, threads
from mailagent.flow.approval_rows import (
    draft_of,
    end,
    insert,
    move,
    move_or_refuse,
    name_of,
    waiting,
    waiting_rows,
)
from mailagent.flow.limits import of_agent
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import outgoing_to_json, to_json
from mailagent.mail import Mail
from mailagent.mime import build
from mailagent.outgoing import Assessment, Outgoing
from mailagent.store.tables import agents, approval_invitations, approvals, deliveries, messages
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "approve",
    "ask",
    "expire",
    "forget",
    "last_message",
    "new_message",
    "reject",
    "withdraw",
]


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
) -> AnyRow:
    """Let a draft that answers `mail`, its thread's last, wait.

    With `only_person` no expiry approves it, whatever is set. Raises Malformed for a draft that
    could not be sent either.
    """
    build.check(draft)
    return insert(
        tx,
        limits,
        kind="draft",
        delivery_id=mail.delivery_id,
        digest=draft.digest(),
        reasons=reasons,
        at_expiry="reject" if only_person else limits.at_expiry,
        agent_id=agent_id,
        thread_id=thread_id,
        turn_id=turn_id,
        outgoing=outgoing_to_json(draft),
        assessment=None if assessment is None else to_json(assessment),
    )


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
    """Say yes: the draft is queued as it stands, the call is done by a worker, or the mail that
    came in goes to its agent.

    `digest` is that of what was seen; another draft is not approved. Raises NotFound; Conflict when
    it waits no longer or is not what was seen.
    """
    row = waiting(tx, approval_id, digest)
    if row.expires_at <= tx.now and actor != "mailagent":
        raise Conflict(f"{approval_id}: its time ended on {row.expires_at:%Y-%m-%d %H:%M} UTC")
    outbound_id = None
    match row.kind:
        case "draft":
            outbound_id = _send(tx, services, row, actor)
        case "call":
            asked_calls.agree(tx, row, actor)
        case _:
            held_mail.pass_on(tx, row, name_of(actor))
    return end(tx, row, "approved", actor, how, outbound_id=outbound_id)


def _send(tx: Transaction, services: Services, row: AnyRow, actor: str) -> str:
    draft = draft_of(row)
    if draft is None or draft.digest() != row.digest:
        raise Conflict(f"{row.id} is not the draft that was asked about: reject it")
    if last_message(tx, row.thread_id) != row.delivery_id:
        raise Conflict(f"{row.id}: a newer mail has come in its thread, look again")
    handle = tx.value(select(agents.c.handle).where(agents.c.id == row.agent_id))
    envelope = outbox.Envelope(
        "reply", f"agent:{handle}", row.agent_id, row.thread_id, row.turn_id, row.delivery_id
    )
    # A person's yes is for now; a lapse of time keeps to the hours and the delay of any answer.
    due = due_at(of_agent(tx, row.agent_id), tx.now) if actor == "mailagent" else None
    expiry = services.settings.send_expiry
    outbound_id = outbox.queue(tx, draft, envelope, expiry=expiry, not_before=due)
    waits, answered = DeliveryState.WAITING_FOR_APPROVAL, DeliveryState.ANSWERED
    move_or_refuse(tx, row, waits, answered, f"approved by {name_of(actor)}")
    return outbound_id


def reject(
    tx: Transaction, approval_id: str, *, actor: str, reason: str = "", how: str = ""
) -> AnyRow:
    """Say no: a draft is not sent and its mail is a person's to answer, a call is not made and its
    agent hears why, a mail that came in is turned away. Raises NotFound, Conflict.
    """
    row = waiting(tx, approval_id)
    said = f"rejected by {name_of(actor)}" + (f": {reason}" if reason else "")
    match row.kind:
        case "draft":
            waits, after = DeliveryState.WAITING_FOR_APPROVAL, DeliveryState.HANDED_TO_A_PERSON
            move_or_refuse(tx, row, waits, after, said)
        case "call":
            told = f"A person did not agree{f': {reason}' if reason else ''}."
            asked_calls.leave(tx, row, actor, told)
        case _:
            held_mail.turn_away(tx, row, said)
    return end(tx, row, "rejected", actor, reason or how)


def expire(tx: Transaction, approval_id: str) -> AnyRow | None:
    """End what nobody decided, by `reject`; None when somebody just has.

    A mail that came in stays held. Whoever calls it hands a draft's mail over.
    """
    try:
        row = waiting(tx, approval_id)
    except (NotFound, Conflict):
        return None
    if row.expires_at > tx.now:
        return None
    match row.kind:
        case "draft":
            waits, after = DeliveryState.WAITING_FOR_APPROVAL, DeliveryState.HANDED_TO_A_PERSON
            move(tx, row, waits, after, "nobody decided about the draft in time")
        case "call":
            asked_calls.leave(tx, row, "mailagent", "Nobody decided in time: it is not done.")
        case _:
            pass
    return end(tx, row, "expired", "mailagent", "nobody decided in time")


# --- what makes it void -----------------------------------------------------------------------


def new_message(tx: Transaction, thread_id: str, delivery_id: str) -> None:
    """A participant wrote, and no machine: drafts of the thread are stale, their mails wait for the
    next turn with this one.
    """
    drafts = approvals.c.thread_id == thread_id, approvals.c.kind == "draft"
    for row in _void(tx, *drafts, why=f"{delivery_id} came in the thread"):
        move(
            tx,
            row,
            DeliveryState.WAITING_FOR_APPROVAL,
            DeliveryState.ROUTED,
            "a newer mail came: it joins the next turn",
        )
        threads.set_ready(tx, thread_id)


def withdraw(tx: Transaction, delivery: AnyRow, why: str, *, calls: bool = False) -> None:
    """A person answered or drove this mail again: what waits of it never fires. `calls`: also what
    its agent wanted to do, which the next turn may ask for anew.
    """
    mine = approvals.c.delivery_id == delivery.id
    if delivery.turn_id is not None:
        mine = or_(mine, approvals.c.turn_id == delivery.turn_id)
    if not calls:
        _void(tx, mine, approvals.c.kind != "call", why=why)
    else:
        _void(tx, mine, why=why)


def forget(tx: Transaction, delivery_ids: Collection[str], *, purge: bool) -> None:
    """Take what approvals of these mails say; what still waits is over. Mails that waited with them
    go back to their agent.
    """
    turn_ids = select(deliveries.c.turn_id).where(
        deliveries.c.id.in_(delivery_ids), deliveries.c.turn_id.is_not(None)
    )
    turns_of = [row.turn_id for row in tx.rows(turn_ids)]
    mine = or_(approvals.c.delivery_id.in_(delivery_ids), approvals.c.turn_id.in_(turns_of))
    for row in _void(tx, mine, why="its content was removed"):
        move(tx, row, DeliveryState.WAITING_FOR_APPROVAL, DeliveryState.EXPIRED,
             "its content was removed", among=delivery_ids)  # fmt: skip
        if move(tx, row, DeliveryState.WAITING_FOR_APPROVAL, DeliveryState.ROUTED,
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


def _void(tx: Transaction, *which: Any, why: str) -> Sequence[AnyRow]:
    rows = waiting_rows(tx, *which)
    for row in rows:
        if row.kind == "call":
            asked_calls.void(tx, row, why)
        end(tx, row, "stale", "mailagent", why)
    return rows


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


def last_message(tx: Transaction, thread_id: str) -> str | None:
    """The newest mail of a thread that a person wrote: what a yes to an answer is bound to."""
    found: str | None = tx.value(_LAST, {"thread": thread_id})
    return found
