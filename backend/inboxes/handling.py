"""What may a person do with a mail that came in: put it away, drive it again, answer it?

Every action leaves a ledger line with its actor: `person:<e-mail>`, `key:<prefix>` or `cli`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select, update

from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import outbox, threads
from mailagent.flow import reply as replying
from mailagent.flow.directory import normalised, without_tag
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import load_mails
from mailagent.mail import Address, Mail
from mailagent.mime import threading as anchoring
from mailagent.outgoing import Outgoing, Reply
from mailagent.store.tables import (
    addresses,
    agents,
    anchors,
    attachments,
    deliveries,
    messages,
    outbound_mails,
    participants,
    raw_messages,
    turns,
    workspaces,
)
from mailagent.store.tables import threads as thread_rows
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["ANSWERABLE", "REPLAYABLE", "answer", "archive", "replay"]

REPLAYABLE = frozenset(
    {
        DeliveryState.FAILED,
        DeliveryState.QUARANTINED,
        DeliveryState.HELD,
        DeliveryState.SILENT,
        DeliveryState.LOOPED,
    }
)
"""The ends of a mail that another reading can change."""

_IN_WORK = frozenset(
    {
        DeliveryState.ACCEPTED,
        DeliveryState.READ,
        DeliveryState.ROUTED,
        DeliveryState.THINKING,
    }
)
ANSWERABLE = frozenset(DeliveryState) - _IN_WORK
"""A mail that the agent has in hand is not taken from it: both would answer."""


def archive(tx: Transaction, delivery_id: str, *, actor: str, away: bool = True) -> None:
    """Put a delivery away, or (`away` False) back; its state is not touched. Raises NotFound."""
    row = _row(tx, delivery_id)
    if (row.archived_at is not None) is away:
        return
    tx.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(archived_at=tx.now if away else None)
    )
    what = "put away" if away else "taken back from the archive"
    note(tx, "archive", what, actor=actor, delivery_id=delivery_id)


# --- driving it again -------------------------------------------------------------------------


def replay(tx: Transaction, delivery_id: str, *, actor: str) -> None:
    """Read, route and think about a delivery as if it had just been accepted.

    Raises NotFound; Conflict when it has an answer, is in work, has ended in a way that another
    reading cannot change, or its octets are gone.
    """
    row = _row(tx, delivery_id)
    _may_be_replayed(tx, row)
    _forget_reading(tx, row)
    place, agent_id = _destination(tx, row)
    moved = tx.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id, deliveries.c.state == row.state)
        .values(
            state=DeliveryState.ACCEPTED,
            reason="",
            place=place,
            agent_id=agent_id,
            held_until=None,
            message_ref=None,
            thread_id=None,
            turn_id=None,
            archived_at=None,
            not_before=tx.now,
            claimed_by=None,
            lease_until=None,
            attempts=0,
        )
    )
    if moved.rowcount != 1:
        raise Conflict(f"{delivery_id} is being worked on: look again in a moment")
    note(
        tx,
        "replay",
        "driven again",
        f"it was {row.state}: {row.reason}" if row.reason else f"it was {row.state}",
        actor=actor,
        delivery_id=delivery_id,
    )
    tx.wake("read")


def _may_be_replayed(tx: Transaction, row: AnyRow) -> None:
    answered = tx.value(
        select(outbound_mails.c.message_id)
        .where(
            outbound_mails.c.answers_delivery_id == row.id,
            outbound_mails.c.purpose.in_(["reply", "person"]),
        )
        .order_by(outbound_mails.c.created_at)
        .limit(1)
    )
    if answered is not None:
        raise Conflict(f"{row.id} was answered already by {answered}: it would be answered twice")
    if row.state in _IN_WORK:
        raise Conflict(f"{row.id} is in work already ({row.state})")
    if row.state not in REPLAYABLE:
        can = ", ".join(sorted(REPLAYABLE))
        raise Conflict(f"{row.id} is {row.state}: only one that is {can} can be driven again")
    kept = select(raw_messages.c.id).where(
        raw_messages.c.id == row.raw_id, raw_messages.c.content.is_not(None)
    )
    if tx.value(kept) is None:
        raise Conflict(f"the octets of {row.id} are no longer kept")


def _forget_reading(tx: Transaction, row: AnyRow) -> None:
    """Remove what the earlier reading made, so that the next one finds the mail as new."""
    message = tx.row(
        select(messages.c.id, messages.c.message_id).where(messages.c.delivery_id == row.id)
    )
    if message is not None:
        tx.execute(delete(attachments).where(attachments.c.owner_id == message.id))
        tx.execute(delete(messages).where(messages.c.id == message.id))
    # A copy that was merged into this one would else be found as the mail that came before.
    tx.execute(
        update(deliveries)
        .where(deliveries.c.raw_id == row.raw_id, deliveries.c.state == DeliveryState.MERGED)
        .values(thread_id=None)
    )
    if row.thread_id is not None:
        _leave_thread(tx, row.thread_id, row.id, message.message_id if message else None)


def _leave_thread(
    tx: Transaction, thread_id: str, delivery_id: str, message_id: str | None
) -> None:
    """Let the mail's own id lead to its next thread; a thread that is empty then is removed."""
    if message_id is not None:
        tx.execute(
            delete(anchors).where(
                anchors.c.thread_id == thread_id, anchors.c.message_id == message_id
            )
        )
    others = select(func.count()).where(
        deliveries.c.thread_id == thread_id, deliveries.c.id != delivery_id
    )
    if tx.value(others.select_from(deliveries)):
        return
    for table in (turns, outbound_mails):
        used = select(func.count()).select_from(table).where(table.c.thread_id == thread_id)
        if tx.value(used):
            return
    for table in (participants, anchors):
        tx.execute(delete(table).where(table.c.thread_id == thread_id))
    tx.execute(delete(thread_rows).where(thread_rows.c.id == thread_id))


def _destination(tx: Transaction, row: AnyRow) -> tuple[str, str | None]:
    """Where the envelope recipient leads now: an earlier routing has written over agent_id."""
    if row.place not in ("agent", "catch_all"):
        return row.place, row.agent_id
    local, domain = normalised(row.recipient)
    agent_id = tx.value(
        select(addresses.c.agent_id)
        .join(agents, agents.c.id == addresses.c.agent_id)
        .where(
            addresses.c.local_part == without_tag(local),
            addresses.c.domain == domain,
            agents.c.removed_at.is_(None),
        )
    )
    if agent_id is not None:
        return "agent", agent_id
    settings = tx.value(select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id))
    return "catch_all", (settings or {}).get("catch_all_agent_id")


# --- answering it -----------------------------------------------------------------------------


def answer(tx: Transaction, services: Services, delivery_id: str, text: str, *, author: str) -> str:
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
    if not mails:
        raise Conflict(f"{delivery_id} could not be read: there is nothing to answer")
    if not mails[0].content.from_:
        raise Conflict(f"{delivery_id} has no From: there is nobody to answer")
    if row.place == "role":
        outgoing, envelope = _from_postmaster(tx, services, mails[0], text, author)
    else:
        outgoing, envelope = _from_agent(tx, services, row, mails[0], text, author)
    outbound_id = outbox.queue(tx, outgoing, envelope, expiry=services.settings.send_expiry)
    by = author.removeprefix("person:")
    for id_ in _answered_with(tx, row, f"answered by {by}"):
        note(tx, "decide", f"answered by {by}", actor=author, delivery_id=id_)
    return outbound_id


def _from_agent(
    tx: Transaction, services: Services, row: AnyRow, mail: Mail, text: str, author: str
) -> tuple[Outgoing, outbox.Envelope]:
    agent_id = row.agent_id or _destination(tx, row)[1]
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
        Reply(text),
        to=mail.content.from_[0],
        automatic=False,
    )
    envelope = outbox.Envelope("person", author, agent_id, thread_id, answers_delivery_id=row.id)
    return outgoing, envelope


def _from_postmaster(
    tx: Transaction, services: Services, mail: Mail, text: str, author: str
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
        text=text,
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
            deliveries.c.state == DeliveryState.HANDED_TO_A_PERSON
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
