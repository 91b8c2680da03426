"""What would another prompt, model or rule have made of the mail that came, and what became of it?

The mails of a turn are tried together, as they were thought about together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from difflib import SequenceMatcher
from itertools import groupby

from sqlalchemy import or_, select

from backend.agents.agent_file import Decision
from backend.trying.run import Bounds, Tried, try_all
from backend.trying.words import decision_of, decision_of_state
from mailagent.flow.rehearsal import Prepare, Rehearsed, Stored
from mailagent.flow.services import Services
from mailagent.flow.states import FINAL
from mailagent.mail import Kind
from mailagent.store.tables import deliveries, messages, outbound_mails, turns
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "MOST",
    "Compared",
    "Comparison",
    "Past",
    "answer_of",
    "compare",
    "compared",
    "past",
    "past_of",
]

MOST = 200
"""Mails that are looked at when nobody says how many."""
_SAME = 0.999


@dataclass(frozen=True, slots=True)
class Past:
    """A mail that came in, and what became of it."""

    delivery_id: str
    received_at: datetime
    from_address: str
    subject: str
    decision: Decision | None
    text: str
    """The agent's answer; empty when it gave none."""
    by_person: str
    """What a person answered, if one did."""
    cost_usd: Decimal | None
    """Of its turn; None when it is not known, or there was none."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A mail as it was dealt with, and as it would be."""

    was: Past
    now: Rehearsed | None
    skipped: str = ""

    @property
    def decision(self) -> Decision | None:
        """What would become of it."""
        return decision_of(self.now) if self.now is not None else None

    @property
    def difference(self) -> str:
        """`same`, `words` (the same decision in other words), `decision`, or `not tried`."""
        if self.now is None:
            return "not tried"
        if self.decision != self.was.decision:
            return "decision"
        if self.was.by_person and not self.was.text:
            return "same"
        return "same" if self.likeness >= _SAME else "words"

    @property
    def likeness(self) -> float:
        """How much of both answers is the same, 0 to 1."""
        now = self.now.text if self.now is not None else ""
        return SequenceMatcher(None, self.was.text.split(), now.split(), autojunk=False).ratio()


@dataclass(frozen=True, slots=True)
class Comparison:
    """All mails, and what it took."""

    agent: str
    candidate: str
    since: datetime
    items: tuple[Compared, ...]
    took: timedelta

    def count(self, difference: str) -> int:
        """How many mails differ in this way."""
        return sum(one.difference == difference for one in self.items)

    @property
    def cost_was(self) -> Decimal | None:
        """What the turns of these mails cost; None when that is not known of all."""
        return _sum([one.was.cost_usd for one in self.items if one.now is not None])

    @property
    def cost_now(self) -> Decimal | None:
        """What trying them cost."""
        return _sum([one.now.cost_usd for one in self.items if one.now is not None])


def _sum(costs: Sequence[Decimal | None]) -> Decimal | None:
    return None if None in costs else sum((one for one in costs if one is not None), Decimal(0))


async def compare(
    services: Services,
    workspace_id: str,
    agent_id: str,
    mails: Sequence[Past],
    *,
    prepare: Prepare,
    bounds: Bounds | None = None,
) -> list[Compared]:
    """Try mails of the past, in their order."""
    subjects = [Stored(one.delivery_id) for one in mails]
    tried: Sequence[Tried] = await try_all(
        services, workspace_id, agent_id, subjects, prepare=prepare, bounds=bounds
    )
    return compared(mails, tried)


def compared(mails: Sequence[Past], tried: Sequence[Tried]) -> list[Compared]:
    """What became of each beside what would."""
    return [Compared(was, one.result, one.skipped) for was, one in zip(mails, tried, strict=True)]


def past(tx: Transaction, agent_id: str, since: datetime, *, most: int = MOST) -> list[Past]:
    """The newest mails of people that this agent got since then and that have ended; oldest first,
    of a turn the last one.
    """
    rows = tx.rows(
        _WAS.where(
            deliveries.c.agent_id == agent_id,
            deliveries.c.received_at >= since,
            deliveries.c.state.in_(list(FINAL)),
            deliveries.c.content_removed_at.is_(None),
            messages.c.kind == Kind.PERSON,
        )
        .order_by(deliveries.c.received_at.desc(), deliveries.c.id.desc())
        .limit(most)
    )
    newest = [next(of_turn) for _, of_turn in groupby(rows, lambda row: row.turn_id or row.id)]
    return _told(tx, list(reversed(newest)))


def past_of(tx: Transaction, delivery_ids: Sequence[str]) -> list[Past]:
    """These mails, in this order, as far as their content is there."""
    there = deliveries.c.content_removed_at.is_(None)
    found = {row.id: row for row in tx.rows(_WAS.where(deliveries.c.id.in_(delivery_ids), there))}
    return _told(tx, [found[id_] for id_ in delivery_ids if id_ in found])


_WAS = select(
    deliveries.c.id,
    deliveries.c.received_at,
    deliveries.c.state,
    deliveries.c.turn_id,
    messages.c.from_address,
    messages.c.subject,
).join(messages, messages.c.delivery_id == deliveries.c.id)


def _told(tx: Transaction, rows: Sequence[AnyRow]) -> list[Past]:
    answers = _answers(tx, rows)
    costs = _costs(tx, rows)
    return [_past(row, answers, costs) for row in rows]


def _past(
    row: AnyRow, answers: dict[tuple[str, str], str], costs: dict[str, Decimal | None]
) -> Past:
    by_agent = answers.get((row.turn_id or row.id, "reply"), "")
    by_person = answers.get((row.id, "person"), "")
    decided = decision_of_state(row.state, answered_by_person=bool(by_person) and not by_agent)
    return Past(
        delivery_id=row.id,
        received_at=row.received_at,
        from_address=row.from_address,
        subject=row.subject,
        decision=decided,
        text=by_agent,
        by_person=by_person,
        cost_usd=costs.get(row.turn_id, Decimal(0)),
    )


def _answers(tx: Transaction, rows: Sequence[AnyRow]) -> dict[tuple[str, str], str]:
    """The last answer of each kind, by turn and by delivery."""
    columns = outbound_mails.c
    found = tx.rows(
        select(
            columns.turn_id,
            columns.answers_delivery_id,
            columns.purpose,
            columns.outgoing["text"].as_string().label("text"),
        )
        .where(
            columns.purpose.in_(["reply", "person"]),
            or_(
                columns.turn_id.in_([row.turn_id for row in rows if row.turn_id]),
                columns.answers_delivery_id.in_([row.id for row in rows]),
            ),
        )
        .order_by(columns.created_at)
    )
    told: dict[tuple[str, str], str] = {}
    for row in found:
        for id_ in (row.turn_id, row.answers_delivery_id):
            if id_ is not None:
                told[id_, row.purpose] = row.text
    return told


def _costs(tx: Transaction, rows: Sequence[AnyRow]) -> dict[str, Decimal | None]:
    found = tx.rows(
        select(turns.c.id, turns.c.cost_usd, turns.c.model).where(
            turns.c.id.in_([row.turn_id for row in rows if row.turn_id])
        )
    )
    free = Decimal(0)  # of a turn that asked no model
    return {row.id: free if row.model is None else row.cost_usd for row in found}


def answer_of(tx: Transaction, turn_id: str) -> str:
    """What the agent answered in a turn; empty when it did not."""
    columns = outbound_mails.c
    found: str | None = tx.value(
        select(columns.outgoing["text"].as_string()).where(
            columns.turn_id == turn_id, columns.purpose == "reply"
        )
    )
    return found or ""
