"""Which person answers for an agent's mail, and how do they hear of it?

A hand-over goes by mail to the agent's escalation address, else the workspace's, else its owners;
to each of them in a notice of their own, which they can answer (`flow.answer_by_mail`). Where
nobody can be reached, the mail stays `handed to a person`, and health says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select

from mailagent.errors import Malformed
from mailagent.flow import outbox
from mailagent.flow.ledger import note
from mailagent.flow.services import FlowSettings, Services
from mailagent.mail import Address, Mail
from mailagent.outgoing import Outgoing
from mailagent.store.tables import (
    agents,
    answer_invitations,
    memberships,
    outbound_mails,
    people,
    workspaces,
)
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id, new_reply_key

__all__ = [
    "ABOVE_THIS",
    "ANSWERING",
    "ANSWER_TAG",
    "domain_of",
    "hand_over",
    "may_tell",
    "notify",
    "owners",
    "reachable",
    "tell",
    "write",
]

ANSWERING, ANSWER_TAG = "postmaster", "+h."
"""The local part of a notice's Reply-To, and the mark before its token."""
ABOVE_THIS = "--- Write your answer above this line ---"
_ANSWERABLE_FOR = timedelta(days=14)
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
    tx: Transaction, services: Services, mail: Mail, agent_id: str | None, reason: str
) -> None:
    """Tell people that this mail waits for them, each in a notice that they can answer."""
    to = reachable(tx, agent_id) if may_tell(tx) else ()
    told = [one for one in to if _invite(tx, services, mail, agent_id, one, reason)]
    note(
        tx,
        "hand over",
        f"told {', '.join(told)}" if told else "nobody was told: it waits in the inbox",
        reason,
        delivery_id=mail.delivery_id,
    )


def _invite(
    tx: Transaction,
    services: Services,
    mail: Mail,
    agent_id: str | None,
    person: str,
    reason: str,
) -> bool:
    """Queue the notice of one person; whether it could be made."""
    settings = services.settings
    key, expires_at = new_reply_key(), tx.now + _ANSWERABLE_FOR
    token = services.secrets.answer_token(key, mail.delivery_id, person)
    author = mail.content.from_[0].address if mail.content.from_ else "(no From)"
    quoted = "\n".join(f"> {line}" for line in mail.content.text[:_QUOTED].splitlines())
    text = (
        f"{ABOVE_THIS}\n\nA mail to {mail.recipient} waits for a person.\n\n"
        f"Why: {reason}\nFrom: {author}\nSubject: {mail.content.subject}\n\n{quoted}\n\n"
        f"Reply to this mail: what you write above the quote, and your files, go to\n{author}\n"
        f"in its thread, from the agent's address. That works once, from {person}\n"
        f"only, until {expires_at:%Y-%m-%d %H:%M} UTC. Or answer it here:\n"
        f"  mailagent reply {mail.delivery_id}\n"
        f"  {settings.ui_url}/deliveries/{mail.delivery_id}\n"
    )
    try:
        write(
            tx,
            settings,
            (person,),
            f"Needs you: {mail.content.subject or '(no subject)'}",
            text,
            agent_id=agent_id,
            delivery_id=mail.delivery_id,
            reply_to=Address(f"{ANSWERING}{ANSWER_TAG}{token}@{domain_of(tx, settings)}"),
        )
    except Malformed as error:
        _not_made(tx, error, mail.delivery_id)
        return False
    tx.insert(
        answer_invitations,
        {
            "id": new_id("inv"),
            "delivery_id": mail.delivery_id,
            "person": person.lower(),
            "reply_key": key,
            "created_at": tx.now,
            "expires_at": expires_at,
        },
    )
    return True


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
    if not to or not may_tell(tx):
        return ()
    try:
        write(tx, settings, to, subject, text, agent_id=agent_id, delivery_id=delivery_id)
    except Malformed as error:
        _not_made(tx, error, delivery_id)
        return ()
    return to


def notify_operator(tx: Transaction, settings: FlowSettings, subject: str, text: str) -> None:
    """Queue one notice to the people of the operator's workspace, in an unscoped transaction."""
    oldest = select(workspaces.c.id).order_by(workspaces.c.created_at, workspaces.c.id).limit(1)
    operator = tx.value(oldest)
    if operator is not None:
        notify(tx.of(operator), settings, None, subject, text)


def tell(
    tx: Transaction,
    settings: FlowSettings,
    person: str,
    subject: str,
    text: str,
    *,
    delivery_id: str,
) -> bool:
    """Queue one notice to one person, about a mail of theirs; whether it was."""
    if not may_tell(tx):
        return False
    try:
        write(tx, settings, (person,), subject, text, delivery_id=delivery_id)
    except Malformed as error:
        _not_made(tx, error, delivery_id)
        return False
    return True


def _not_made(tx: Transaction, error: Malformed, delivery_id: str | None) -> None:
    note(tx, "hand over", "the notice could not be made", str(error), delivery_id=delivery_id)


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
    reply_to: Address | None = None,
    by_operator: bool = False,
) -> None:
    """Queue one notice from `postmaster@` of the workspace, whatever else was told this hour.

    `name` is the left part of its Message-ID. `by_operator`: from the default domain itself. Raises
    Malformed.
    """
    domain = settings.default_domain if by_operator else domain_of(tx, settings)
    notice = Outgoing(
        message_id=f"<{name or new_id('ntc')}@{domain}>",
        date=tx.now,
        from_=Address(f"postmaster@{domain}", "mailagent"),
        to=tuple(Address(one) for one in to),
        subject=subject[:300],
        text=text,
        reply_to=() if reply_to is None else (reply_to,),
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


def domain_of(tx: Transaction, settings: FlowSettings) -> str:
    """The workspace's own domain below the default one, from which notices come."""
    slug = tx.value(select(workspaces.c.slug).where(workspaces.c.id == tx.workspace_id))
    return f"{slug}.{settings.default_domain}"


def may_tell(tx: Transaction) -> bool:
    """Whether the workspace's people have not been told too much within the hour."""
    # What several people are told of one mail is one notice.
    about = func.coalesce(outbound_mails.c.answers_delivery_id, outbound_mails.c.id)
    statement = (
        select(func.count(about.distinct()))
        .select_from(outbound_mails)
        .where(
            outbound_mails.c.purpose == "notice",
            outbound_mails.c.created_at > tx.now - timedelta(hours=1),
        )
    )
    return int(tx.value(statement)) < _MOST_AN_HOUR
