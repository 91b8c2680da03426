"""How does spending look in the API? US dollars are decimal texts."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel

__all__ = ["SpendingOut"]


class WindowOut(BaseModel):
    """A window of time that ends now; `unpriced_turns` are not in `spent_usd`."""

    spent_usd: Decimal
    cap_usd: Decimal | None
    unpriced_turns: int


class SpentOut(BaseModel):
    """The last 24 hours and the last 30 days."""

    day: WindowOut
    month: WindowOut


class AgentSpentOut(SpentOut):
    """One agent's part."""

    id: str
    handle: str


class SpendingOut(BaseModel):
    """The workspace's whole, and each agent's part."""

    workspace: SpentOut
    agents: list[AgentSpentOut]
