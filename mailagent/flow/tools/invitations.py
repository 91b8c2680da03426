"""Invites the writer to a meeting: an iCalendar request, in the thread."""

from __future__ import annotations

from datetime import datetime, timedelta

from mailagent.agents.tools import ToolResult
from mailagent.errors import Malformed
from mailagent.flow import reply as replying
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish
from mailagent.flow.tools.mails import post
from mailagent.mail import Address
from mailagent.mime.calendar import invitation
from mailagent.outgoing import OutgoingAttachment
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["invite"]


def invite(tx: Transaction, services: Services, case: Case, wish: Wish) -> ToolResult:
    """Send the invitation. Raises Malformed for a time that is over."""
    start = datetime.fromisoformat(wish["start"])
    if start <= tx.now:
        raise Malformed("start", "is over: choose a later time")
    length = timedelta(minutes=wish["minutes"])
    sender = replying.sender_of(tx, case.agent_id, written_to=case.mail.recipient)
    writer = case.mail.content.from_[0]
    to = Address(writer.address, writer.name[:100])
    file = invitation(
        uid=f"{new_id('inv')}@{sender.domain}",
        now=tx.now,
        start=start,
        length=length,
        title=wish["title"],
        place=wish.get("place") or "",
        organiser=sender.mailbox,
        invited=to,
    )
    place = f"\nWhere: {wish['place']}" if wish.get("place") else ""
    post(
        tx,
        services,
        case,
        case.thread_id,
        to=(to,),
        subject=f"Invitation: {wish['title']}",
        text=f"{wish['title']}\nWhen: {start.isoformat()}, {wish['minutes']} minutes{place}\n",
        attachments=(OutgoingAttachment("invite.ics", "text/calendar", file),),
    )
    return ToolResult(f"The invitation for {start.isoformat()} is on its way to {to.address}.")
