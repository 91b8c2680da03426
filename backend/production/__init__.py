"""Is everything there that mail on the internet needs? The checklist of `doctor --production`."""

from __future__ import annotations

from backend.production.checklist import checklist
from backend.production.facts import Facts, gather
from backend.production.line import Line

__all__ = ["Facts", "Line", "checklist", "gather"]
