"""What is kept of a trial whose questions go in batches, so that a stop loses nothing paid for?

Its mails with the steps of each, as of a turn, and the batch that is under way. Who writes says
what it knew before: of two processes that go on with the same trial, one is stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, select, update

from backend.agents import agent_file
from backend.agents.agent_file import AgentFile
from backend.trying.past import Past
from mailagent.agents import Step
from mailagent.errors import LostClaim, NotFound
from mailagent.store.tables import trial_mails, trials
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "Trial",
    "TrialMail",
    "asked",
    "asking",
    "begin",
    "end",
    "get",
    "keep_steps",
    "mails_of",
    "withdraw",
]


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that goes on."""

    id: str
    agent_id: str
    candidate: str
    file: AgentFile | None
    since: datetime
    usd: Decimal | None
    batch_id: str | None
    """The batch whose answers were not all kept yet."""
    asking_since: datetime | None
    """When a batch began to be created; with no `batch_id`, nobody knows whether it was."""
    asked: int
    """How many questions that batch has."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TrialMail:
    """One mail of a trial."""

    position: int
    delivery_id: str
    steps: tuple[Step, ...]


def begin(
    tx: Transaction,
    agent_id: str,
    mails: Sequence[Past],
    *,
    candidate: str,
    file: AgentFile | None,
    since: datetime,
    usd: Decimal | None,
) -> str:
    """Keep what is to be tried; returns the trial's id."""
    id_ = new_id("tri")
    fields = None
    if file is not None:
        fields = file.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    tx.insert(
        trials,
        {
            "id": id_,
            "agent_id": agent_id,
            "candidate": candidate,
            "file": fields,
            "since": since,
            "usd": usd,
            "asked": 0,
            "created_at": tx.now,
        },
    )
    rows = [
        {
            "trial_id": id_,
            "position": position,
            "delivery_id": mail.delivery_id,
            "steps": [],
            "known": 0,
        }
        for position, mail in enumerate(mails)
    ]
    tx.insert(trial_mails, *rows)
    return id_


def get(tx: Transaction, agent_id: str, trial_id: str) -> Trial:
    """A trial of an agent. Raises NotFound, which names those that there are."""
    rows = tx.rows(
        select(trials).where(trials.c.agent_id == agent_id).order_by(trials.c.created_at.desc())
    )
    found = next((row for row in rows if row.id == trial_id), None)
    if found is None:
        known = ", ".join(row.id for row in rows[:5]) or "none"
        raise NotFound(f"the agent has no trial {trial_id[:80]!r} that goes on: there is {known}")
    return Trial(
        found.id,
        found.agent_id,
        found.candidate,
        None if found.file is None else agent_file.parsed(found.file),
        found.since,
        None if found.usd is None else Decimal(format(found.usd.normalize(), "f")),
        found.batch_id,
        found.asking_since,
        found.asked,
        found.created_at,
    )


def mails_of(tx: Transaction, trial_id: str) -> list[TrialMail]:
    """Its mails whose content is there, in order."""
    rows = tx.rows(
        select(trial_mails)
        .where(trial_mails.c.trial_id == trial_id)
        .order_by(trial_mails.c.position)
    )
    return [_mail(row) for row in rows]


def _mail(row: AnyRow) -> TrialMail:
    steps = tuple(Step(one["kind"], one["content"]) for one in row.steps)
    return TrialMail(row.position, row.delivery_id, steps)


def keep_steps(
    tx: Transaction, trial_id: str, position: int, steps: Sequence[Step], *, known: int
) -> None:
    """Keep all steps of a mail, of which `known` were kept before. Raises LostClaim."""
    of_it = (trial_mails.c.trial_id == trial_id) & (trial_mails.c.position == position)
    content = [{"kind": one.kind, "content": one.content} for one in steps]
    done = tx.execute(
        update(trial_mails)
        .where(of_it, trial_mails.c.known == known)
        .values(steps=content, known=len(content))
    )
    if done.rowcount != 1:
        raise _lost(trial_id)


def asking(tx: Transaction, trial_id: str, count: int, *, after: str | None) -> None:
    """A batch of `count` questions is about to be created, all answers of `after` being kept.

    Raises LostClaim.
    """
    before = trials.c.batch_id.is_(None) if after is None else trials.c.batch_id == after
    _change(
        tx,
        trial_id,
        before & trials.c.asking_since.is_(None) if after is None else before,
        batch_id=None,
        asking_since=tx.now,
        asked=count,
    )


def asked(tx: Transaction, trial_id: str, batch_id: str) -> None:
    """The batch was created. Raises LostClaim."""
    _change(tx, trial_id, _UNSURE, batch_id=batch_id)


def withdraw(tx: Transaction, trial_id: str) -> None:
    """It was not created. Raises LostClaim."""
    _change(tx, trial_id, _UNSURE, asking_since=None)


_UNSURE = trials.c.batch_id.is_(None) & trials.c.asking_since.is_not(None)


def _change(tx: Transaction, trial_id: str, condition: Any, **values: Any) -> None:
    statement = update(trials).where(trials.c.id == trial_id, condition).values(**values)
    if tx.execute(statement).rowcount != 1:
        raise _lost(trial_id)


def _lost(trial_id: str) -> LostClaim:
    return LostClaim(f"{trial_id}: another process goes on with it, or a mail of it was removed")


def end(tx: Transaction, trial_id: str) -> None:
    """Forget a trial whose result was shown."""
    tx.execute(delete(trial_mails).where(trial_mails.c.trial_id == trial_id))
    tx.execute(delete(trials).where(trials.c.id == trial_id))
