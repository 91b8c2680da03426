"""To which addresses is nothing sent, and why?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from backend.paging import Page, Window, page
from mailagent.errors import Conflict, NotFound
from mailagent.flow import suppression, track
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


def listing(tx: Transaction, window: Window) -> Page[Suppression]:
    """The suppressions of a window, newest first. Raises Malformed for a cursor not ours."""
    statement = select(suppressions)
    return page(tx, statement, window, by=suppressions.c.id, newest_first=True).map(_suppression)


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
    assert tx.workspace_id is not None
    # After a purge the address stands there as a pseudonym.
    known = suppressions.c.address.in_(suppression.forms(tx.workspace_id, [address]))
    row = tx.row(select(suppressions).where(known))
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
