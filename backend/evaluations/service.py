"""Which mails is an agent held against, what was expected of each, and how did it do?

A set belongs to an agent. `examples` came with its file; `feedback` is what people said of answers:
a rating of 4 or 5 expects the same decision and words like those, a correction what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, func, select

from backend.agents import service as agents
from backend.agents.agent_file import AgentFile, Expected
from backend.agents.transfer import EXAMPLES
from backend.evaluations.scoring import Scored, score
from backend.naming import checked_name, checked_text
from backend.paging import Page, Window, page
from backend.trying.past import answer_of
from backend.trying.run import Bounds, Tried, prepared, try_all
from backend.trying.service import MESSAGE_BYTES, brought
from backend.trying.words import decision_of, decision_of_state
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.ledger import note as note_line
from mailagent.flow.rehearsal import Brought, Stored
from mailagent.flow.services import Services
from mailagent.store.tables import deliveries, evaluation_cases, evaluation_runs
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "FEEDBACK",
    "Case",
    "CaseResult",
    "Run",
    "add",
    "give_feedback",
    "list_cases",
    "list_runs",
    "remove",
    "run",
    "sets",
]

FEEDBACK = "feedback"
_RIGHT = 4
"""From this rating on an answer was as it should be."""
_MOST_CASES = 1_000
_CORRECTION_CHARACTERS = 50_000
_NOTE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """A mail and what should become of it."""

    id: str
    set_name: str
    name: str
    delivery_id: str | None
    """Of a mail that came in; None for one that is kept with the case."""
    expected: Expected
    rating: int | None
    note: str
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case went; `scored` is None when it was not tried."""

    case: Case
    tried: Tried
    scored: Scored | None


@dataclass(frozen=True, slots=True)
class Run:
    """How a whole set went."""

    id: str
    set_name: str
    candidate: str
    cases: int
    passed: int
    score: Decimal | None
    """The mean of what was tried, 0 to 1; None when nothing was."""
    cost_usd: Decimal | None
    author: str
    started_at: datetime
    finished_at: datetime
    results: Sequence[Any]


# --- cases ------------------------------------------------------------------------------------


def add(
    tx: Transaction,
    agent: str,
    set_name: str,
    name: str,
    expected: Expected,
    *,
    author: str,
    delivery_id: str | None = None,
    message: bytes | None = None,
) -> Case:
    """Add a case, or put it in the place of the one of that name.

    Raises NotFound, Malformed; Conflict for a set that others keep.
    """
    if set_name in (EXAMPLES, FEEDBACK):
        kept_by = "agent's file" if set_name == EXAMPLES else "feedback on answers"
        raise Conflict(f"the set {set_name} is kept by the {kept_by}: choose another name")
    if (delivery_id is None) == (message is None):
        raise Malformed("delivery_id", "give either the id of a delivery or a message")
    if expected.empty:
        raise Malformed("expected", "is empty: say what should become of the mail")
    if message is not None and len(message) > MESSAGE_BYTES:
        raise Malformed("message", f"has more than {MESSAGE_BYTES:,} bytes")
    of = agents.get(tx, agent)
    if delivery_id is not None:
        _delivery(tx, delivery_id)
    tx.lock(f"evaluation {of.id}")
    count = select(func.count()).where(
        evaluation_cases.c.agent_id == of.id, evaluation_cases.c.set_name == set_name
    )
    if tx.value(count.select_from(evaluation_cases)) >= _MOST_CASES:
        raise Malformed("set", f"has {_MOST_CASES:,} cases, which is the most")
    return _keep(
        tx,
        of.id,
        checked_name("set", set_name)[:64],
        checked_name("name", name),
        expected,
        delivery_id=delivery_id,
        message=message,
        author=author,
    )


def give_feedback(
    tx: Transaction,
    delivery_id: str,
    *,
    rating: int,
    author: str,
    correction: str = "",
    note: str = "",
) -> Case:
    """Say how good an agent's answer was, 1 to 5, and what it should have said.

    The last word of people counts; every one stands in the ledger. Raises NotFound, Malformed;
    Conflict when no agent has decided about the mail.
    """
    if not 1 <= rating <= 5:
        raise Malformed("rating", "must be from 1 (wrong) to 5 (right)")
    checked_text("correction", correction, at_most=_CORRECTION_CHARACTERS)
    checked_text("note", note, at_most=_NOTE_CHARACTERS)
    row = _delivery(tx, delivery_id)
    decision = decision_of_state(row.state, answered_by_person=False)
    if row.turn_id is None or row.agent_id is None or decision is None:
        raise Conflict(f"{delivery_id} is {row.state}: no agent has decided about it yet")
    if row.content_removed_at is not None:
        raise Conflict(f"{delivery_id}: its content was removed, so nothing can be learned from it")
    said = answer_of(tx, row.turn_id)
    if correction.strip():
        expected = Expected(decision="reply", like=correction.strip())
    elif rating >= _RIGHT:
        expected = Expected(decision=decision, like=said[:_CORRECTION_CHARACTERS] or None)
    else:
        expected = Expected()
    note_line(
        tx, "feedback", f"{rating} of 5", "with a correction" if correction.strip() else "",
        actor=author, delivery_id=delivery_id,
    )  # fmt: skip
    return _keep(
        tx,
        row.agent_id,
        FEEDBACK,
        delivery_id,
        expected,
        delivery_id=delivery_id,
        rating=rating,
        note=note,
        author=author,
    )


def sets(tx: Transaction, agent: str) -> list[tuple[str, int]]:
    """The sets of an agent, and how many cases each has. Raises NotFound."""
    of = agents.get(tx, agent)
    rows = tx.rows(
        select(evaluation_cases.c.set_name, func.count())
        .where(evaluation_cases.c.agent_id == of.id)
        .group_by(evaluation_cases.c.set_name)
        .order_by(evaluation_cases.c.set_name)
    )
    return [(row[0], row[1]) for row in rows]


def list_cases(tx: Transaction, agent: str, set_name: str | None, window: Window) -> Page[Case]:
    """The cases of an agent, of one set or all, the oldest first. Raises NotFound."""
    of = agents.get(tx, agent)
    cases = evaluation_cases.c
    statement = select(evaluation_cases).where(cases.agent_id == of.id)
    if set_name is not None:
        statement = statement.where(cases.set_name == set_name)
    return page(tx, statement, window, by=cases.id).map(_made)


def remove(tx: Transaction, case_id: str) -> None:
    """Remove a case. Raises NotFound."""
    done = tx.execute(delete(evaluation_cases).where(evaluation_cases.c.id == case_id))
    if done.rowcount != 1:
        raise NotFound(f"there is no case {case_id[:80]}")


def _keep(
    tx: Transaction,
    agent_id: str,
    set_name: str,
    name: str,
    expected: Expected,
    *,
    author: str,
    delivery_id: str | None = None,
    message: bytes | None = None,
    rating: int | None = None,
    note: str = "",
) -> Case:
    same = (
        evaluation_cases.c.agent_id == agent_id,
        evaluation_cases.c.set_name == set_name,
        evaluation_cases.c.name == name,
    )
    tx.execute(delete(evaluation_cases).where(*same))
    tx.insert(
        evaluation_cases,
        {
            "id": new_id("cas"),
            "agent_id": agent_id,
            "set_name": set_name,
            "name": name,
            "delivery_id": delivery_id,
            "message": message,
            "expected": expected.model_dump(mode="json", exclude_unset=True, exclude_none=True),
            "rating": rating,
            "note": note,
            "author": author,
            "created_at": tx.now,
        },
    )
    row = tx.row(select(evaluation_cases).where(*same))
    assert row is not None
    return _made(row)


def _delivery(tx: Transaction, delivery_id: str) -> AnyRow:
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id[:80]}")
    return row


def _made(row: AnyRow) -> Case:
    return Case(
        id=row.id,
        set_name=row.set_name,
        name=row.name,
        delivery_id=row.delivery_id,
        expected=Expected.model_validate(row.expected),
        rating=row.rating,
        note=row.note,
        author=row.author,
        created_at=row.created_at,
    )


# --- runs -------------------------------------------------------------------------------------


async def run(
    services: Services,
    workspace_id: str,
    agent: str,
    set_name: str,
    *,
    author: str,
    file: AgentFile | None = None,
    candidate: str = "",
    bounds: Bounds | None = None,
) -> tuple[Run, list[CaseResult]]:
    """Try every case of a set, score it and keep the score. Raises NotFound, Malformed.

    What is kept of a run holds no word of a mail.
    """
    store = services.store
    of = await store.read(workspace_id, agents.get, agent)
    rows = await store.read(workspace_id, _rows, of.id, set_name)
    if not rows:
        raise NotFound(f"{of.handle} has no set {set_name[:64]!r} with a case in it")
    prepare, began = prepared(of.id, file), store.now()
    await store.rehearse(workspace_id, prepare)
    subjects = [await _subject(services, row, of.address) for row in rows]
    tried = await try_all(services, workspace_id, of.id, subjects, prepare=prepare, bounds=bounds)
    cases = [_made(row) for row in rows]
    results = [_result(case, one) for case, one in zip(cases, tried, strict=True)]
    made = await store.write(
        workspace_id, _write_run, of.id, set_name, candidate, author, began, results
    )
    return made, results


def list_runs(tx: Transaction, agent: str, window: Window) -> Page[Run]:
    """The runs of an agent, the newest first. Raises NotFound."""
    of = agents.get(tx, agent)
    statement = select(evaluation_runs).where(evaluation_runs.c.agent_id == of.id)
    found = page(tx, statement, window, by=evaluation_runs.c.id, newest_first=True)
    return found.map(_run)


def _rows(tx: Transaction, agent_id: str, set_name: str) -> Sequence[AnyRow]:
    cases = evaluation_cases.c
    return tx.rows(
        select(evaluation_cases)
        .where(cases.agent_id == agent_id, cases.set_name == set_name)
        .order_by(cases.created_at, cases.id)
    )


async def _subject(services: Services, row: AnyRow, address: str) -> Stored | Brought:
    if row.delivery_id is not None:
        return Stored(row.delivery_id)
    return await brought(services, bytes(row.message), address)


def _result(case: Case, tried: Tried) -> CaseResult:
    # A low rating without a correction says what is wrong, and not what would be right.
    scored = (
        score(case.expected, tried.result) if tried.result and not case.expected.empty else None
    )
    return CaseResult(case, tried, scored)


def _write_run(
    tx: Transaction,
    agent_id: str,
    set_name: str,
    candidate: str,
    author: str,
    began: datetime,
    results: Sequence[CaseResult],
) -> Run:
    scored = [one.scored for one in results if one.scored is not None]
    costs = [one.tried.result.cost_usd for one in results if one.tried.result is not None]
    mean = round(Decimal(sum(one.score for one in scored) / len(scored)), 4) if scored else None
    known = sum((one for one in costs if one is not None), Decimal(0))
    row_id = new_id("run")
    tx.insert(
        evaluation_runs,
        {
            "id": row_id,
            "agent_id": agent_id,
            "set_name": set_name,
            "candidate": candidate[:200],
            "cases": len(results),
            "passed": sum(one.passed for one in scored),
            "score": mean,
            "cost_usd": None if None in costs else known,
            "results": [_kept(one) for one in results],
            "author": author,
            "started_at": began,
            "finished_at": tx.now,
        },
    )
    row = tx.row(select(evaluation_runs).where(evaluation_runs.c.id == row_id))
    assert row is not None
    return _run(row)


def _kept(one: CaseResult) -> dict[str, Any]:
    """What a run keeps of a case: which expectations were missed, not the words."""
    result, scored = one.tried.result, one.scored
    return {
        "case_id": one.case.id,
        "decision": decision_of(result) if result is not None else None,
        "score": None if scored is None else round(scored.score, 4),
        "missed": [] if scored is None else [missed.field for missed in scored.missed],
    }


def _run(row: AnyRow) -> Run:
    return Run(
        id=row.id,
        set_name=row.set_name,
        candidate=row.candidate,
        cases=row.cases,
        passed=row.passed,
        score=row.score,
        cost_usd=row.cost_usd,
        author=row.author,
        started_at=row.started_at,
        finished_at=row.finished_at,
        results=row.results,
    )
