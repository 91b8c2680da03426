"""How do keys and principals look in the API?"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KeyIn", "KeyOut", "MeOut", "NewKeyOut", "WorkspaceGrant"]


class KeyIn(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str
    permissions: list[str] = Field(examples=[["message.read", "message.send"]])
    expires_at: datetime | None = None
    agent: str | None = Field(
        default=None,
        description="Id or handle of the agent that uses it: it sees no approval of its own",
    )


class KeyOut(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    prefix: str
    permissions: list[str]
    agent_id: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(BaseModel):
    """A key with its secret, which is shown this once."""

    secret: str
    key: KeyOut


class WorkspaceGrant(BaseModel):
    """What the principal may do in one workspace."""

    workspace_id: str
    slug: str
    permissions: list[str]


class MeOut(BaseModel):
    """Who is asking."""

    kind: str
    id: str
    name: str
    workspaces: list[WorkspaceGrant]
