"""How do documents look in the API?"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

__all__ = ["DocumentIn", "DocumentOut", "DocumentTextOut"]


class DocumentIn(BaseModel):
    """A document to be kept, in place of one of the same name; Markdown or plain text."""

    model_config = ConfigDict(extra="forbid")

    name: str
    text: str


class DocumentOut(BaseModel):
    """A document without its text."""

    id: str
    name: str
    size_bytes: int
    sha256: str
    created_at: datetime


class DocumentTextOut(DocumentOut):
    """A document with its text."""

    text: str
