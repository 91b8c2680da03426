"""How does a person answer a mail that came in, from the agent's address?

The same by command, API, page and mail: frozen in its thread and queued, in one transaction with
the delivery's new state. The ledger names who answered.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import approvals, outbox, threads
from mailagent.flow import reply as replying
from mailagent.flow.ledger import note
from mailagent.flow.removal import in_words
from mailagent.flow.route import destination
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import load_mails
from mailagent.mail import Address, Mail
from mailagent.mime import threading as anchoring
from mailagent.outgoing import Outgoing, OutgoingAttachment, Reply
from mailagent.store.tables import deliveries, messages, workspaces
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["ANSWERABLE", "IN_WORK", "answer"]

IN_WORK = frozenset(
    {
        DeliveryState.ACCEPTED,
        DeliveryState.READ,
        DeliveryState.ROUTED,
        DeliveryState.THINKING,
    }
)
"""The agent has the mail in hand, or is about to."""
ANSWERABLE = frozenset(DeliveryState) - IN_WORK
"""A mail that the agent has in hand is not taken from it: both would answer."""


def answer(
    tx: Transaction,
    services: Services,
    delivery_id: str,
    text: str,
    *,
    author: str,
    attachments: tuple[OutgoingAttachment, ...] = (),
) -> str:
    """Answer a delivery in its thread, from the agent's address; returns the outbound mail's id.

    `author` is the person's or key's name in the ledger. It goes to the header From even when
    nothing proves it: a person has decided. Raises NotFound, Malformed for an empty text, Conflict
    when the agent has the mail in hand or it names nobody to answer.
    """
    if not text.strip():
        raise Malformed("text", "is empty: write the answer")
    row = _row(tx, delivery_id)
    if row.state not in ANSWERABLE:
        raise Conflict(f"{delivery_id} is in work ({row.state}): wait until it has ended")
    mails = load_mails(tx, [delivery_id])
    if not mails and (gone := in_words(row)):
        raise Conflict(f"{delivery_id} cannot be answered: its content was {gone}")
    if not mails:
        raise Conflict(f"{delivery_id} could not be read: there is nothing to answer")
    if not mails[0].content.from_:
        raise Conflict(f"{delivery_id} has no From: there is nobody to answer")
    approvals.withdraw(tx, row, f"answered by {author.removeprefix('person:')}")
    said = Reply(text, attachments=attachments)
    if row.place == "role":
        outgoing, envelope = _from_postmaster(tx, services, mails[0], said, author)
    else:
        outgoing, envelope = _from_agent(tx, services, row, mails[0], said, author)
    outbound_id = outbox.queue(tx, outgoing, envelope, expiry=services.settings.send_expiry)
    by = author.removeprefix("person:")
    for id_ in _answered_with(tx, row, f"answered by {by}"):
        note(tx, "decide", f"answered by {by}", actor=author, delivery_id=id_)
    return outbound_id


def _from_agent(
    tx: Transaction, services: Services, row: AnyRow, mail: Mail, said: Reply, author: str
) -> tuple[Outgoing, outbox.Envelope]:
    agent_id = row.agent_id or destination(tx, row)[1]
    if agent_id is None:
        raise Conflict(f"no agent has the address {row.recipient}: give it to one first")
    sender = replying.sender_of(tx, agent_id, written_to=row.recipient)
    thread_id = row.thread_id
    if thread_id is None:
        joined = threads.join(tx, services.secrets, mail, agent_id, authenticated=False)
        thread_id = joined.thread_id
        ours = {"thread_id": thread_id, "agent_id": agent_id}
        tx.execute(update(deliveries).where(deliveries.c.id == row.id).values(**ours))
        tx.execute(update(messages).where(messages.c.delivery_id == row.id).values(**ours))
    outgoing = replying.answer(
        tx,
        services,
        mail,
        sender,
        thread_id,
        said,
        to=mail.content.from_[0],
        automatic=False,
    )
    envelope = outbox.Envelope("person", author, agent_id, thread_id, answers_delivery_id=row.id)
    return outgoing, envelope


def _from_postmaster(
    tx: Transaction, services: Services, mail: Mail, said: Reply, author: str
) -> tuple[Outgoing, outbox.Envelope]:
    """Mail to `postmaster@` and `abuse@` has no agent and no thread: answered as postmaster."""
    slug = tx.value(select(workspaces.c.slug).where(workspaces.c.id == tx.workspace_id))
    domain = f"{slug}.{services.settings.default_domain}"
    in_reply_to, references = anchoring.references(mail.content)
    outgoing = Outgoing(
        message_id=f"<{new_id('rpl').removeprefix('rpl_')}@{domain}>",
        date=tx.now,
        from_=Address(f"postmaster@{domain}"),
        to=(mail.content.from_[0],),
        subject=anchoring.reply_subject(mail.content.subject),
        text=said.text,
        attachments=said.attachments,
        in_reply_to=in_reply_to,
        references=references,
    )
    return outgoing, outbox.Envelope("person", author, answers_delivery_id=mail.delivery_id)


def _answered_with(tx: Transaction, row: AnyRow, reason: str) -> Sequence[str]:
    """Mark the delivery, and what was handed over with it in one turn; returns their ids.

    Raises Conflict when it has another state by now.
    """
    with_it = (deliveries.c.id == row.id) & (deliveries.c.state == row.state)
    if row.turn_id is not None:
        of_turn = (deliveries.c.turn_id == row.turn_id) & (
            deliveries.c.state.in_(
                [DeliveryState.HANDED_TO_A_PERSON, DeliveryState.WAITING_FOR_APPROVAL]
            )
        )
        with_it = with_it | of_turn
    moved = tx.rows(
        update(deliveries)
        .where(with_it)
        .values(
            state=DeliveryState.ANSWERED,
            reason=reason[:500],
            held_until=None,
        )
        .returning(deliveries.c.id)
    )
    ids = [one.id for one in moved]
    if row.id not in ids:
        raise Conflict(f"{row.id} has just been taken by somebody else: look again")
    return ids


def _row(tx: Transaction, delivery_id: str) -> AnyRow:
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id}")
    return row
