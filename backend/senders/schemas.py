"""How do sender identities look in the API?"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

__all__ = ["NewSenderOut", "SenderIn", "SenderOut", "SenderPatch"]


class SenderIn(BaseModel):
    """An identity to be made; without a password one is made."""

    model_config = ConfigDict(extra="forbid")

    user: str
    password: str | None = None
    agent: str | None = None


class SenderPatch(BaseModel):
    """Another password; without one, one is made."""

    model_config = ConfigDict(extra="forbid")

    password: str | None = None


class SenderOut(BaseModel):
    """An identity, without its password."""

    id: str
    domain: str
    address: str
    agent_id: str | None
    created_at: datetime
    changed_at: datetime


class NewSenderOut(BaseModel):
    """An identity and, this once, its password."""

    sender: SenderOut
    password: str
