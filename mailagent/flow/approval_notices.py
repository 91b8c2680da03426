"""Who is asked for a yes, and how do they hear of it?

Whom the agent names, else its workspace, else the owners: each in a notice of their own, whose
Reply-To holds a token that is bound to the draft and to them (`flow.approval_by_mail`). Nobody
decides for hours of work: they are reminded, then others are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select, update

from mailagent.agents.limits import Limits
from mailagent.errors import Malformed
from mailagent.flow import people
from mailagent.flow.approvals import draft_of
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.mail import Address, Mail
from mailagent.outgoing import Outgoing
from mailagent.store.tables import agents, approval_invitations, approvals
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id, new_reply_key

__all__ = ["DECISION_TAG", "approvers", "remind", "tell"]

DECISION_TAG = "+a."
"""The mark before the token in the Reply-To of a notice."""
_QUOTED = 10_000


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
    """Ask people for their yes to a draft; who could be told."""
    draft = draft_of(row)
    assert draft is not None
    wanted = approvers(tx, limits) if to is None else to
    told = []
    if people.may_tell(tx):
        told = [one for one in wanted if _invite(tx, services, row, draft, mail, one, before)]
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
    tx: Transaction,
    services: Services,
    row: AnyRow,
    draft: Outgoing,
    mail: Mail,
    person: str,
    before: str,
) -> bool:
    key = new_reply_key()
    token = services.secrets.approval_token(key, row.id, person)
    domain = people.domain_of(tx, services.settings)
    handle = tx.value(select(agents.c.handle).where(agents.c.id == row.agent_id))
    try:
        people.write(
            tx,
            services.settings,
            (person,),
            f"{before}Approve a mail of {handle}? {draft.subject}",
            _text(services, row, draft, mail, person),
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


def _text(services: Services, row: AnyRow, draft: Outgoing, mail: Mail, person: str) -> str:
    to = ", ".join(one.address for one in (*draft.to, *draft.cc, *draft.bcc))
    files = "".join(
        f"File: {one.filename} ({one.content_type}, {len(one.content):,} octets)\n"
        for one in draft.attachments
    )
    html = "It has HTML as well: look at it on the page.\n" if draft.html else ""
    author = mail.content.from_[0].address if mail.content.from_ else "(no From)"
    asked = "\n".join(f"> {line}" for line in mail.content.text[:_QUOTED].splitlines())
    reasons = "".join(f"- {one}\n" for one in row.reasons)
    ends = f"{row.expires_at:%Y-%m-%d %H:%M} UTC"
    lapse = "sent" if row.at_expiry == "approve" else "rejected, and a person is told"
    ui = services.settings.ui_url
    return (
        f"{draft.from_.address} wants to send this mail, and needs your yes.\n\n"
        f"Why:\n{reasons}\n"
        "Reply to this mail, and let your first line be one of\n"
        "  approve\n"
        "  reject <the reason>\n"
        f"That works once, from {person} only, until {ends}.\n"
        "Nothing else that you write is sent. Or decide, and change the words, here:\n"
        f"  {ui}/approvals/{row.id}\n"
        f"  mailagent approvals show {row.id}\n"
        f"If nobody decides until then it is {lapse}.\n\n"
        f"To: {to}\nSubject: {draft.subject}\n{files}{html}\n{draft.text}\n\n"
        f"--- It answers a mail of {author} ---\n{asked}\n"
    )
