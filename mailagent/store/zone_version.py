"""Has anything changed that stands in our DNS zone?

A row of `versions`, which the name server looks at each second: the zone itself is read only when
it has moved.
"""

from __future__ import annotations

from sqlalchemy import select, update

from mailagent.store.tables import versions
from mailagent.store.transaction import Transaction

__all__ = ["ZONE", "changed", "current"]

ZONE = "zone"
"""The version's name, and that of the wake-up."""


def changed(tx: Transaction) -> None:
    """Say, in the transaction that changed what the zone is made of, that it must be read anew."""
    tx.execute(update(versions).where(versions.c.name == ZONE).values(value=versions.c.value + 1))
    tx.wake(ZONE)


def current(tx: Transaction) -> tuple[int, ...]:
    """The version now, with that of the addresses, as a workspace may need records of its own, and
    that of the accounts, which have records in the zone.
    """
    these = versions.c.name.in_([ZONE, "accounts", "directory"])
    rows = tx.rows(select(versions.c.value).where(these).order_by(versions.c.name))
    return tuple(row.value for row in rows)
