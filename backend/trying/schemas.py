"""How does what was tried look in the API?"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from backend.agents.agent_file import Decision
from backend.trying.past import Compared, Comparison
from backend.trying.run import AT_ONCE, MOST_USD
from backend.trying.words import decision_of
from mailagent.flow.rehearsal import Rehearsed
from mailagent.outgoing import Assessment

__all__ = ["AssessmentOut", "ComparisonOut", "TryIn", "TryPastIn", "TryResultOut"]


class TryIn(BaseModel):
    """A mail to be tried: one that came in (`delivery_id`), or a raw one (`message`)."""

    model_config = ConfigDict(extra="forbid")

    delivery_id: str | None = None
    message: str | None = Field(None, description="RFC 5322, at most 1 MiB")
    recipient: str | None = Field(
        None, description="Envelope recipient of a message; default: the agent's address"
    )
    file: str | None = Field(
        None, description="An agent's file (YAML): what it names is tried instead of what is set"
    )


class TryPastIn(BaseModel):
    """Past mail to be tried."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime
    file: str | None = Field(None, description="An agent's file (YAML), as far as it differs")
    most: int = Field(20, ge=1, le=50)
    at_once: int = Field(AT_ONCE, ge=1, le=16)
    usd: Decimal | None = Field(
        MOST_USD, ge=0, description="No mail is tried beyond it; null: whatever it costs"
    )


class AssessmentOut(BaseModel):
    """How the agent read the mail."""

    intent: str
    sentiment: str | None
    urgency: str | None
    topics: list[str]
    summary: str
    reasoning: str
    confidence: float | None

    @classmethod
    def of(cls, said: Assessment | None) -> AssessmentOut | None:
        """An assessment in the API's words."""
        return None if said is None else cls.model_validate(said, from_attributes=True)


class UsedOut(BaseModel):
    """One call of a tool; `state`: done, would do, would ask, refused, not asked, failed."""

    name: str
    wish: Any
    state: str
    why: str


class TryResultOut(BaseModel):
    """What would become of a mail; `decision` is null when the agent could not be asked."""

    decision: Decision | None
    state: str
    reason: str
    agent_id: str | None
    route_why: str
    standing: str
    to: list[str]
    text: str
    assessment: AssessmentOut | None
    tools: list[UsedOut]
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    took_seconds: float

    @classmethod
    def of(cls, tried: Rehearsed) -> TryResultOut:
        """A rehearsal in the API's words."""
        return cls(
            decision=decision_of(tried),
            state=tried.state,
            reason=tried.reason,
            agent_id=tried.agent_id,
            route_why=tried.route_why,
            standing=tried.standing,
            to=list(tried.to),
            text=tried.text,
            assessment=AssessmentOut.of(tried.assessment),
            tools=[UsedOut.model_validate(one, from_attributes=True) for one in tried.tools],
            model=tried.model,
            input_tokens=tried.input_tokens,
            output_tokens=tried.output_tokens,
            cost_usd=tried.cost_usd,
            took_seconds=tried.took.total_seconds(),
        )


class ComparedOut(BaseModel):
    """A mail as it was dealt with, and as it would be."""

    delivery_id: str
    received_at: datetime
    from_address: str
    subject: str
    was: Decision | None
    was_text: str
    answered_by_person: str
    difference: str
    likeness: float
    now: TryResultOut | None
    skipped: str

    @classmethod
    def of(cls, one: Compared) -> ComparedOut:
        """A compared mail in the API's words."""
        return cls(
            delivery_id=one.was.delivery_id,
            received_at=one.was.received_at,
            from_address=one.was.from_address,
            subject=one.was.subject,
            was=one.was.decision,
            was_text=one.was.text,
            answered_by_person=one.was.by_person,
            difference=one.difference,
            likeness=round(one.likeness, 4),
            now=None if one.now is None else TryResultOut.of(one.now),
            skipped=one.skipped,
        )


class ComparisonOut(BaseModel):
    """All mails that were tried, and what it took."""

    agent: str
    candidate: str
    since: datetime
    same: int
    words: int
    decision: int
    not_tried: int
    cost_was_usd: Decimal | None
    cost_now_usd: Decimal | None
    took_seconds: float
    items: list[ComparedOut]

    @classmethod
    def of(cls, found: Comparison) -> ComparisonOut:
        """A comparison in the API's words."""
        return cls(
            agent=found.agent,
            candidate=found.candidate,
            since=found.since,
            same=found.count("same"),
            words=found.count("words"),
            decision=found.count("decision"),
            not_tried=found.count("not tried"),
            cost_was_usd=found.cost_was,
            cost_now_usd=found.cost_now,
            took_seconds=found.took.total_seconds(),
            items=[ComparedOut.of(one) for one in found.items],
        )
