"""How do workspaces and members look in the API?"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "FormerSlugOut",
    "MemberIn",
    "MemberOut",
    "MemberPatch",
    "PersonOut",
    "SettingsPatch",
    "SlugIn",
    "WorkspaceIn",
    "WorkspaceOut",
    "WorkspacePatch",
    "WorkspaceSettingsOut",
]


class WorkspaceIn(BaseModel):
    """A workspace to be made. A signed-in person who names no owner becomes it."""

    model_config = ConfigDict(extra="forbid")

    slug: str
    name: str
    owner_email: str | None = None
    owner_name: str = ""


class SettingsPatch(BaseModel):
    """Settings to be changed; null takes one back to the installation's default."""

    model_config = ConfigDict(extra="forbid")

    escalation_address: str | None = None
    turns_per_sender_a_day: int | None = None
    turns_per_workspace_a_day: int | None = None
    usd_a_day: Decimal | None = None
    usd_a_month: Decimal | None = None
    retention_days: int | None = None
    bounce_suppression_days: int | None = None
    catch_all_agent_id: str | None = None


class WorkspacePatch(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    settings: SettingsPatch | None = None


class WorkspaceSettingsOut(BaseModel):
    """What the workspace sets; null is the installation's default."""

    escalation_address: str | None
    turns_per_sender_a_day: int | None
    turns_per_workspace_a_day: int | None
    usd_a_day: Decimal | None
    usd_a_month: Decimal | None
    retention_days: int | None
    bounce_suppression_days: int | None
    catch_all_agent_id: str | None


class SlugIn(BaseModel):
    """Another name in the addresses of a workspace."""

    model_config = ConfigDict(extra="forbid")

    slug: str


class FormerSlugOut(BaseModel):
    """A name that the workspace has left; mail to it is taken until `alias_until`."""

    slug: str
    alias_until: datetime
    free_at: datetime


class WorkspaceOut(BaseModel):
    """A workspace; a retired one takes and sends no mail."""

    id: str
    slug: str
    name: str
    settings: WorkspaceSettingsOut
    created_at: datetime
    retired_at: datetime | None
    former_slugs: list[FormerSlugOut]


class PersonOut(BaseModel):
    """Somebody who can sign in."""

    id: str
    email: str
    name: str


class MemberIn(BaseModel):
    """A person to be let in; made when the e-mail is not known yet."""

    model_config = ConfigDict(extra="forbid")

    email: str
    role: str
    name: str = ""


class MemberPatch(BaseModel):
    """Another role: owner, manager or viewer."""

    model_config = ConfigDict(extra="forbid")

    role: str


class MemberOut(BaseModel):
    """A person in the workspace."""

    person: PersonOut
    role: str
