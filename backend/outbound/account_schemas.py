"""How do provider accounts look in the API? What is secret goes in and never comes out."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AccountChange",
    "AccountIn",
    "AccountOut",
    "PauseIn",
    "ProbeOut",
    "SetUpIn",
    "SetUpOut",
]


class HealthOut(BaseModel):
    """`score` is 0 to 100, null before the first hand-over."""

    model_config = ConfigDict(from_attributes=True)

    score: int | None
    word: str
    reasons: list[str]


class AccountOut(BaseModel):
    """A provider account; `settings` are the names of what is set."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    kind: str
    from_environment: bool
    status: str = Field(description="active, paused, rejected, resting or unusable")
    reason: str
    priority: int
    sends_for: list[str]
    quotas: dict[str, int]
    settings: list[str]
    paused_until: datetime | None
    failures: int
    health: HealthOut


class AccountIn(BaseModel):
    """A new account; `settings` by environment variables' names."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(max_length=16)
    name: str = Field(default="", max_length=63)
    settings: dict[str, str]


class AccountChange(BaseModel):
    """What an account may be used for; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    priority: int | None = Field(default=None, ge=0, le=1_000_000)
    sends_for: list[str] | None = Field(default=None, max_length=1_000)
    quotas: dict[str, int] | None = None


class PauseIn(BaseModel):
    """Why it is paused."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="paused by an operator", max_length=500)


class ProbeOut(BaseModel):
    """What the provider says; `good` is null where its API has nothing to ask."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    good: bool | None
    summary: str
    facts: dict[str, str]


class SetUpIn(BaseModel):
    """`plan` says what would be done, and does nothing."""

    model_config = ConfigDict(extra="forbid")

    plan: bool = False


class StepOut(BaseModel):
    """One step of a set-up; `mend` is what a person must do, `calls` what the provider is asked."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    wants: str
    outcome: str = Field(
        description="stands, wanted, waits for a person, made, failed, taken back, "
        "made, and could not be taken back, or not tried"
    )
    says: str
    mend: str
    notes: list[str]
    calls: list[str]


class RecordOut(BaseModel):
    """A DNS record to publish, so that mail comes here."""

    model_config = ConfigDict(from_attributes=True)

    type: str
    name: str
    value: str
    priority: int | None


class SetUpOut(BaseModel):
    """What stands at the provider; `settings` are to be set here for it."""

    model_config = ConfigDict(from_attributes=True)

    account: str
    kind: str
    mode: str = Field(description="plan, make or check")
    well: bool
    failed: bool
    steps: list[StepOut]
    settings: dict[str, str]
    publish: list[RecordOut]
