"""Which words must a statement say to be found along a partial index of deliveries?

SQLite takes a partial index only for a statement that repeats its condition, so the conditions of
`ix_deliveries_…state…` stand here beside each other, as expressions.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_

from mailagent.store.tables import deliveries
from mailagent.store.types import verbatim

__all__ = ["ACCEPTED", "of_agent", "of_workspace"]

ACCEPTED = verbatim("accepted")


def of_agent() -> ColumnElement[bool]:
    """Read and not archived: an agent's mails by state."""
    return and_(deliveries.c.state != ACCEPTED, deliveries.c.archived_at.is_(None))


def of_workspace() -> ColumnElement[bool]:
    """Neither to read, nor answered, nor archived: a workspace's mails by state."""
    return and_(
        deliveries.c.state.not_in([ACCEPTED, verbatim("answered")]),
        deliveries.c.archived_at.is_(None),
    )
