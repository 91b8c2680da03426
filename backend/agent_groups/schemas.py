"""How do agent groups look in the API?"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GroupIn", "GroupOut", "GroupPatch", "MemberOut"]


class GroupIn(BaseModel):
    """A group to be made; agents by id or handle."""

    model_config = ConfigDict(extra="forbid")

    name: str
    agents: list[str] = Field(default_factory=list, max_length=1_000)


class GroupPatch(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    agents: list[str] | None = Field(default=None, max_length=1_000)


class MemberOut(BaseModel):
    """An agent of a group."""

    id: str
    handle: str


class GroupOut(BaseModel):
    """A group, its agents in the order in which they joined, and the domains that they share."""

    id: str
    name: str
    agents: list[MemberOut]
    domains: list[str]
    created_at: datetime
