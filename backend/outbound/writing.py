"""How does a person or a program write a new mail from an agent's address?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import select

from backend.access.principal import Forbidden
from mailagent.errors import Conflict, Malformed
from mailagent.flow import outbox, own_answers
from mailagent.flow import reply as replying
from mailagent.flow.directory import Place
from mailagent.flow.services import Services
from mailagent.mail import Address
from mailagent.mime.outgoing_rules import check_address
from mailagent.outgoing import Outgoing, OutgoingAttachment
from mailagent.store.tables import agents, threads, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id, new_reply_key

__all__ = ["Draft", "Queued", "mailbox", "mailboxes", "open_thread", "trial_mail", "write"]

_MOST_RECIPIENTS = 50
_MOST_BYTES = 10 * 1024 * 1024
_TEST_EXPIRY = timedelta(hours=1)
_WITH_NAME = re.compile(r'\s*(?:"([^"]*)"|([^<>"]*?))\s*<([^<>]*)>\s*')


@dataclass(frozen=True, slots=True)
class Draft:
    """What the writer of a new mail gives; all else is ours."""

    to: tuple[Address, ...]
    subject: str
    text: str
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    html: str | None = None
    attachments: tuple[OutgoingAttachment, ...] = ()
    reply_to: tuple[Address, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Queued:
    """A mail that is on its way."""

    id: str
    message_id: str
    thread_id: str | None
    from_address: str


def mailbox(field: str, text: str) -> Address:
    """`a@b.example` or `Name <a@b.example>`. Raises Malformed for `field`."""
    named = _WITH_NAME.fullmatch(text)
    address = (named.group(3) if named else text).strip()
    check_address(field, address)
    return Address(address, (named.group(1) or named.group(2) or "") if named else "")


def mailboxes(field: str, texts: Sequence[str]) -> tuple[Address, ...]:
    """Several mailboxes, each written as for `mailbox`. Raises Malformed for `field`."""
    return tuple(mailbox(field, text) for text in texts)


def write(
    tx: Transaction,
    services: Services,
    agent_id: str,
    draft: Draft,
    *,
    author: str,
    by_agent: bool = False,
) -> Queued:
    """Open a thread of the agent with a new mail and queue it.

    At most 50 recipients and 10 MB. `by_agent`: its own program writes, not a person. Raises
    Malformed naming the field, NotFound for an agent without an address, Conflict when its e-mail
    is off, Forbidden for what a person must agree to.
    """
    _check_size(draft)
    sender = replying.sender_of(tx, agent_id)
    if not sender.agent.email_enabled or sender.agent.removed_at is not None:
        raise Conflict(f"the e-mail of agent {sender.agent.handle} is off: switch it on first")
    thread_id = open_thread(tx, agent_id, draft.subject)
    outgoing = replying.new_mail(
        tx,
        services,
        sender,
        thread_id,
        to=draft.to,
        cc=draft.cc,
        bcc=draft.bcc,
        subject=draft.subject,
        text=draft.text,
        html=draft.html,
        attachments=draft.attachments,
        reply_to=draft.reply_to,
        headers=draft.headers,
    )
    purpose: outbox.Purpose = "new"
    if by_agent:
        if told := own_answers.beyond(tx, services, agent_id, thread_id, outgoing):
            raise Forbidden(f"a person must send this: {'; '.join(told)}")
        purpose, outgoing = "tool", replace(outgoing, auto_submitted="auto-generated")
    envelope = outbox.Envelope(purpose, author, agent_id, thread_id)
    outbound_id = outbox.queue(tx, outgoing, envelope, expiry=services.settings.send_expiry)
    return Queued(outbound_id, outgoing.message_id, thread_id, sender.mailbox.address)


def trial_mail(
    tx: Transaction, services: Services, *, to: str, subject: str, body: str, author: str
) -> Queued:
    """Queue one mail that shows whether sending works: from the workspace's first agent, and where
    there is none from `postmaster@` of the workspace. Raises Malformed.

    To an address of ours it leaves by an account all the same, and opens no thread.
    """
    agent_id = tx.value(
        select(agents.c.id)
        .where(agents.c.removed_at.is_(None), agents.c.email_enabled)
        .order_by(agents.c.created_at, agents.c.id)
        .limit(1)
    )
    receiver = mailbox("to", to)
    ours = isinstance(services.directory.locate(receiver.address), Place)
    if agent_id is not None and not ours:
        return write(tx, services, agent_id, Draft((receiver,), subject, body), author=author)
    slug = tx.value(select(workspaces.c.slug).where(workspaces.c.id == tx.workspace_id))
    sender = Address(f"postmaster@{slug}.{services.settings.default_domain}")
    if agent_id is not None:
        sender = replying.sender_of(tx, agent_id).mailbox
    outgoing = Outgoing(
        message_id=f"<{new_id('tst').removeprefix('tst_')}@{sender.domain}>",
        date=tx.now,
        from_=sender,
        to=(receiver,),
        subject=subject,
        text=body,
        auto_submitted="auto-generated",
    )
    envelope = outbox.Envelope("trial" if ours else "notice", author, agent_id)
    outbound_id = outbox.queue(tx, outgoing, envelope, expiry=_TEST_EXPIRY)
    return Queued(outbound_id, outgoing.message_id, None, outgoing.from_.address)


def _check_size(draft: Draft) -> None:
    recipients = len(draft.to) + len(draft.cc) + len(draft.bcc)
    if recipients > _MOST_RECIPIENTS:
        raise Malformed(
            "to", f"{recipients} recipients with cc and bcc, {_MOST_RECIPIENTS} at most"
        )
    size = len(draft.text.encode(errors="replace")) + len(
        (draft.html or "").encode(errors="replace")
    )
    size += sum(len(one.content) for one in draft.attachments)
    if size > _MOST_BYTES:
        field = "attachments" if draft.attachments else "text"
        raise Malformed(field, f"the mail has {size:,} octets, {_MOST_BYTES:,} at most")


def open_thread(tx: Transaction, agent_id: str, subject: str) -> str:
    """A new thread of the agent, without a turn; its id."""
    thread_id = new_id("thr")
    tx.insert(
        threads,
        {
            "id": thread_id,
            "agent_id": agent_id,
            "subject": subject,
            "reply_key": new_reply_key(),
            "created_at": tx.now,
            "last_at": tx.now,
            "ready": False,
            "not_before": tx.now,
        },
    )
    return thread_id
