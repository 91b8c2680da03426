"""How do agents look in the API?"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

__all__ = ["AddressOut", "AgentIn", "AgentOut", "AgentPatch", "AliasIn"]


class AgentIn(BaseModel):
    """An agent to be made."""

    model_config = ConfigDict(extra="forbid")

    handle: str
    name: str = ""
    processor: str = ""
    instructions: str = ""


class AgentPatch(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    processor: str | None = None
    instructions: str | None = None
    email_enabled: bool | None = None
    escalation_address: str | None = None
    usd_a_day: Decimal | None = None
    usd_a_month: Decimal | None = None


class AddressOut(BaseModel):
    """One address of an agent; `until`: it stands at a name that the workspace has left."""

    id: str
    address: str
    alias: bool
    until: datetime | None


class AgentOut(BaseModel):
    """An agent."""

    id: str
    handle: str
    address: str
    name: str
    processor: str
    instructions: str
    email_enabled: bool
    escalation_address: str | None
    usd_a_day: Decimal | None
    usd_a_month: Decimal | None
    addresses: list[AddressOut]
    created_at: datetime


class AliasIn(BaseModel):
    """`name@domain`, or `name` on the workspace's own name below the default domain."""

    model_config = ConfigDict(extra="forbid")

    address: str
