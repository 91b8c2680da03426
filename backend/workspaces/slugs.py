"""May a workspace be called so? Names below the default domain, and when they change hands.

A name that a workspace has left, or retired with, is kept from others for a time: whoever still
writes to it must not reach a stranger.
"""

from __future__ import annotations

from sqlalchemy import select, update

from mailagent.errors import Conflict
from mailagent.flow.directory import forget_former_names
from mailagent.store.tables import addresses, slug_reservations, workspaces
from mailagent.store.transaction import Transaction

__all__ = ["claim", "lock"]


def lock(tx: Transaction) -> None:
    """Let names change hands in one transaction at a time: what is left must not be taken in
    between.
    """
    tx.lock("slugs")


def claim(tx: Transaction, slug: str, *, for_workspace: str | None = None) -> None:
    """Make sure that a workspace (None: a new one) may be called so, until the transaction ends.

    The transaction is unscoped. Raises Conflict while the name is another's, or kept from others.
    """
    lock(tx)
    forget_former_names(tx)
    kept = tx.row(select(slug_reservations).where(slug_reservations.c.slug == slug))
    if kept is not None and kept.workspace_id != for_workspace:
        raise Conflict(
            f"the slug {slug!r} was another workspace's and is kept from others until "
            f"{kept.free_at:%Y-%m-%d}: choose another"
        )
    holder = tx.row(select(workspaces).where(workspaces.c.slug == slug))
    if holder is None or holder.id == for_workspace:
        return
    if holder.retired_at is None:
        raise Conflict(f"the slug {slug!r} is taken: choose another")
    _leave_for_good(tx, holder.id, slug)


def _leave_for_good(tx: Transaction, workspace_id: str, slug: str) -> None:
    """Take a retired workspace's name from it, once that is free: its id stands in, which is no
    label and so nobody's address.
    """
    inside = tx.of(workspace_id)
    inside.execute(update(workspaces).values(slug=workspace_id))
    # Primary addresses stand at the workspace's own name, whatever the default domain is.
    own = inside.rows(select(addresses.c.domain).where(~addresses.c.alias).distinct())
    for row in own:
        base = row.domain.removeprefix(f"{slug}.")
        inside.execute(
            update(addresses)
            .where(addresses.c.domain == row.domain)
            .values(domain=f"{workspace_id}.{base}")
        )
