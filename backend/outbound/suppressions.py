"""To which addresses is nothing sent, and why?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import track
from mailagent.flow.ledger import note
from mailagent.mime.outgoing_rules import check_address
from mailagent.store.tables import suppressions
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Suppression", "add", "listing", "remove"]


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that this workspace does not write to."""

    id: str
    address: str
    reason: str
    """`permanent_bounce`, `complaint`, `unsubscribed` or `manual`."""
    origin: str
    """`auto` or `manual`."""
    detail: str
    created_at: datetime
    expires_at: datetime | None


def listing(tx: Transaction, *, limit: int, after: str | None = None) -> list[Suppression]:
    """At most `limit` suppressions, newest first, behind the one with id `after`."""
    statement = select(suppressions).order_by(suppressions.c.id.desc()).limit(limit)
    if after is not None:
        if tx.value(select(suppressions.c.id).where(suppressions.c.id == after)) is None:
            raise Malformed("cursor", "is not one that this list gave: begin without it")
        statement = statement.where(suppressions.c.id < after)
    return [_suppression(row) for row in tx.rows(statement)]


def add(tx: Transaction, address: str, *, detail: str, actor: str) -> Suppression:
    """Stop writing to an address. Raises Malformed; Conflict when that is so already."""
    check_address("address", address)
    if not track.suppress(tx, address, "manual", "manual", detail or f"by {actor}"):
        raise Conflict(f"{address} is suppressed already")
    note(tx, "suppression", f"nothing is sent to {address}", detail, actor=actor)
    row = tx.row(select(suppressions).where(suppressions.c.address == address.lower()))
    assert row is not None
    return _suppression(row)


def remove(tx: Transaction, address: str, *, actor: str) -> Suppression:
    """Write to an address again. Raises NotFound when it is not suppressed."""
    row = tx.row(select(suppressions).where(suppressions.c.address == address.lower()))
    if row is None:
        raise NotFound(f"{address} is not suppressed in this workspace")
    tx.execute(delete(suppressions).where(suppressions.c.id == row.id))
    why = f"it was {row.reason}: {row.detail}"
    note(tx, "suppression", f"mail is sent to {row.address} again", why, actor=actor)
    return _suppression(row)


def _suppression(row: AnyRow) -> Suppression:
    return Suppression(
        id=row.id,
        address=row.address,
        reason=row.reason,
        origin=row.origin,
        detail=row.detail,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
