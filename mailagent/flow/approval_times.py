"""What does time do to what waits for a person's yes? It reminds, and in the end it decides."""

from __future__ import annotations

from sqlalchemy import or_, select

from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import approval_notices, approval_rows, approvals, held_mail, people
from mailagent.flow.limits import of_agent
from mailagent.flow.services import Services
from mailagent.flow.values import load_mails
from mailagent.store.tables import approvals as rows
from mailagent.store.transaction import Transaction

__all__ = ["pass_time"]

_AT_ONCE = 500


async def pass_time(services: Services) -> None:
    """Remind of what waits long, and end what waited too long: each in a transaction of its own."""
    for workspace_id, approval_id in await services.store.read_unscoped(_due):
        await services.store.write(workspace_id, _one, services, approval_id)


def _due(tx: Transaction) -> list[tuple[str, str]]:
    found = tx.rows(
        select(rows.c.workspace_id, rows.c.id)
        .where(
            rows.c.state == "waiting",
            or_(rows.c.expires_at <= tx.now, rows.c.remind_at <= tx.now),
        )
        .order_by(rows.c.expires_at)
        .limit(_AT_ONCE)
    )
    return [(row.workspace_id, row.id) for row in found]


def _one(tx: Transaction, services: Services, approval_id: str) -> None:
    try:
        row = approval_rows.get(tx, approval_id)
    except NotFound:
        return  # purged since
    if row.state != "waiting":
        return
    mails = load_mails(tx, [row.delivery_id])
    if row.expires_at > tx.now:
        if mails and row.remind_at is not None and row.remind_at <= tx.now:
            if row.kind == "mail" and not held_mail.may_tell(tx):
                return  # within the hour there is room again
            limits = of_agent(tx, row.agent_id)
            approval_notices.remind(tx, services, row, mails[0], limits)
        return
    if row.at_expiry == "approve":
        how = "nobody decided in time, and its rule says approve"
        try:
            approvals.approve(tx, services, approval_id, actor="mailagent", how=how)
        except (Conflict, Malformed):
            pass  # what cannot be sent ends as nobody's yes
        else:
            return
    ended = approvals.expire(tx, approval_id)
    if ended is not None and ended.kind == "draft" and mails:
        why = "nobody decided about the agent's draft in time"
        people.hand_over(tx, services, mails[0], row.agent_id, why)
