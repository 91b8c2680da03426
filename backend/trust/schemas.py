"""How do lists, policies and limits look in the API?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mailagent.agents.limits import Limits
from mailagent.agents.lists import Listed, What

__all__ = [
    "BroughtOut",
    "LimitsIn",
    "LimitsOut",
    "ListEntryIn",
    "ListEntryOut",
    "ListImportIn",
    "PolicyIn",
    "PolicyOut",
]


class ListEntryIn(BaseModel):
    """Somebody to be allowed or blocked."""

    model_config = ConfigDict(extra="forbid")

    pattern: str = Field(
        description="An address, `*@example.com`, `example.com` with its sub-domains, or `*`",
        max_length=320,
    )
    what: What
    verdict: Listed
    mailbox: str | None = Field(
        default=None, description="The address of ours that it is about; null for all"
    )
    note: str = ""


class ListImportIn(BaseModel):
    """A pattern a line; those that begin with # are left out."""

    model_config = ConfigDict(extra="forbid")

    lines: list[str] = Field(max_length=2_000)
    what: What
    verdict: Listed
    mailbox: str | None = None


class ListEntryOut(BaseModel):
    """An entry of a list; `mailbox` is null for all addresses of the workspace."""

    id: str
    what: str
    verdict: str
    pattern: str
    mailbox: str | None
    note: str
    author: str
    created_at: datetime


class BroughtOut(BaseModel):
    """What an import did; `known` said the same already."""

    added: int
    known: int


class PolicyIn(BaseModel):
    """A policy, whole: `{"stranger": {"link": "ask"}}`; what it leaves out is decided below it."""

    model_config = ConfigDict(extra="forbid")

    policy: dict[str, Any] = Field(examples=[{"stranger": {"link": "ask", "attachment": "refuse"}}])


class PolicyOut(BaseModel):
    """A policy as it is set, and `effective` with all that lies under it."""

    version: int = Field(description="0: nothing is set")
    policy: dict[str, dict[str, str]]
    effective: dict[str, dict[str, str]]


class LimitsIn(BaseModel):
    """Limits to be changed; null lifts a count, `reset` names those to take back."""

    model_config = ConfigDict(extra="forbid")

    limits: dict[str, Any] = Field(
        default_factory=dict, examples=[{"replies_per_agent_a_day": 20, "approve_below": 0.9}]
    )
    reset: list[str] = Field(default_factory=list)


class LimitsOut(BaseModel):
    """Limits as they are set, and `effective` with all that lies under them."""

    limits: dict[str, Any]
    effective: Limits
