"""How do lists, policies and limits look in the API?"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from mailagent.agents.lists import Listed, What

__all__ = ["BroughtOut", "ListEntryIn", "ListEntryOut", "ListImportIn"]


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
