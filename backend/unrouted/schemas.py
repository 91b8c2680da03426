"""How does mail for nobody look in the API?"""

from __future__ import annotations

import base64
from datetime import datetime

from pydantic import BaseModel, Field

from backend.unrouted.service import UnroutedContent

__all__ = ["UnroutedContentOut", "UnroutedOut"]


class UnroutedOut(BaseModel):
    """A mail that a webhook brought for addresses that are nobody's."""

    id: str
    source: str
    mail_from: str | None
    recipients: list[str]
    received_at: datetime
    size_bytes: int


class UnroutedContentOut(UnroutedOut):
    """The same with what was kept: at most the first MiB, as it came."""

    content_base64: str
    whole: bool = Field(description="Whether all of it was kept")

    @classmethod
    def of(cls, found: UnroutedContent) -> UnroutedContentOut:
        """A mail in the API's words."""
        shown = UnroutedOut.model_validate(found.mail, from_attributes=True)
        content = base64.b64encode(found.content).decode()
        return cls(**shown.model_dump(), content_base64=content, whole=found.whole)
