"""What may an agent's own program write by itself, through the API and not as its processor?

No more than its processor may: an answer is concluded as the end of a turn is, by proof, policy,
guard and limits, and is sent, waits for a person's yes, or is left to a person. A new mail has no
writer whose standing could give it anything; what it has that nobody was given is not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update

from mailagent.agents.trust import Action, Do, Standing, decide
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import approvals, drafts, limits, policies, threads
from mailagent.flow.ledger import note
from mailagent.flow.outcome import Closing, conclude
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import load_mails
from mailagent.mail import Kind, Mail
from mailagent.outgoing import Outgoing, Reply
from mailagent.store.tables import agents, deliveries, outbound_mails
from mailagent.store.tables import approvals as waiting
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["OwnAnswer", "answer", "beyond"]

_OPEN = frozenset(
    {
        DeliveryState.SILENT,
        DeliveryState.HELD,
        DeliveryState.HANDED_TO_A_PERSON,
        DeliveryState.WAITING_FOR_APPROVAL,
    }
)


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """What became of an answer, and so of its mail."""

    state: DeliveryState
    reason: str
    outbound_id: str | None
    approval_id: str | None


def answer(
    tx: Transaction, services: Services, delivery_id: str, text: str, *, agent_id: str, author: str
) -> OwnAnswer:
    """Answer a mail of the agent as its processor would; `author` is the key's name in the ledger.

    Raises NotFound for a mail that is not this agent's; Malformed for an empty text; Conflict when
    the mail is in work or has ended otherwise, no machine may answer it, or a limit is reached.
    """
    if not text.strip():
        raise Malformed("text", "is empty: write the answer")
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id).with_for_update())
    if row is None or row.agent_id != agent_id:
        raise NotFound(f"the agent has no delivery {delivery_id[:80]}")
    mails = load_mails(tx, [delivery_id])
    if row.state not in _OPEN or row.thread_id is None or not mails:
        raise Conflict(f"{delivery_id} is {row.state}: the agent cannot answer it now")
    mail = mails[0]
    if mail.kind is not Kind.PERSON:
        raise Conflict(f"{delivery_id} is {mail.kind} mail: no machine answers it")
    if approvals.last_message(tx, row.thread_id) != delivery_id:
        raise Conflict(f"{delivery_id}: a newer mail has come in its thread, answer that one")
    # Two that count at the same time would both take the last answer of a limit.
    tx.lock(f"turns {tx.workspace_id}")
    _demand_room(tx, services, row, mail)
    if row.state == DeliveryState.WAITING_FOR_APPROVAL:
        approvals.withdraw(tx, row, f"answered anew by {author}")
    turn = Closing(None, row.thread_id, agent_id, (mail,), _follows(tx, row))
    state, reason = conclude(tx, services, turn, Reply(text))
    if state is DeliveryState.HELD:
        raise Conflict(f"{delivery_id}: {reason}")
    written = {"state": state, "reason": reason[:500], "held_until": None, "turn_id": None}
    tx.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**written))
    note(tx, "decide", str(state), reason, actor=author, delivery_id=delivery_id)
    return OwnAnswer(state, reason, *_made(tx, delivery_id, state))


def beyond(
    tx: Transaction, services: Services, agent_id: str, thread_id: str, draft: Outgoing
) -> Sequence[str]:
    """What a new mail has that people must agree to; empty for one that the agent may send.

    Nobody wrote to us, so what a stranger would be given counts; whom a list allows for `send`
    needs nobody's yes.
    """
    handle = tx.value(select(agents.c.handle).where(agents.c.id == agent_id))
    policy = policies.of_agent(tx, agent_id, handle)
    amount = limits.of_agent(tx, agent_id).amount
    found = drafts.findings(tx, services, draft, thread_id, sources=(), amount=amount)
    told = []
    for one in found:
        if one.action is None:
            told.append(one.words)
            continue
        verdict = decide(policy, Standing.STRANGER, Action(one.action))
        if not isinstance(verdict, Do):
            told.append(f"{one.words} ({verdict.rule})")
    return told


def _demand_room(tx: Transaction, services: Services, row: AnyRow, mail: Mail) -> None:
    """Pass while the limits of the day and of the hour have room. Raises Conflict."""
    most = services.settings.replies_per_thread_an_hour
    if threads.replies_within(tx, row.thread_id, tx.now - timedelta(hours=1)) >= most:
        raise Conflict(f"{most} answers in this thread within an hour are the most")
    handle = tx.value(select(agents.c.handle).where(agents.c.id == row.agent_id))
    spent = limits.exhausted(
        tx,
        limits.of_agent(tx, row.agent_id),
        agent_id=row.agent_id,
        handle=handle,
        thread_id=row.thread_id,
        sender=mail.content.from_[0].address.lower() if mail.content.from_ else "",
    )
    if spent is not None:
        raise Conflict(f"{spent.reason}, until {spent.until:%Y-%m-%d %H:%M} UTC")


def _follows(tx: Transaction, row: AnyRow) -> bool:
    """Whether the thread was there before this mail."""
    earlier = select(deliveries.c.id).where(
        deliveries.c.thread_id == row.thread_id, deliveries.c.received_at < row.received_at
    )
    return tx.value(earlier.limit(1)) is not None


def _made(tx: Transaction, delivery_id: str, state: DeliveryState) -> tuple[str | None, str | None]:
    """The outbound mail, or the approval, that this answer made."""
    if state is DeliveryState.ANSWERED:
        sent = select(outbound_mails.c.id).where(
            outbound_mails.c.answers_delivery_id == delivery_id,
            outbound_mails.c.purpose == "reply",
        )
        return tx.value(sent.order_by(outbound_mails.c.created_at.desc()).limit(1)), None
    if state is DeliveryState.WAITING_FOR_APPROVAL:
        asked = select(waiting.c.id).where(
            waiting.c.delivery_id == delivery_id,
            waiting.c.kind == "draft",
            waiting.c.state == "waiting",
        )
        return None, tx.value(asked)
    return None, None
