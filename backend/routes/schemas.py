"""How do receiver routes look in the API?"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["NewRouteOut", "RouteIn", "RouteOut", "RoutePatch"]


class RouteIn(BaseModel):
    """A route to be made; `recipient` is a sender identity of the domain."""

    model_config = ConfigDict(extra="forbid")

    recipient: str
    actions: list[str] = Field(max_length=10)
    description: str = ""


class RoutePatch(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    recipient: str | None = None
    actions: list[str] | None = Field(default=None, max_length=10)
    description: str | None = None


class RouteOut(BaseModel):
    """A route; `position` is its place among the domain's."""

    id: str
    domain: str
    position: int
    recipient: str
    actions: list[str]
    description: str
    created_at: datetime
    changed_at: datetime


class NewRouteOut(BaseModel):
    """A route and, this once, the key that what it forwards is signed with."""

    route: RouteOut
    signing_key: str
