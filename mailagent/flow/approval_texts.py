"""What does somebody read who is asked for their yes?"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from mailagent.agents.tools import TOOLS
from mailagent.flow.approval_rows import draft_of
from mailagent.flow.services import FlowSettings
from mailagent.mail import Mail
from mailagent.outgoing import Outgoing
from mailagent.store.tables import agents, tool_calls
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Asked", "of", "wish_in_words"]

_QUOTED = 10_000
_WISH = 4_000


@dataclass(frozen=True, slots=True)
class Asked:
    """The notice, but for whom it goes to."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class _Matter:
    """What differs by the kind of what waits."""

    subject: str
    first: str
    lapse: str
    """What becomes of it when nobody decides."""
    shown: str


def of(tx: Transaction, settings: FlowSettings, row: AnyRow, mail: Mail, person: str) -> Asked:
    """The notice for one person about one approval; `mail` is the one that waits, or that is
    worked on.
    """
    handle = tx.value(select(agents.c.handle).where(agents.c.id == row.agent_id))
    match row.kind:
        case "draft":
            draft = draft_of(row)
            assert draft is not None
            matter = _draft(row, draft, mail, handle)
        case "call":
            call = tx.row(select(tool_calls).where(tool_calls.c.id == row.call_id))
            assert call is not None
            matter = _call(call, mail, handle)
        case _:
            matter = _held(mail, handle)
    reasons = "".join(f"- {one}\n" for one in row.reasons)
    return Asked(
        matter.subject,
        f"{matter.first}\n\n"
        f"Why:\n{reasons}\n"
        "Reply to this mail, and let your first line be one of\n"
        "  approve\n"
        "  reject <the reason>\n"
        f"That works once, from {person} only, until {row.expires_at:%Y-%m-%d %H:%M} UTC.\n"
        "Nothing else that you write is sent. Or look at it and decide here:\n"
        f"  {settings.ui_url}/approvals/{row.id}\n"
        f"  mailagent approvals show {row.id}\n"
        f"If nobody decides until then it is {matter.lapse}.\n\n"
        f"{matter.shown}\n",
    )


def wish_in_words(call: AnyRow) -> str:
    """What a call of a tool was asked with, a line a field."""
    return "\n".join(f"  {name}: {value}" for name, value in call.wish.items())[:_WISH]


def _draft(row: AnyRow, draft: Outgoing, mail: Mail, handle: str) -> _Matter:
    to = ", ".join(one.address for one in (*draft.to, *draft.cc, *draft.bcc))
    files = "".join(
        f"File: {one.filename} ({one.content_type}, {len(one.content):,} octets)\n"
        for one in draft.attachments
    )
    html = "It has HTML as well: look at it on the page.\n" if draft.html else ""
    return _Matter(
        f"Approve a mail of {handle}? {draft.subject}",
        f"{draft.from_.address} wants to send this mail, and needs your yes.",
        "sent" if row.at_expiry == "approve" else "rejected, and a person is told",
        f"To: {to}\nSubject: {draft.subject}\n{files}{html}\n{draft.text}\n\n"
        f"--- It answers a mail of {_author(mail)} ---\n{_quoted(mail)}",
    )


def _call(call: AnyRow, mail: Mail, handle: str) -> _Matter:
    known = TOOLS.get(call.name)
    does = f" It {known.touches}." if known else ""
    return _Matter(
        f"May {handle} do this? {call.name}",
        f"{handle} wants to use {call.name}, and needs your yes.{does}",
        "not done, and the agent is told",
        f"{call.name}\n{wish_in_words(call)}\n\n"
        f"--- It works on a mail of {_author(mail)}: {mail.content.subject} ---\n{_quoted(mail)}",
    )


def _held(mail: Mail, handle: str | None) -> _Matter:
    subject = mail.content.subject or "(no subject)"
    return _Matter(
        f"Let this mail in? {subject}",
        f"A mail to {mail.recipient} is held, and needs your yes to reach {handle or 'an agent'}.",
        "left where it is: held",
        f"From: {_author(mail)}\nSubject: {subject}\n\n{_quoted(mail)}",
    )


def _author(mail: Mail) -> str:
    return mail.content.from_[0].address if mail.content.from_ else "(no From)"


def _quoted(mail: Mail) -> str:
    return "\n".join(f"> {line}" for line in mail.content.text[:_QUOTED].splitlines())
