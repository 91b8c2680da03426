"""To which addresses is nothing sent, by which of ours, why, and until when?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from sqlalchemy import delete, select

from backend.paging import Page, Window, page
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import suppression
from mailagent.flow.ledger import note
from mailagent.flow.suppression import EVERYWHERE
from mailagent.mime.outgoing_rules import check_address
from mailagent.store.tables import addresses, suppressions
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "REASONS",
    "Filter",
    "Origin",
    "Reason",
    "Suppression",
    "add",
    "checked_sender",
    "each",
    "listing",
    "moment",
    "remove",
    "senders",
]

Reason = Literal["permanent_bounce", "complaint", "unsubscribed", "at_provider", "manual"]
REASONS: tuple[Reason, ...] = get_args(Reason)
Origin = Literal["auto", "manual", "import"]
"""A report or a refusal; a person or a program by name; a file."""
_AT_ONCE = 2_000
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that this workspace does not write to."""

    id: str
    address: str
    from_address: str | None
    """The address of ours that it stops; None for all of the workspace."""
    reason: str
    """One of `REASONS`."""
    origin: str
    """An `Origin`."""
    detail: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which suppressions a list shows; None of a field shows all."""

    address: str | None = None
    from_address: str | None = None
    """Those for one address of ours alone."""
    reason: str | None = None
    origin: str | None = None


def listing(tx: Transaction, which: Filter, window: Window) -> Page[Suppression]:
    """The suppressions of a window, newest first. Raises Malformed for a cursor not ours."""
    columns, statement = suppressions.c, select(suppressions)
    if which.address is not None:
        assert tx.workspace_id is not None
        statement = statement.where(
            columns.address.in_(list(suppression.forms(tx.workspace_id, [which.address])))
        )
    if which.from_address is not None:
        statement = statement.where(columns.from_address == which.from_address.lower())
    if which.reason is not None:
        statement = statement.where(columns.reason == which.reason)
    if which.origin is not None:
        statement = statement.where(columns.origin == which.origin)
    return page(tx, statement, window, by=columns.id, newest_first=True).map(_suppression)


def each(tx: Transaction, which: Filter) -> Iterator[Suppression]:
    """All of them, newest first, however many."""
    window = Window(_AT_ONCE)
    while True:
        found = listing(tx, which, window)
        yield from found.items
        if found.next_cursor is None:
            return
        window = Window(_AT_ONCE, found.next_cursor)


def add(
    tx: Transaction,
    address: str,
    *,
    detail: str,
    actor: str,
    from_address: str | None = None,
    expires_at: datetime | None = None,
) -> Suppression:
    """Stop writing to an address, or stop one of our addresses from it.

    Raises Malformed; Conflict when that is so already.
    """
    check_address("address", address)
    sender = EVERYWHERE
    if from_address is not None:
        sender = checked_sender(from_address, senders(tx))
    if expires_at is not None and expires_at <= tx.now:
        raise Malformed("expires_at", "is over already")
    told = detail or f"by {actor}"
    if not suppression.suppress(
        tx, address, "manual", "manual", told, from_address=sender, expires_at=expires_at
    ):
        raise Conflict(f"{address} is suppressed already")
    what = f"nothing is sent to {address}" + (f" from {sender}" if sender else "")
    note(tx, "suppression", what, detail, actor=actor)
    row = tx.row(
        select(suppressions).where(
            suppressions.c.address == address.lower(), suppressions.c.from_address == sender
        )
    )
    assert row is not None
    return _suppression(row)


def remove(
    tx: Transaction, address: str, *, actor: str, from_address: str | None = None
) -> Suppression:
    """Write to an address again; with `from_address`, from that one of ours.

    Raises NotFound when it is not suppressed so.
    """
    assert tx.workspace_id is not None
    # After a purge the address stands there as a pseudonym.
    known = suppressions.c.address.in_(list(suppression.forms(tx.workspace_id, [address])))
    rows = tx.rows(select(suppressions).where(known).order_by(suppressions.c.from_address))
    sender = (from_address or EVERYWHERE).lower()
    row = next((one for one in rows if one.from_address == sender), None)
    if row is None:
        raise NotFound(_not_so(address, from_address, [one.from_address for one in rows]))
    tx.execute(delete(suppressions).where(suppressions.c.id == row.id))
    why = f"it was {row.reason}: {row.detail}"
    note(tx, "suppression", f"mail is sent to {row.address} again", why, actor=actor)
    return _suppression(row)


def senders(tx: Transaction) -> frozenset[str]:
    """The addresses of the workspace's agents."""
    rows = tx.rows(select(addresses.c.local_part, addresses.c.domain))
    return frozenset(f"{row.local_part}@{row.domain}".lower() for row in rows)


def checked_sender(from_address: str, ours: Collection[str]) -> str:
    """An address of ours in lower case. Raises Malformed for any other."""
    if from_address.lower() not in ours:
        raise Malformed("from_address", f"{from_address[:80]!r} is no address of this workspace")
    return from_address.lower()


def moment(field: str, text: str) -> datetime:
    """A date (its first moment in UTC), or a time with its zone, in ISO 8601. Raises Malformed."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed(field, "is no date or time: 2027-01-31, 2027-01-31T12:00Z") from error
    if _DATE.fullmatch(text):
        given = given.replace(tzinfo=UTC)
    if given.tzinfo is None:
        raise Malformed(field, "has no time zone: write 2027-01-31T12:00Z")
    return given


def _not_so(address: str, from_address: str | None, narrow: list[str]) -> str:
    where = f"for mail from {from_address}" if from_address else "in this workspace"
    told = f"{address} is not suppressed {where}"
    others = ", ".join(one or "all addresses" for one in narrow)
    return f"{told}; it is for {others}" if others else told


def _suppression(row: AnyRow) -> Suppression:
    return Suppression(
        id=row.id,
        address=row.address,
        from_address=row.from_address or None,
        reason=row.reason,
        origin=row.origin,
        detail=row.detail,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
