"""Who is asked for a yes, and how do they hear of it?

Whom the agent names, else its workspace, else the owners: each in a notice of their own, whose
Reply-To holds a token that is bound to what waits and to them (`flow.approval_by_mail`). Nobody
decides for hours of work: they are reminded, then others are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import update

from mailagent.agents.limits import Limits
from mailagent.errors import Malformed
from mailagent.flow import approval_texts, people
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.mail import Address, Mail
from mailagent.store.tables import approval_invitations, approvals
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id, new_reply_key

__all__ = ["DECISION_TAG", "approvers", "remind", "tell"]

DECISION_TAG = "+a."
"""The mark before the token in the Reply-To of a notice."""


def approvers(tx: Transaction, limits: Limits) -> tuple[str, ...]:
    """The people who are asked; empty when there is nobody."""
    return limits.approvers or people.owners(tx)


def tell(
    tx: Transaction,
    services: Services,
    row: AnyRow,
    mail: Mail,
    limits: Limits,
    *,
    to: Sequence[str] | None = None,
    before: str = "",
) -> tuple[str, ...]:
    """Ask people for their yes; who could be told. `mail` is the one that waits, or that is worked
    on.
    """
    wanted = approvers(tx, limits) if to is None else to
    told = []
    if people.may_tell(tx):
        told = [one for one in wanted if _invite(tx, services, row, mail, one, before)]
    what = f"asked {', '.join(told)}" if told else "nobody could be asked: it waits in the queue"
    note(tx, "approve", what, "; ".join(row.reasons), delivery_id=row.delivery_id)
    return tuple(told)


def remind(tx: Transaction, services: Services, row: AnyRow, mail: Mail, limits: Limits) -> None:
    """Ask again, in working hours: first the same people, then whoever hears of hand-overs and the
    owners; after that nobody more.
    """
    hours = limits.working_hours
    if hours is not None and not hours.is_open(tx.now):
        _set(tx, row, remind_at=hours.next_open(tx.now))
        return
    asked = approvers(tx, limits)
    if row.reminders == 0:
        tell(tx, services, row, mail, limits, before="Reminder: ")
    else:
        known = {one.lower() for one in asked}
        others = (*people.reachable(tx, row.agent_id), *people.owners(tx))
        also = [one for one in dict.fromkeys(others) if one.lower() not in known]
        tell(tx, services, row, mail, limits, to=(*asked, *also), before="Still waiting: ")
    waits = timedelta(hours=limits.remind_after_hours)
    again = hours.after(tx.now, waits) if hours else tx.now + waits
    last = row.reminders > 0
    _set(tx, row, remind_at=None if last else again, reminders=row.reminders + 1)


def _set(tx: Transaction, row: AnyRow, **values: object) -> None:
    tx.execute(update(approvals).where(approvals.c.id == row.id).values(**values))


def _invite(
    tx: Transaction, services: Services, row: AnyRow, mail: Mail, person: str, before: str
) -> bool:
    key = new_reply_key()
    token = services.secrets.approval_token(key, row.id, person)
    domain = people.domain_of(tx, services.settings)
    asked = approval_texts.of(tx, services.settings, row, mail, person)
    try:
        people.write(
            tx,
            services.settings,
            (person,),
            f"{before}{asked.subject}",
            asked.text,
            agent_id=row.agent_id,
            delivery_id=row.delivery_id,
            reply_to=Address(f"{people.ANSWERING}{DECISION_TAG}{token}@{domain}"),
        )
    except Malformed as error:
        note(tx, "approve", "the notice could not be made", str(error),
             delivery_id=row.delivery_id)  # fmt: skip
        return False
    tx.insert(
        approval_invitations,
        {
            "id": new_id("inv"),
            "approval_id": row.id,
            "person": person.lower(),
            "reply_key": key,
            "digest": row.digest,
            "created_at": tx.now,
            "expires_at": row.expires_at,
        },
    )
    return True
