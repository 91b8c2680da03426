"""How do an agent's abilities look in the API?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AbilitiesOut",
    "AbilitiesPatch",
    "CallOfToolOut",
    "HeaderIn",
    "HttpToolIn",
    "HttpToolOut",
    "SecretIn",
    "SecretOut",
]


class AbilitiesPatch(BaseModel):
    """What is to be changed; what is left out stays, null takes it away."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    price: str | None = Field(None, description="US dollars a million tokens, `3/15`")
    most_questions: int | None = None
    history_tokens: int | None = None
    tools: list[str] | None = Field(None, description="Names; null is the usual ones")
    webhook_url: str | None = None
    task_url: str | None = None
    calendar_hours: dict[str, Any] | None = None
    mcp_servers: list[dict[str, Any]] | None = None


class AbleToolOut(BaseModel):
    """A tool that an agent has."""

    name: str
    effect: str
    least: str = Field(description="The least standing of the mail's writer")
    touches: str


class AbilitiesOut(BaseModel):
    """What is set for an agent; null is the installation's own."""

    agent: str
    model: str | None
    price: str | None
    most_questions: int | None
    history_tokens: int | None
    webhook_url: str | None
    task_url: str | None
    calendar_hours: dict[str, Any] | None
    mcp_servers: list[dict[str, Any]]
    tools: list[AbleToolOut]
    secrets: list[str]


class HeaderIn(BaseModel):
    """The value of a header field."""

    model_config = ConfigDict(extra="forbid")

    value: str = Field(max_length=4_000)


class SecretIn(BaseModel):
    """A secret; without a value one is made, for those that sign."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="`webhook`, `tasks`, `calendars` or `mcp:<server>`")
    value: str | None = None


class SecretOut(BaseModel):
    """The secret, this once."""

    name: str
    value: str


class HttpToolIn(BaseModel):
    """A tool that calls an address."""

    model_config = ConfigDict(extra="forbid")

    name: str
    description: str
    input_schema: dict[str, Any]
    effect: str
    method: str
    url: str
    least: str = "stranger"
    repeatable: bool = False
    headers: dict[str, str] = Field(default_factory=dict)


class HttpToolOut(BaseModel):
    """A tool that calls an address; of its header fields the names."""

    id: str
    name: str
    description: str
    input_schema: dict[str, Any]
    effect: str
    least: str
    method: str
    url: str
    repeatable: bool
    headers: list[str]


class CallOfToolOut(BaseModel):
    """A call of a tool that changes or sends something."""

    id: str
    agent: str
    tool: str
    wish: dict[str, Any]
    state: str
    why: str
    result: str = Field(description="What its agent was told")
    thread_id: str
    delivery_id: str
    created_at: datetime
    decided_by: str | None
