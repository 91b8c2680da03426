"""How do evaluation sets, their runs and feedback look in the API?"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.agents.agent_file import Decision, Expected
from backend.evaluations.service import CaseResult, Run
from backend.trying.run import AT_ONCE, MOST_USD
from backend.trying.words import decision_of

__all__ = ["CaseIn", "CaseOut", "FeedbackIn", "RunIn", "RunOut", "RunSummaryOut", "SetOut"]


class CaseIn(BaseModel):
    """A mail (`delivery_id` or `message`) and what should become of it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    delivery_id: str | None = None
    message: str | None = Field(None, description="RFC 5322, at most 1 MiB")
    expected: Expected


class CaseOut(BaseModel):
    """A case of a set."""

    id: str
    set_name: str
    name: str
    delivery_id: str | None
    expected: Expected
    rating: int | None
    note: str
    author: str
    created_at: datetime


class SetOut(BaseModel):
    """A set of cases."""

    name: str
    cases: int


class RunIn(BaseModel):
    """How a set is to be run."""

    model_config = ConfigDict(extra="forbid")

    file: str | None = Field(None, description="An agent's file (YAML), as far as it differs")
    at_once: int = Field(AT_ONCE, ge=1, le=16)
    usd: Decimal | None = Field(
        MOST_USD, ge=0, description="No mail is tried beyond it; null: whatever it costs"
    )


class RunSummaryOut(BaseModel):
    """How a set went; `results` hold no word of a mail."""

    id: str
    set_name: str
    candidate: str
    cases: int
    passed: int
    score: Decimal | None
    cost_usd: Decimal | None
    author: str
    started_at: datetime
    finished_at: datetime
    results: list[dict[str, Any]]


class MissedOut(BaseModel):
    """An expectation that was not met."""

    field: str
    why: str


class CaseResultOut(BaseModel):
    """How one case went."""

    name: str
    decision: Decision | None
    passed: bool | None
    score: float | None
    missed: list[MissedOut]
    text: str
    skipped: str

    @classmethod
    def of(cls, one: CaseResult) -> CaseResultOut:
        """A result in the API's words."""
        result, scored = one.tried.result, one.scored
        return cls(
            name=one.case.name,
            decision=decision_of(result) if result is not None else None,
            passed=scored.passed if scored is not None else None,
            score=round(scored.score, 4) if scored is not None else None,
            missed=[
                MissedOut.model_validate(missed, from_attributes=True)
                for missed in (scored.missed if scored is not None else ())
            ],
            text=result.text if result is not None else "",
            skipped=one.tried.skipped,
        )


class RunOut(BaseModel):
    """How a set went, case by case."""

    run: RunSummaryOut
    results: list[CaseResultOut]

    @classmethod
    def of(cls, run: Run, results: list[CaseResult]) -> RunOut:
        """A run in the API's words."""
        return cls(
            run=RunSummaryOut.model_validate(run, from_attributes=True),
            results=[CaseResultOut.of(one) for one in results],
        )


class FeedbackIn(BaseModel):
    """What a person says of an answer."""

    model_config = ConfigDict(extra="forbid")

    rating: int = Field(ge=1, le=5, description="1 is wrong, 5 is right")
    correction: str = Field("", description="What the answer should have said")
    note: str = ""
