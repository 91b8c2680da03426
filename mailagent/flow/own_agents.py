"""What do people hear when one agent of ours writes to another?

The other does not answer: what an agent sends is marked as automatic (RFC 3834). That ends every
such conversation, and nobody would know that somebody waits in vain. So people are told, once for
the two: further mail of the same agent to the same agent is silent.
"""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from mailagent.flow import people
from mailagent.flow.directory import Place
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.standing import mailbox_of
from mailagent.mail import Mail
from mailagent.store.tables import messages
from mailagent.store.transaction import Transaction

__all__ = ["tell"]


def tell(tx: Transaction, services: Services, mail: Mail, agent_id: str) -> None:
    """Tell people of a mail that its agent does not answer, if an agent of ours sent it.

    In the transaction of reading, before the message is written. A notice is no agent's: what
    `postmaster` sends to an escalation address that is an agent must not make another one.
    """
    # Only local delivery has our own word for the sender; any other From may be anybody's.
    if mail.authentication.judged_by != "local" or len(mail.content.from_) != 1:
        return
    author = mail.content.from_[0].address
    place = services.directory.locate(author)
    if not isinstance(place, Place) or place.kind != "agent":
        return
    if tx.row(_BEFORE, {"agent": agent_id, "author": author.lower()}) is not None:
        return
    ours = mailbox_of(mail)
    told = people.notify(
        tx,
        services.settings,
        agent_id,
        f"Two agents write to each other: {author} and {ours}",
        f"The agent {author} has written to the agent {ours}:\n"
        f"{mail.content.subject or '(no subject)'}\n\n"
        "Agents do not answer each other's mail, or two of them would never end. Look whether\n"
        "somebody waits for an answer. You are told this once for the two.\n"
        f"  {services.settings.ui_url}/deliveries/{mail.delivery_id}\n"
        f"  mailagent reply {mail.delivery_id}\n",
        delivery_id=mail.delivery_id,
    )
    what = f"told {', '.join(told)}" if told else "nobody was told"
    note(tx, "route", what, "two agents write to each other", delivery_id=mail.delivery_id)


_BEFORE = (
    select(messages.c.id)
    .where(
        messages.c.agent_id == bindparam("agent"),
        func.lower(messages.c.from_address) == bindparam("author"),
        messages.c.kind != "person",
    )
    .limit(1)
)
