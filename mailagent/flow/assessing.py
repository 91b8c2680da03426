"""How did an agent read the mails of a turn? Kept for people; it permits nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import bindparam, select, update

from mailagent.flow.values import to_json
from mailagent.outgoing import Assessment, Handoff, Reply, Silence
from mailagent.store.tables import assessments, deliveries
from mailagent.store.transaction import Transaction

__all__ = ["Assessed", "keep", "of_turns"]

_ASSESSMENT = TypeAdapter(Assessment)


@dataclass(frozen=True, slots=True)
class Assessed:
    """What an agent made of the mails of a turn, and what it would answer (or has answered)."""

    assessment: Assessment
    suggested: str


def keep(tx: Transaction, turn_id: str, outcome: Reply | Silence | Handoff) -> None:
    """Keep it in the transaction that ends the turn; an agent that says nothing leaves nothing."""
    if outcome.assessment is None:
        return
    tx.insert(
        assessments,
        {
            "turn_id": turn_id,
            "fields": to_json(outcome.assessment),
            "suggested": outcome.text if isinstance(outcome, Reply) else "",
            "created_at": tx.now,
        },
    )
    urgency = outcome.assessment.urgency
    if urgency is not None:
        tx.execute(
            _PRIORITY, {"turn": turn_id, "priority": None if urgency == "normal" else urgency}
        )


_PRIORITY = update(deliveries).where(
    deliveries.c.turn_id == bindparam("turn"), deliveries.c.priority_by.is_(None)
)


def of_turns(tx: Transaction, turn_ids: Iterable[str]) -> Mapping[str, Assessed]:
    """What is kept, by turn."""
    wanted = list(turn_ids)
    if not wanted:
        return {}
    rows = tx.rows(select(assessments).where(assessments.c.turn_id.in_(wanted)))
    return {
        row.turn_id: Assessed(_ASSESSMENT.validate_python(row.fields), row.suggested)
        for row in rows
    }
