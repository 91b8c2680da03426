"""Steps 5 and 6 of a turn: what follows from what the agent said?

Who may be answered is proven, what is said is held against policy and limits, and only then it is
frozen: to be sent, to wait for a person's yes, or to be left to a person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from mailagent.agents.limits import Limits, due_at
from mailagent.errors import Malformed
from mailagent.flow import (
    approval_notices,
    approvals,
    drafts,
    held_mail,
    outbox,
    people,
    policies,
    threads,
)
from mailagent.flow import reply as replying
from mailagent.flow.decide import (
    AskFirst,
    AskPerson,
    Hold,
    LeaveToPerson,
    MayAnswer,
    MaySend,
    addressee,
    gate,
)
from mailagent.flow.ledger import note
from mailagent.flow.limits import merged_of
from mailagent.flow.services import Services
from mailagent.flow.standing import foresee_judging, foresee_writers, judge_thread
from mailagent.flow.states import DeliveryState
from mailagent.mail import Address, Mail
from mailagent.outgoing import Handoff, Outgoing, Reply, Silence
from mailagent.store.tables import deliveries
from mailagent.store.transaction import Transaction

__all__ = ["Closing", "Outcome", "conclude"]

Outcome = Reply | Silence | Handoff
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Closing:
    """The turn that ends."""

    turn_id: str
    thread_id: str
    agent_id: str
    mails: tuple[Mail, ...]
    answers: bool
    """Whether its thread was there before these mails."""

    @property
    def last(self) -> Mail:
        """The mail that is answered."""
        return self.mails[-1]


def conclude(
    tx: Transaction, services: Services, turn: Closing, outcome: Outcome
) -> tuple[DeliveryState, str]:
    """Do what the agent decided, as far as it may; the state of the turn's mails, and why."""
    match outcome:
        case Reply():
            return _reply(tx, services, turn, outcome)
        case Silence(why, wake_at) if wake_at is not None:
            return _wait(tx, turn, why, wake_at)
        case Silence(why):
            return DeliveryState.SILENT, f"the agent decided: {why}"
        case Handoff(why, notice):
            if notice:
                _tell_writer(tx, services, turn, notice)
            people.hand_over(tx, services, turn.last, turn.agent_id, why)
            return DeliveryState.HANDED_TO_A_PERSON, why


def _wait(tx: Transaction, turn: Closing, why: str, wake_at: datetime) -> tuple[DeliveryState, str]:
    """Hold the mails until the agent wants to look again: then they are a turn anew."""
    asked = wake_at if wake_at.tzinfo is not None else wake_at.replace(tzinfo=UTC)
    until = min(max(asked, tx.now + _SHORTEST_WAIT), tx.now + _LONGEST_WAIT)
    mine = deliveries.c.turn_id == turn.turn_id
    tx.execute(update(deliveries).where(mine).values(held_until=until))
    return DeliveryState.HELD, f"the agent waits until {until:%Y-%m-%d %H:%M} UTC: {why}"


def _reply(
    tx: Transaction, services: Services, turn: Closing, reply: Reply
) -> tuple[DeliveryState, str]:
    because: tuple[str, ...] = ()
    match addressee(turn.last):
        case Hold(reason):
            if not held_mail.let_in(tx, turn.last.delivery_id):
                return DeliveryState.HELD, reason
            to, why = turn.last.content.from_[0], "a person let the mail in"
            because = (reason,)
        case AskPerson(reason):
            return _hand_over(tx, services, turn, reason)
        case MayAnswer(proven, why):
            to = proven
    replying.foresee_sender(tx, turn.agent_id)
    replying.foresee_address(tx, turn.thread_id)
    foresee_judging(tx, turn.thread_id, turn.mails[0], answers=turn.answers)
    foresee_writers(tx, turn.thread_id)
    policies.foresee(tx, turn.agent_id)
    drafts.foresee(tx, turn.thread_id)
    sender, limits = _sender(tx, turn)
    try:
        draft = _frozen(tx, services, turn, reply, to, sender, limits)
        match _gated(tx, services, turn, reply, draft, sender, limits, because):
            case LeaveToPerson(reason):
                return _hand_over(tx, services, turn, reason)
            case AskFirst(reasons, only_person):
                return _ask(tx, services, turn, reply, draft, limits, reasons, only_person)
            case MaySend():
                _queue(tx, services, turn, draft, sender, limits)
                return DeliveryState.ANSWERED, why
    except Malformed as error:
        return _hand_over(tx, services, turn, f"the answer cannot be sent: {error}")


def _sender(tx: Transaction, turn: Closing) -> tuple[replying.Sender, Limits]:
    """From which address the turn's mail is answered, and the limits of its agent."""
    sender = replying.sender_of(tx, turn.agent_id, written_to=turn.last.recipient)
    agent = sender.agent
    return sender, merged_of(agent.workspace_settings or {}, agent.settings or {})


def _frozen(
    tx: Transaction,
    services: Services,
    turn: Closing,
    reply: Reply,
    to: Address,
    sender: replying.Sender,
    limits: Limits,
) -> Outgoing:
    if limits.signature:
        signed = f"{reply.text.rstrip()}\n\n-- \n{limits.signature.strip()}\n"
        # HTML would be shown without the signature, so the text goes alone.
        reply = replace(reply, text=signed, html=None)
    common = (tx, services, turn.last, sender, turn.thread_id, reply)
    if reply.to:
        return replying.forward(*common, automatic=True)
    return replying.answer(*common, to=to, automatic=True)


def _gated(
    tx: Transaction,
    services: Services,
    turn: Closing,
    reply: Reply,
    draft: Outgoing,
    sender: replying.Sender,
    limits: Limits,
    because: tuple[str, ...],
) -> MaySend | AskFirst | LeaveToPerson:
    judged = judge_thread(tx, turn.thread_id, turn.mails, answers=turn.answers)
    found = gate(
        reply,
        drafts.findings(
            tx, services, draft, turn.thread_id, sources=reply.sources, amount=limits.amount
        ),
        policy=policies.of_agent(tx, turn.agent_id, sender.agent.handle),
        standing=judged.standing,
        limits=limits,
        because=because,
    )
    match found:
        case MaySend(rules):
            what, why = "may be sent", rules
        case AskFirst(reasons):
            what, why = "needs a person's yes", "; ".join(reasons)
        case LeaveToPerson(reason):
            what, why = "is left to a person", reason
    for_whom = f"the answer {what}, for standing {judged.standing.word}"
    note(tx, "decide", for_whom, f"{judged.why}; {why}", delivery_id=turn.last.delivery_id)
    return found


def _ask(
    tx: Transaction,
    services: Services,
    turn: Closing,
    reply: Reply,
    draft: Outgoing,
    limits: Limits,
    reasons: tuple[str, ...],
    only_person: bool,
) -> tuple[DeliveryState, str]:
    if threads.has_waiting(tx, turn.thread_id):
        # Nobody should read a draft that the thread has left behind already.
        return DeliveryState.ROUTED, "a newer mail came: it joins the next turn"
    row = approvals.ask(
        tx,
        draft,
        turn.last,
        agent_id=turn.agent_id,
        thread_id=turn.thread_id,
        turn_id=turn.turn_id,
        reasons=reasons,
        assessment=reply.assessment,
        limits=limits,
        only_person=only_person,
    )
    approval_notices.tell(tx, services, row, turn.last, limits)
    return DeliveryState.WAITING_FOR_APPROVAL, f"{row.id}: {'; '.join(reasons)}"


def _queue(
    tx: Transaction,
    services: Services,
    turn: Closing,
    draft: Outgoing,
    sender: replying.Sender,
    limits: Limits,
) -> None:
    envelope = outbox.Envelope(
        "reply",
        f"agent:{sender.agent.handle}",
        turn.agent_id,
        turn.thread_id,
        turn.turn_id,
        turn.last.delivery_id,
    )
    expiry = services.settings.send_expiry
    outbox.queue(tx, draft, envelope, expiry=expiry, not_before=due_at(limits, tx.now))


def _tell_writer(tx: Transaction, services: Services, turn: Closing, notice: str) -> None:
    """Tell the writer that a person will answer, if that may go out without one."""
    match addressee(turn.last):
        case MayAnswer(to, _):
            (sender, limits), reply = _sender(tx, turn), Reply(notice)
            try:
                draft = _frozen(tx, services, turn, reply, to, sender, limits)
                match _gated(tx, services, turn, reply, draft, sender, limits, ()):
                    case MaySend():
                        _queue(tx, services, turn, draft, sender, limits)
                    case AskFirst() | LeaveToPerson():
                        pass
            except Malformed as error:
                why = str(error)
                note(tx, "reply", "the writer was not told", why,
                     delivery_id=turn.last.delivery_id)  # fmt: skip
        case Hold() | AskPerson():
            pass


def _hand_over(
    tx: Transaction, services: Services, turn: Closing, reason: str
) -> tuple[DeliveryState, str]:
    people.hand_over(tx, services, turn.last, turn.agent_id, reason)
    return DeliveryState.HANDED_TO_A_PERSON, reason
