"""Which records has the operator added to our zone? Rows, so that every process serves the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from mailagent.identity import DnsRecord
from mailagent.store import zone_version
from mailagent.store.tables import zone_records
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["StoredRecord", "keep", "remove", "stored"]


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as it stands in the database."""

    id: str
    record: DnsRecord


def keep(tx: Transaction, record: DnsRecord) -> StoredRecord:
    """Add a record; whether it may stand there is asked before."""
    made = StoredRecord(new_id("rec"), record)
    row = {
        "id": made.id,
        "name": record.name,
        "type": record.type,
        "value": record.value,
        "priority": record.priority,
        "created_at": tx.now,
    }
    tx.insert(zone_records, row)
    zone_version.changed(tx)
    return made


def stored(tx: Transaction) -> Sequence[StoredRecord]:
    """Every record by name."""
    rows = tx.rows(select(zone_records).order_by(zone_records.c.name, zone_records.c.id))
    return tuple(
        StoredRecord(row.id, DnsRecord(row.type, row.name, row.value, row.priority)) for row in rows
    )


def remove(tx: Transaction, record_id: str) -> bool:
    """Take a record away; whether it was there."""
    found = tx.execute(delete(zone_records).where(zone_records.c.id == record_id)).rowcount
    zone_version.changed(tx)
    return found == 1
