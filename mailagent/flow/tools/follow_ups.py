"""Comes back to the thread at a later time."""

from __future__ import annotations

from datetime import datetime

from mailagent.agents.tools import ToolResult
from mailagent.errors import Malformed
from mailagent.flow import reminding
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish
from mailagent.store.transaction import Transaction

__all__ = ["schedule_follow_up"]


def schedule_follow_up(tx: Transaction, _: Services, case: Case, wish: Wish) -> ToolResult:
    """A reminder of this thread. Raises Malformed for a time that is over or too far."""
    at = datetime.fromisoformat(wish["at"])
    if not tx.now < at <= tx.now + reminding.LATEST:
        raise Malformed(
            "at", f"must be within {reminding.LATEST.days} days from now ({tx.now.isoformat()})"
        )
    kept = reminding.remind(
        tx, case.thread_id, "follow_up", at=at, text=wish["note"], keep=bool(wish.get("keep"))
    )
    if not kept:
        raise Malformed("at", "is one reminder too many for this thread")
    return ToolResult(f"This thread will be looked at again at {at.isoformat()}.")
