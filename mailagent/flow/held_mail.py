"""Which mail waits before its agent for a person's yes, and what does the yes do?

One that nothing proves, and one that a rule holds. The first has found its agent and thread and
goes on from there; the second is read and routed again as if no rule held it. One yes is for both
reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import bindparam, delete, func, select, update

from mailagent.errors import Conflict
from mailagent.flow import approval_notices, approval_rows, threads
from mailagent.flow.decide import Hold, addressee
from mailagent.flow.ledger import note
from mailagent.flow.limits import of_agent
from mailagent.flow.route import destination, route
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import load_mails
from mailagent.mail import Kind, Mail
from mailagent.store.tables import (
    approval_invitations,
    approvals,
    attachments,
    deliveries,
    messages,
)
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["hold", "hold_by_rule", "let_in", "may_tell", "pass_on", "turn_away"]

_TOLD_AN_HOUR = 10
"""Of the 60 notices of a workspace, those about held mail: strangers decide how much of it comes,
and must not take the notices about drafts away."""


def hold(
    tx: Transaction,
    services: Services,
    mail: Mail,
    agent_id: str,
    thread_id: str,
    reason: str,
) -> None:
    """Let a mail that nothing proves wait before its agent."""
    _insert(tx, services, mail, [reason], agent_id, thread_id)


def hold_by_rule(
    tx: Transaction, services: Services, mail: Mail, place: str, agent_id: str | None, why: str
) -> None:
    """Let a mail wait because a rule says so; `why` names it. `place` and `agent_id` are those of
    the delivery, of which follows whose mail it would be.
    """
    reasons = [why]
    match addressee(mail):
        case Hold(reason):
            reasons.append(reason)
        case _:
            pass
    leads_to = route(tx, mail, place=place, agent_id=agent_id, passed=True).agent_id
    _insert(tx, services, mail, reasons, leads_to, None)


def _insert(
    tx: Transaction,
    services: Services,
    mail: Mail,
    reasons: Sequence[str],
    agent_id: str | None,
    thread_id: str | None,
) -> None:
    limits = of_agent(tx, agent_id)
    # What a machine wrote can wait for somebody who looks: a newsletter is no news to them.
    told = limits.tell_of_held and mail.kind is Kind.PERSON
    row = approval_rows.insert(
        tx,
        limits,
        kind="mail",
        delivery_id=mail.delivery_id,
        digest=mail.content.content_sha256,
        reasons=reasons,
        remind=told,
        agent_id=agent_id,
        thread_id=thread_id,
    )
    if told and may_tell(tx):
        approval_notices.tell(tx, services, row, mail, limits)


_TOLD = (
    select(func.count(approval_invitations.c.approval_id.distinct()))
    .join(approvals, approvals.c.id == approval_invitations.c.approval_id)
    .where(approvals.c.kind == "mail", approval_invitations.c.created_at > bindparam("since"))
)


def may_tell(tx: Transaction) -> bool:
    """Whether people have not heard of too much held mail within the hour."""
    return int(tx.value(_TOLD, {"since": tx.now - timedelta(hours=1)})) < _TOLD_AN_HOUR


_LET_IN = select(approvals.c.id).where(
    approvals.c.delivery_id == bindparam("delivery"),
    approvals.c.kind == "mail",
    approvals.c.state == "approved",
)


def let_in(tx: Transaction, delivery_id: str) -> bool:
    """Whether a person let this mail pass to its agent."""
    return tx.row(_LET_IN, {"delivery": delivery_id}) is not None


def pass_on(tx: Transaction, row: AnyRow, by: str) -> None:
    """Let the mail of an approval go on to its agent. Raises Conflict when it waits no longer, or
    no agent would get it.
    """
    why = f"{by} let it in: {row.reasons[0] if row.reasons else ''}"
    if row.thread_id is None:
        _read_again(tx, row, why)
        return
    held, routed = DeliveryState.HELD, DeliveryState.ROUTED
    approval_rows.move_or_refuse(tx, row, held, routed, why)
    threads.set_ready(tx, row.thread_id)


def turn_away(tx: Transaction, row: AnyRow, said: str) -> None:
    """Let the mail of an approval reach nobody. Raises Conflict when it waits no longer."""
    held, rejected = DeliveryState.HELD, DeliveryState.REJECTED
    approval_rows.move_or_refuse(tx, row, held, rejected, said)


def _read_again(tx: Transaction, row: AnyRow, why: str) -> None:
    delivery = tx.row(select(deliveries).where(deliveries.c.id == row.delivery_id))
    mails = load_mails(tx, [row.delivery_id])
    if delivery is None or not mails:
        raise approval_rows.taken(row)
    place, agent_id = destination(tx, delivery)
    way = route(tx, mails[0], place=place, agent_id=agent_id, passed=True)
    if way.action != "agent":
        problem = f"no agent would get it ({way.why}): add a rule that leads to one, or reject it"
        raise Conflict(f"{row.id}: {problem}")
    moved = tx.execute(
        update(deliveries)
        .where(deliveries.c.id == row.delivery_id, deliveries.c.state == DeliveryState.HELD)
        .values(
            state=DeliveryState.ACCEPTED,
            reason="",
            place=place,
            agent_id=agent_id,
            message_ref=None,
            held_until=None,
            not_before=tx.now,
            claimed_by=None,
            lease_until=None,
            attempts=0,
            deaths=0,
        )
    )
    if moved.rowcount != 1:
        raise approval_rows.taken(row)
    tx.execute(delete(attachments).where(attachments.c.owner_id == delivery.message_ref))
    tx.execute(delete(messages).where(messages.c.delivery_id == row.delivery_id))
    note(tx, "decide", "driven again", why, delivery_id=row.delivery_id)
    tx.wake("read")
