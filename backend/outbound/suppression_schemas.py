"""How do suppressions look in the API?"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ImportedOut", "SuppressionIn", "SuppressionOut"]


class SuppressionIn(BaseModel):
    """An address that nothing is sent to from now on."""

    model_config = ConfigDict(extra="forbid")

    address: str
    from_address: str | None = Field(
        default=None, description="The address of ours that it stops; null for all", max_length=320
    )
    detail: str = Field(default="", max_length=500)
    expires_at: str | None = Field(
        default=None,
        description="A date, or a time with its zone (ISO 8601); null for ever",
        max_length=64,
    )


class SuppressionOut(BaseModel):
    """An address that nothing is sent to; `from_address` is null for all addresses of ours."""

    id: str
    address: str
    from_address: str | None
    reason: str = Field(
        description="permanent_bounce, complaint, unsubscribed, at_provider or manual"
    )
    origin: str = Field(description="auto, manual or import")
    detail: str
    created_at: datetime
    expires_at: datetime | None


class BadOut(BaseModel):
    """A line of a file that was left out."""

    line: int
    problem: str


class ImportedOut(BaseModel):
    """What an import did; `known` were there already; `ignored` are columns nobody asked for."""

    added: int
    known: int
    bad: list[BadOut]
    ignored: list[str]
