"""How does the row of a domain look once everything of it is verified?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

__all__ = ["columns"]


def columns(at: datetime | None) -> dict[str, Any]:
    """The columns that say so; None is for a domain that only waits."""
    return {
        "verified_at": at,
        "receiving_verified_at": at,
        "sending_verified_at": at,
        "sending_state": "active" if at else "pending",
    }
