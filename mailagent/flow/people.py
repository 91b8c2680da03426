"""Which person answers for an agent's mail, and how do they hear of it?

A hand-over goes by mail to the agent's escalation address, else the workspace's, else its owners.
Where nobody can be reached, the mail stays `handed to a person`, and health says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select

from mailagent.errors import Malformed
from mailagent.flow import outbox
from mailagent.flow.ledger import note
from mailagent.flow.services import FlowSettings
from mailagent.mail import Address, Mail
from mailagent.outgoing import Outgoing
from mailagent.store.tables import agents, memberships, outbound_mails, people, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["hand_over", "notify", "owners", "reachable", "write"]

_QUOTED = 10_000
_MOST_AN_HOUR = 60


def reachable(tx: Transaction, agent_id: str | None) -> tuple[str, ...]:
    """The addresses that hear of this agent's hand-overs; empty when there is nobody."""
    if agent_id is not None:
        settings = tx.value(select(agents.c.settings).where(agents.c.id == agent_id)) or {}
        if settings.get("escalation_address"):
            return (settings["escalation_address"],)
    settings = (
        tx.value(select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id)) or {}
    )
    if settings.get("escalation_address"):
        return (settings["escalation_address"],)
    return owners(tx)


def hand_over(
    tx: Transaction, settings: FlowSettings, mail: Mail, agent_id: str | None, reason: str
) -> None:
    """Tell a person that this mail waits for them, with the mail's text and how to answer."""
    author = mail.content.from_[0].address if mail.content.from_ else "(no From)"
    quoted = "\n".join(f"> {line}" for line in mail.content.text[:_QUOTED].splitlines())
    link = f"{settings.ui_url}/deliveries/{mail.delivery_id}"
    text = (
        f"A mail to {mail.recipient} waits for a person.\n\n"
        f"Why: {reason}\nFrom: {author}\nSubject: {mail.content.subject}\n\n{quoted}\n\n"
        f"Answer it in its thread, from the agent's address:\n"
        f"  mailagent reply {mail.delivery_id}\n  {link}\n"
    )
    subject = f"Needs you: {mail.content.subject or '(no subject)'}"
    told = notify(tx, settings, agent_id, subject, text, delivery_id=mail.delivery_id)
    note(
        tx,
        "hand over",
        f"told {', '.join(told)}" if told else "nobody was told: it waits in the inbox",
        reason,
        delivery_id=mail.delivery_id,
    )


def notify(
    tx: Transaction,
    settings: FlowSettings,
    agent_id: str | None,
    subject: str,
    text: str,
    *,
    delivery_id: str | None = None,
) -> tuple[str, ...]:
    """Queue one notice to the people of an agent; who was told, empty when nobody can be.

    After `_MOST_AN_HOUR` notices of a workspace the inbox tells alone: strangers must not be able
    to flood its people.
    """
    to = reachable(tx, agent_id)
    if not to or _notices_this_hour(tx) >= _MOST_AN_HOUR:
        return ()
    try:
        write(tx, settings, to, subject, text, agent_id=agent_id, delivery_id=delivery_id)
    except Malformed as error:
        note(tx, "hand over", "the notice could not be made", str(error), delivery_id=delivery_id)
        return ()
    return to


def write(
    tx: Transaction,
    settings: FlowSettings,
    to: Sequence[str],
    subject: str,
    text: str,
    *,
    agent_id: str | None = None,
    delivery_id: str | None = None,
    name: str | None = None,
) -> None:
    """Queue one notice from `postmaster@` of the workspace, whatever else was told this hour.

    `name` is the left part of its Message-ID. Raises Malformed.
    """
    slug = tx.value(select(workspaces.c.slug).where(workspaces.c.id == tx.workspace_id))
    domain = f"{slug}.{settings.default_domain}"
    notice = Outgoing(
        message_id=f"<{name or new_id('ntc')}@{domain}>",
        date=tx.now,
        from_=Address(f"postmaster@{domain}", "mailagent"),
        to=tuple(Address(one) for one in to),
        subject=subject[:300],
        text=text,
        auto_submitted="auto-generated",
    )
    envelope = outbox.Envelope("notice", "mailagent", agent_id, answers_delivery_id=delivery_id)
    outbox.queue(tx, notice, envelope, expiry=timedelta(days=3))


def owners(tx: Transaction) -> tuple[str, ...]:
    """The addresses of the workspace's owners."""
    rows = tx.rows(
        select(people.c.email)
        .join(memberships, memberships.c.person_id == people.c.id)
        .where(memberships.c.role == "owner")
        .order_by(people.c.email)
    )
    return tuple(row[0] for row in rows)


def _notices_this_hour(tx: Transaction) -> int:
    statement = (
        select(func.count())
        .select_from(outbound_mails)
        .where(
            outbound_mails.c.purpose == "notice",
            outbound_mails.c.created_at > tx.now - timedelta(hours=1),
        )
    )
    return int(tx.value(statement))
