"""Is mail brought for every workspace's domain, where a provider must be told of each?

Nothing is kept of it here: the provider is asked what it collects, and what lacks or is too much is
mended. So a run that was killed is the next one's work, and what somebody changed by hand is seen.
An account counts once it collects the default domain itself, which its set-up does.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog
from sqlalchemy import select, update

from mailagent.errors import Delivery, PermanentFailure
from mailagent.flow.services import Services
from mailagent.identity import CollectsEachHost
from mailagent.store.tables import schedules, slug_reservations, workspaces
from mailagent.store.transaction import Transaction

__all__ = ["CHORE", "collect_all", "soon"]

log = structlog.get_logger()

CHORE = "collect_hosts"


def soon(tx: Transaction) -> None:
    """Have it done at once, in the transaction that makes a workspace or ends one."""
    tx.execute(update(schedules).where(schedules.c.id == CHORE).values(not_before=tx.now))
    tx.wake("schedule")


async def collect_all(services: Services) -> None:
    """Have each workspace's domain collected, and no others below the default domain.

    Raises the last failure that another attempt may mend, after all else was tried.
    """
    failed: Delivery | None = None
    for name, opened in services.collectors():
        async with opened as collects:
            if not isinstance(collects, CollectsEachHost):
                continue
            failed = await _collect(services, name, collects) or failed
    if failed is not None:
        raise failed


async def _collect(services: Services, account: str, collects: CollectsEachHost) -> Delivery | None:
    default = services.settings.default_domain
    try:
        there = set(await collects.collected())
    except PermanentFailure as error:
        # A key that may only send: then it brings no mail either, and is not to be looked at.
        log.info("hosts.not_asked", account=account, reason=error.reason)
        return None
    except Delivery as error:
        return error
    if default not in there:
        return None
    # Read after the list: what came between is wanted, and what is not wanted has ended before.
    wanted = await services.store.read_unscoped(_hosts, default)
    failed: Delivery | None = None
    for host in sorted({*wanted - there, *_below(default, there - wanted)}):
        try:
            if host in wanted:
                await collects.collect(host)
            else:
                await collects.stop_collecting(host)
        except Delivery as error:
            log.warning("hosts.failed", account=account, host=host, reason=error.reason)
            if not isinstance(error, PermanentFailure):
                failed = error
        else:
            log.info("hosts.changed", account=account, host=host, collected=host in wanted)
    return failed


def _hosts(tx: Transaction, default: str) -> set[str]:
    # A retired workspace takes no mail; a name that one has left still does, for its time.
    here = tx.rows(select(workspaces.c.slug).where(workspaces.c.retired_at.is_(None)))
    left = tx.rows(select(slug_reservations.c.slug).where(slug_reservations.c.alias_until > tx.now))
    return {f"{row.slug}.{default}" for row in (*here, *left)}


def _below(default: str, hosts: Collection[str]) -> list[str]:
    """Those one label below the default domain: others are domains of customers."""
    ended = f".{default}"
    return [one for one in hosts if one.endswith(ended) and "." not in one.removesuffix(ended)]
