"""Step 6: what exactly goes out? One frozen `Outgoing`, the same whoever carries it.

The agent or person gives the text; recipients, thread headers and the reply address are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select

from mailagent.errors import NotFound
from mailagent.flow import sender_domains
from mailagent.flow.directory import normalised, without_tag
from mailagent.flow.services import Services
from mailagent.mail import Address, Mail
from mailagent.mime import threading as anchoring
from mailagent.outgoing import Outgoing, OutgoingAttachment, Reply
from mailagent.store.tables import addresses, agents, threads, workspaces
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["HOP_HEADER", "Sender", "answer", "forward", "new_mail", "reply_address", "sender_of"]

HOP_HEADER = "X-Mailagent-Loop"
"""Names the installations that a mail of ours has passed."""
_LONGEST_NAME = 100
_LONGEST_SUBJECT = 900


@dataclass(frozen=True, slots=True)
class Sender:
    """From which address of an agent a mail goes out."""

    agent: AnyRow
    """Its columns, and its workspace's settings as `workspace_settings`."""
    mailbox: Address
    answered_at: Address
    """Where answers come in: the mailbox itself, unless its domain only sends."""

    @property
    def domain(self) -> str:
        """The domain that must vouch for the mail."""
        return self.mailbox.domain


_WITH_ADDRESSES = (
    select(
        agents,
        workspaces.c.settings.label("workspace_settings"),
        addresses.c.local_part,
        addresses.c.domain,
        addresses.c.alias,
        addresses.c.until,
        sender_domains.sending(agents.c.workspace_id, addresses.c.domain).label("sending"),
        sender_domains.receives(agents.c.workspace_id, addresses.c.domain).label("receives"),
    )
    .join(addresses, addresses.c.agent_id == agents.c.id)
    .join(workspaces, workspaces.c.id == agents.c.workspace_id)
    .where(agents.c.id == bindparam("agent"))
    .order_by(addresses.c.alias, addresses.c.created_at)
)


def foresee_sender(tx: Transaction, agent_id: str) -> None:
    """Foresee what `sender_of` asks."""
    tx.foresee(_WITH_ADDRESSES, {"agent": agent_id})


def sender_of(tx: Transaction, agent_id: str, *, written_to: str | None = None) -> Sender:
    """The address `written_to` when it is one of the agent's, else the one that it sends as.

    An address on a domain that may not send yet is stood in for by the primary one. Nothing leaves
    from a name that the workspace has left: what was written to there is answered from where that
    address stands now. Raises NotFound when the agent has no address in this workspace.
    """
    rows = tx.rows(_WITH_ADDRESSES, {"agent": agent_id})
    if not rows:
        raise NotFound(f"agent {agent_id} has no address in this workspace")
    primary = chosen = rows[0]
    if written_to is not None:
        local, domain = normalised(written_to)
        named = (without_tag(local), domain)
        found = next((row for row in rows if (row.local_part, row.domain) == named), chosen)
        now = [row for row in rows if row.until is None]
        if found.until is None:
            chosen = found
        else:
            chosen = next((row for row in now if row.local_part == found.local_part), chosen)
    if chosen is primary:
        own = primary.settings.get("sends_as")
        chosen = next((row for row in rows if _address(row) == own), primary)
    if chosen.sending == "not_yet":
        chosen = primary
    mailbox = Address(_address(chosen), chosen.name)
    # The default domain is in no row of domains: all its addresses receive.
    sends_only = chosen.sending is not None and not chosen.receives
    answered_at = Address(_address(primary), chosen.name) if sends_only else mailbox
    return Sender(chosen, mailbox, answered_at)


def _address(row: AnyRow) -> str:
    return f"{row.local_part}@{row.domain}"


def answer(
    tx: Transaction,
    services: Services,
    mail: Mail,
    sender: Sender,
    thread_id: str,
    reply: Reply,
    *,
    to: Address,
    automatic: bool,
) -> Outgoing:
    """Freeze an answer to `mail` in its thread."""
    in_reply_to, references = anchoring.references(mail.content)
    return Outgoing(
        message_id=f"<{new_id('rpl').removeprefix('rpl_')}@{sender.domain}>",
        date=tx.now,
        from_=sender.mailbox,
        # What a stranger chose is cut to what we are willing to send.
        to=(Address(to.address, to.name[:_LONGEST_NAME]),),
        subject=anchoring.reply_subject(mail.content.subject)[:_LONGEST_SUBJECT],
        text=reply.text,
        html=reply.html,
        attachments=reply.attachments,
        reply_to=reply_address(tx, services, sender, thread_id),
        in_reply_to=in_reply_to,
        references=references,
        auto_submitted="auto-replied" if automatic else None,
        headers=((HOP_HEADER, services.settings.hostname),) if automatic else (),
    )


def forward(
    tx: Transaction,
    services: Services,
    mail: Mail,
    sender: Sender,
    thread_id: str,
    reply: Reply,
    *,
    automatic: bool,
) -> Outgoing:
    """Freeze what hands `mail` on to whom the reply names: its words, then the mail's own text.

    Files of the mail do not go along, and its HTML does not: nobody has looked at them.
    """
    content = mail.content
    author = content.from_[0].address if content.from_ else "nobody"
    quoted = (
        f"---------- Forwarded message ----------\nFrom: {author}\n"
        f"Date: {mail.received_at:%Y-%m-%d %H:%M} UTC\nSubject: {content.subject}\n\n"
    )
    to_author = Address(author)
    words = Reply(f"{reply.text.rstrip()}\n\n{quoted}{content.text}", attachments=reply.attachments)
    made = answer(tx, services, mail, sender, thread_id, words, to=to_author, automatic=automatic)
    subject = f"Fwd: {content.subject}"[:_LONGEST_SUBJECT]
    return replace(made, to=reply.to, subject=subject)


_REPLY_KEY = select(threads.c.reply_key).where(threads.c.id == bindparam("thread"))


def foresee_address(tx: Transaction, thread_id: str) -> None:
    """Foresee what `reply_address` asks."""
    tx.foresee(_REPLY_KEY, {"thread": thread_id})


def reply_address(
    tx: Transaction, services: Services, sender: Sender, thread_id: str
) -> tuple[Address, ...]:
    """`<handle>+t.<token>@…`: what names the thread when every header has been lost."""
    key = tx.value(_REPLY_KEY, {"thread": thread_id})
    local, _, domain = sender.answered_at.address.rpartition("@")
    token = services.secrets.reply_token(key, sender.answered_at.address)
    return (Address(f"{local}+t.{token}@{domain}", sender.mailbox.name),)


def new_mail(
    tx: Transaction,
    services: Services,
    sender: Sender,
    thread_id: str,
    *,
    to: tuple[Address, ...],
    cc: tuple[Address, ...] = (),
    bcc: tuple[Address, ...] = (),
    subject: str,
    text: str,
    html: str | None = None,
    attachments: tuple[OutgoingAttachment, ...] = (),
    reply_to: tuple[Address, ...] = (),
    headers: tuple[tuple[str, str], ...] = (),
) -> Outgoing:
    """Freeze a mail that starts a thread."""
    return Outgoing(
        message_id=f"<{new_id('new').removeprefix('new_')}@{sender.domain}>",
        date=tx.now,
        from_=sender.mailbox,
        to=to,
        cc=cc,
        bcc=bcc,
        subject=subject,
        text=text,
        html=html,
        attachments=attachments,
        reply_to=reply_to or reply_address(tx, services, sender, thread_id),
        headers=headers,
    )
