"""How do agents look in the API?"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from backend.agents.agent_file import render
from backend.agents.catalogue import Template

__all__ = [
    "AddressOut",
    "AgentIn",
    "AgentOut",
    "AgentPatch",
    "AliasIn",
    "EmailIn",
    "EmailOut",
    "ImportIn",
    "ImportOut",
    "TemplateOut",
]


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


class EmailIn(BaseModel):
    """Where an agent is to get mail; without a handle at its primary address."""

    model_config = ConfigDict(extra="forbid")

    handle: str | None = None


class EmailOut(BaseModel):
    """Whether an agent gets mail, and where."""

    agent_id: str
    email_enabled: bool
    email_address: str


class ImportIn(BaseModel):
    """An agent's file, as YAML in `file` or the name of a template that comes with mailagent."""

    model_config = ConfigDict(extra="forbid")

    file: str | None = None
    template: str | None = None
    handle: str | None = None
    """Counts before the file's own."""
    only_plan: bool = False
    """Tell what it would change, and change nothing."""
    overwrite: bool = False
    """Bring an agent that is there into line with the file."""


class ChangeOut(BaseModel):
    """One field that a file changes; `difference` is unified."""

    field: str
    before: str
    after: str
    difference: str


class ImportOut(BaseModel):
    """What an import made, or (`done` false) would make; `agent` is null where none is yet."""

    agent: AgentOut | None
    created: bool
    done: bool
    changes: list[ChangeOut]
    needs: list[str]
    """Commands that give the credentials which the file names, and nobody has given this agent."""


class TemplateOut(BaseModel):
    """An agent that comes with mailagent."""

    name: str
    title: str
    description: str
    tools: list[str]
    examples: list[str]
    file: str
    """The agent's file, as YAML."""

    @classmethod
    def of(cls, template: Template) -> TemplateOut:
        """A template in the API's words."""
        return cls(
            name=template.name,
            title=template.title,
            description=template.description,
            tools=template.file.tools or [],
            examples=[one.name for one in template.file.examples or ()],
            file=render(template.file),
        )
