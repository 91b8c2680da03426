"""What does the house keep for itself: schedules, versions, the ledger?"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, Text

from mailagent.store.tables.columns import claim, its_workspace, metadata
from mailagent.store.types import Moment

__all__ = ["ledger", "schedules", "versions"]

schedules = Table(
    "schedules",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("every_seconds", Integer, nullable=False),
    *claim(),
)

versions = Table(
    "versions",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Integer, nullable=False),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    its_workspace(),
    Column("delivery_id", String(48)),
    Column("outbound_id", String(48)),
    Column("at", Moment, nullable=False),
    Column("step", String(24), nullable=False),
    Column("what", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Index("ix_ledger_delivery_id", "delivery_id"),
    Index("ix_ledger_outbound_id", "outbound_id"),
)
