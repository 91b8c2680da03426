"""What may an agent's own program write by itself, through the API and not as its processor?

No more than its processor may: an answer is concluded as the end of a turn is, by proof, policy,
guard and limits, and is sent, waits for a person's yes, or is left to a person. A new mail has no
writer whose standing could give it anything; what it has that nobody was given is not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update

from mailagent.agents.trust import Action, Do, Standing, decide
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import approvals, drafts, limits, policies
from mailagent.flow.ledger import note
from mailagent.flow.outcome import Closing, conclude
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.think import SITUATION, what_stops
from mailagent.flow.values import load_mails
from mailagent.mail import Kind
from mailagent.outgoing import Outgoing, Reply
from mailagent.store.tables import agents, deliveries, outbound_mails, turns
from mailagent.store.tables import approvals as waiting
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["OwnAnswer", "answer", "beyond"]

_OPEN = frozenset(
    {
        DeliveryState.SILENT,
        DeliveryState.HELD,
        DeliveryState.HANDED_TO_A_PERSON,
        DeliveryState.WAITING_FOR_APPROVAL,
    }
)


_PROCESSOR = "api"
"""What the turn of such an answer says of who thought it."""


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
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None or row.agent_id != agent_id:
        raise NotFound(f"the agent has no delivery {delivery_id[:80]}")
    mails = load_mails(tx, _together(tx, row))
    if row.state not in _OPEN or row.thread_id is None or not mails:
        raise Conflict(f"{delivery_id} is {row.state}: the agent cannot answer it now")
    mail = mails[-1]
    if mail.kind is not Kind.PERSON:
        raise Conflict(f"{delivery_id} is {mail.kind} mail: no machine answers it")
    if approvals.last_message(tx, row.thread_id) != delivery_id:
        raise Conflict(f"{delivery_id}: a newer mail has come in its thread, answer that one")
    # Two that count at the same time would both take the last answer of a limit.
    tx.lock(f"turns {tx.workspace_id}")
    sender = mail.content.from_[0].address.lower() if mail.content.from_ else ""
    _demand_room(tx, services, row, sender)
    if row.state == DeliveryState.WAITING_FOR_APPROVAL:
        approvals.withdraw(tx, row, f"answered anew by {author}")
    turn_id = _begun(tx, row, sender)
    turn = Closing(turn_id, row.thread_id, agent_id, tuple(mails), _follows(tx, row))
    state, reason = conclude(tx, services, turn, Reply(text))
    if state is DeliveryState.HELD:
        raise Conflict(f"{delivery_id}: {reason}")
    written = {"state": state, "reason": reason[:500], "held_until": None, "turn_id": turn_id}
    ids = [one.delivery_id for one in mails]
    of_them = deliveries.c.id.in_(ids), deliveries.c.state == row.state
    moved = tx.execute(update(deliveries).where(*of_them).values(**written))
    if moved.rowcount != len(ids):
        raise Conflict(f"{delivery_id} has just been taken by somebody else: look again")
    ended = {"state": "done", "outcome": f"reply: {reason}"[:500], "finished_at": tx.now}
    tx.execute(update(turns).where(turns.c.id == turn_id).values(**ended))
    for id_ in ids:
        note(tx, "decide", str(state), reason, actor=author, delivery_id=id_)
    return OwnAnswer(state, reason, *_made(tx, turn_id))


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


def _together(tx: Transaction, row: AnyRow) -> Sequence[str]:
    """The mail, and those that were handed over, or wait for a yes, with it in one turn."""
    if row.turn_id is None:
        return [str(row.id)]
    of_turn = select(deliveries.c.id).where(
        deliveries.c.turn_id == row.turn_id, deliveries.c.state == row.state
    )
    return [one.id for one in tx.rows(of_turn)]


def _demand_room(tx: Transaction, services: Services, row: AnyRow, sender: str) -> None:
    """Pass while a turn might begin. Raises Conflict."""
    thread = tx.row(SITUATION, {"thread": row.thread_id})
    assert thread is not None
    set_ = limits.of_agent(tx, row.agent_id)
    stopped = what_stops(tx, services.settings, set_, thread, sender)
    if stopped is not None:
        until = f", until {stopped.until:%Y-%m-%d %H:%M} UTC" if stopped.until else ""
        raise Conflict(f"{stopped.reason}{until}")
    asked = {"agent_id": row.agent_id, "thread_id": row.thread_id, "sender": sender}
    if limits.promised(tx, set_, **asked):
        raise Conflict("turns that run may use up the day's answers: try again when they have")


def _begun(tx: Transaction, row: AnyRow, sender: str) -> str:
    """A turn that was thought elsewhere: it counts, and is told of, as any other."""
    turn_id = new_id("trn")
    tx.insert(
        turns,
        {
            "id": turn_id,
            "thread_id": row.thread_id,
            "agent_id": row.agent_id,
            "sender": sender,
            "state": "running",
            "processor": _PROCESSOR,
            "started_at": tx.now,
        },
    )
    return turn_id


def _follows(tx: Transaction, row: AnyRow) -> bool:
    """Whether the thread was there before this mail."""
    earlier = select(deliveries.c.id).where(
        deliveries.c.thread_id == row.thread_id, deliveries.c.received_at < row.received_at
    )
    return tx.value(earlier.limit(1)) is not None


def _made(tx: Transaction, turn_id: str) -> tuple[str | None, str | None]:
    """The outbound mail, or the approval, that a turn made."""
    sent = select(outbound_mails.c.id).where(
        outbound_mails.c.turn_id == turn_id, outbound_mails.c.purpose == "reply"
    )
    asked = select(waiting.c.id).where(waiting.c.turn_id == turn_id, waiting.c.kind == "draft")
    return tx.value(sent), tx.value(asked)
