"""Which rows does a rehearsal stand on, before the agent thinks and after it?

They are made anew in each transaction, by the flow's own functions, and undone with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select

from mailagent.agents import Profile, Summary
from mailagent.errors import Conflict, NotFound
from mailagent.flow import given, read, threads
from mailagent.flow import reply as replying
from mailagent.flow.decide import forged, proven
from mailagent.flow.outcome import Closing, Outcome, conclude
from mailagent.flow.rehearsal.values import Brought, Prepare, Rehearsed, Stored
from mailagent.flow.route import destination, route
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.think import SITUATION
from mailagent.flow.tools import Case, open_case
from mailagent.flow.values import load_mails
from mailagent.mail import Mail, Thread
from mailagent.outgoing import Assessment, Handoff, Reply, Silence
from mailagent.store.tables import approvals, deliveries, outbound_mails, raw_messages
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["Opening", "Stage", "told"]


@dataclass(frozen=True, slots=True)
class Opening:
    """A turn that may be thought."""

    agent_id: str
    route_why: str
    processor: str
    profile: Profile
    mails: tuple[Mail, ...]
    thread: Thread
    case: Case
    summary: Summary | None


@dataclass(frozen=True)
class Stage:
    """The rows that a rehearsal needs, made anew in each of its transactions."""

    services: Services
    workspace_id: str
    agent_id: str
    subject: Stored | Brought
    prepare: Prepare
    turn_id: str = field(default_factory=lambda: new_id("trn"))
    delivery_id: str = field(default_factory=lambda: new_id("dlv"))

    def open(self, tx: Transaction) -> Opening | Rehearsed:
        """Change what is to be changed, and go as far as the flow goes before an agent thinks."""
        self.prepare(tx)
        row, mails = self._mails(tx)
        last = mails[-1]
        if disowned := forged(last):
            return Rehearsed(DeliveryState.QUARANTINED, disowned, None, "")
        place, agent_id = destination(tx, row)
        decision = route(tx, last, place=place, agent_id=agent_id)
        if decision.action != "agent" or decision.agent_id is None:
            rejected = decision.action == "reject"
            state = DeliveryState.REJECTED if rejected else DeliveryState.HELD
            return Rehearsed(state, decision.why, None, decision.why)
        if decision.agent_id != self.agent_id:
            why = "another agent gets it"
            return Rehearsed(DeliveryState.ROUTED, why, decision.agent_id, decision.why)
        return self._with_agent(tx, row, mails, decision.why)

    def _with_agent(
        self, tx: Transaction, row: AnyRow, mails: tuple[Mail, ...], route_why: str
    ) -> Opening | Rehearsed:
        services, last = self.services, mails[-1]
        joined = self._thread(tx, row, last)
        if isinstance(self.subject, Brought):
            read.write_message(tx, last, {"agent_id": self.agent_id, "thread_id": joined.thread_id})
        order = read.next_order(tx, services, last, self.agent_id, joined)
        if order.state is not DeliveryState.ROUTED:
            return Rehearsed(order.state, order.reason, self.agent_id, route_why)
        thread = tx.row(SITUATION, {"thread": joined.thread_id})
        assert thread is not None
        sender = replying.sender_of(tx, self.agent_id, written_to=last.recipient)
        history = _before(tx, thread, mails)
        case = open_case(
            tx,
            thread,
            turn_id=self.turn_id,
            thread=thread,
            mails=mails,
            followed=bool(history.entries),
        )
        summary = given.summary_of(tx, joined.thread_id)
        known = summary is not None and summary.until < mails[0].received_at
        return Opening(
            agent_id=self.agent_id,
            route_why=route_why,
            processor=thread.processor or services.settings.default_processor,
            profile=given.profile(tx, services, thread, sender.mailbox.address),
            mails=mails,
            thread=history,
            case=case,
            summary=summary if known else None,
        )

    def close(self, tx: Transaction, outcome: Outcome) -> Rehearsed:
        """Do all that follows from an outcome, and tell what it was."""
        opening = self.open(tx)
        if isinstance(opening, Rehearsed):
            return opening
        closing = Closing(
            self.turn_id,
            opening.case.thread_id,
            self.agent_id,
            opening.mails,
            bool(opening.thread.entries),
        )
        state, reason = conclude(tx, self.services, closing, outcome)
        if state is DeliveryState.WAITING_FOR_APPROVAL:
            reason = reason.partition(": ")[2]  # without the id of what is undone
        known = told(opening, state, reason, outcome.assessment)
        outgoing = self._frozen(tx)
        if outgoing is None:
            return replace(known, text=_words(outcome))
        to = (*outgoing["to"], *outgoing["cc"], *outgoing["bcc"])
        return replace(known, to=tuple(one["address"] for one in to), text=outgoing["text"])

    def _frozen(self, tx: Transaction) -> Mapping[str, Any] | None:
        """The mail that would leave, or wait for a person's yes."""
        for table in (outbound_mails, approvals):
            found: Mapping[str, Any] | None = tx.value(
                select(table.c.outgoing).where(
                    table.c.turn_id == self.turn_id, table.c.outgoing.is_not(None)
                )
            )
            if found is not None:
                return found
        return None

    # --- rows ---

    def _mails(self, tx: Transaction) -> tuple[AnyRow, tuple[Mail, ...]]:
        match self.subject:
            case Stored(delivery_id):
                return _stored(tx, delivery_id)
            case Brought(raw, mail):
                made = replace(mail, delivery_id=self.delivery_id, workspace_id=self.workspace_id)
                return _accepted(tx, raw, made), (made,)

    def _thread(self, tx: Transaction, row: AnyRow, mail: Mail) -> threads.Joined:
        """The thread that the mail is in, or would join."""
        if row.thread_id is not None and row.agent_id == self.agent_id:
            earlier = select(deliveries.c.id).where(
                deliveries.c.thread_id == row.thread_id,
                deliveries.c.received_at < mail.received_at,
            )
            new = tx.value(earlier.limit(1)) is None
            return threads.Joined(row.thread_id, new=new, why="the thread it is in")
        authenticated = proven(mail) is not None
        return threads.join(
            tx, self.services.secrets, mail, self.agent_id, authenticated=authenticated
        )


def _stored(tx: Transaction, delivery_id: str) -> tuple[AnyRow, tuple[Mail, ...]]:
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id[:80]}")
    if row.content_removed_at is not None:
        raise Conflict(f"{delivery_id} cannot be tried: its content was removed")
    ids = [delivery_id]
    if row.turn_id is not None:
        of_turn = select(deliveries.c.id).where(
            deliveries.c.turn_id == row.turn_id, deliveries.c.content_removed_at.is_(None)
        )
        ids = [one.id for one in tx.rows(of_turn)]
    mails = tuple(load_mails(tx, ids))
    if not mails:
        raise Conflict(f"{delivery_id} is {row.state}: it has not been read, so it cannot be tried")
    return row, mails


def _accepted(tx: Transaction, raw: bytes, mail: Mail) -> AnyRow:
    raw_id = new_id("raw")
    tx.insert(
        raw_messages,
        {
            "id": raw_id,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "size_bytes": len(raw),
            "received_at": mail.received_at,
            "content": raw,
        },
    )
    tx.insert(
        deliveries,
        {
            "id": mail.delivery_id,
            "raw_id": raw_id,
            "source": "trial",
            "source_id": mail.delivery_id,
            "recipient": mail.recipient,
            "mail_from": mail.mail_from,
            "origin": {"received_at": mail.received_at.isoformat()},
            "place": "agent",
            "received_at": mail.received_at,
            "state": DeliveryState.READ,
            "not_before": tx.now,
        },
    )
    row = tx.row(select(deliveries).where(deliveries.c.id == mail.delivery_id))
    assert row is not None
    return row


def _before(tx: Transaction, thread: AnyRow, mails: tuple[Mail, ...]) -> Thread:
    """The conversation as it was when the mails came: later answers are not given away."""
    ids = [mail.delivery_id for mail in mails]
    history = threads.history(tx, thread.id, thread.subject, without=ids)
    earliest = mails[0].received_at
    return replace(history, entries=tuple(e for e in history.entries if e.at < earliest))


def told(
    opening: Opening, state: DeliveryState, reason: str, assessment: Assessment | None = None
) -> Rehearsed:
    """What would become of a mail that its agent was given."""
    return Rehearsed(
        state,
        reason,
        opening.agent_id,
        opening.route_why,
        standing=opening.case.standing.word,
        assessment=assessment,
    )


def _words(outcome: Outcome) -> str:
    match outcome:
        case Reply():
            return outcome.text
        case Handoff():
            return outcome.notice or ""
        case Silence():
            return ""
