"""How long does a workspace keep what its mails said?

For `retention_days` of its settings after the last thing that happened to a mail; without the
setting, for ever. A domain may set days of its own, for the mail to and from its addresses. A mail
that waits for a person is kept until it was dealt with or put away. What stays: ids, addresses,
times, states, hashes and the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_

from mailagent.flow import removal
from mailagent.flow.services import Services
from mailagent.flow.states import FINAL, NEEDS_A_PERSON
from mailagent.store.engine import Store
from mailagent.store.tables import (
    deliveries,
    domains,
    ledger,
    outbound_mails,
    route_forwards,
    workspaces,
)
from mailagent.store.transaction import Transaction

__all__ = ["SETTING", "keep", "keep_all"]

SETTING = "retention_days"
_AT_ONCE = 50
_OVER = FINAL - NEEDS_A_PERSON
_GOING_OUT = ("queued", "unknown")


async def keep_all(services: Services) -> None:
    """Remove, in every workspace that sets a retention, what it no longer keeps."""
    store = services.store
    for workspace_id, days in await store.read_unscoped(_set):
        await keep(store, workspace_id, timedelta(days=days))
    for workspace_id, days, domain in await store.read_unscoped(_set_for_domains):
        await keep(store, workspace_id, timedelta(days=days), domain)


async def keep(
    store: Store, workspace_id: str, length: timedelta, domain: str | None = None
) -> int:
    """Remove what has been over for `length` in one workspace, or of one domain of it; how many
    mails that were.

    In batches, each a transaction of its own: killed, the next run goes on with what is left.
    """
    count, before = 0, store.now() - length
    for over, remove in ((_received, _remove_received), (_sent, _remove_sent)):
        after: tuple[datetime, str] | None = None
        while found := await store.read(workspace_id, _page, over(before, domain), after):
            ids = [id_ for _, id_ in found]
            count += await store.write(workspace_id, remove, ids, before, domain)
            after = found[-1]
    return count


def _set(tx: Transaction) -> list[tuple[str, int]]:
    rows = tx.rows(select(workspaces.c.id, workspaces.c.settings))
    return [(row.id, row.settings[SETTING]) for row in rows if row.settings.get(SETTING)]


def _set_for_domains(tx: Transaction) -> list[tuple[str, int, str]]:
    columns = domains.c
    rows = tx.rows(
        select(columns.workspace_id, columns.retention_days, columns.name).where(
            columns.retention_days.is_not(None)
        )
    )
    return [(row.workspace_id, row.retention_days, row.name) for row in rows]


def _received(before: datetime, domain: str | None) -> Select[Any]:
    columns = deliveries.c
    waiting = select(route_forwards.c.id).where(
        route_forwards.c.workspace_id == columns.workspace_id,
        route_forwards.c.delivery_id == columns.id,
        route_forwards.c.state == "queued",
    )
    return select(columns.received_at, columns.id).where(
        *_on(columns.recipient, domain),
        ~waiting.exists(),
        columns.received_at < before,
        columns.content_removed_at.is_(None),
        or_(columns.state.in_(_OVER), columns.state.in_(FINAL) & columns.archived_at.is_not(None)),
        ~_happened_since(before, deliveries, ledger.c.delivery_id),
    )


def _on(address: ColumnElement[str], domain: str | None) -> list[ColumnElement[bool]]:
    """Only the addresses on a domain, where one is given."""
    return [func.lower(address).endswith(f"@{domain}", autoescape=True)] if domain else []


def _sent(before: datetime, domain: str | None) -> Select[Any]:
    columns = outbound_mails.c
    return select(columns.created_at, columns.id).where(
        *_on(columns.from_address, domain),
        columns.created_at < before,
        columns.content_removed_at.is_(None),
        columns.state.not_in(_GOING_OUT),
        ~_happened_since(before, outbound_mails, ledger.c.outbound_id),
    )


def _happened_since(before: datetime, mails: Any, named: ColumnElement[Any]) -> ColumnElement[bool]:
    since = select(ledger.c.id).where(
        ledger.c.workspace_id == mails.c.workspace_id, named == mails.c.id, ledger.c.at >= before
    )
    return since.exists()


def _page(
    tx: Transaction, statement: Select[Any], after: tuple[datetime, str] | None
) -> list[tuple[datetime, str]]:
    """The next mails in the order of time. What was removed long ago is passed over by the index of
    times, about a second for a million of them, and never in a transaction that writes.
    """
    at, id_ = statement.selected_columns
    if after is not None:
        # The first condition alone bounds the index.
        statement = statement.where(at >= after[0], tuple_(at, id_) > after)
    rows = tx.rows(statement.order_by(at, id_).limit(_AT_ONCE))
    return [(row[0], row[1]) for row in rows]


def _remove_received(
    tx: Transaction, ids: Sequence[str], before: datetime, domain: str | None
) -> int:
    # Looked at again: a mail may have been driven again since it was found.
    over = _received(before, domain).where(deliveries.c.id.in_(ids))
    still = [row.id for row in tx.rows(over)]
    removal.remove_received(tx, still, "retention", why=_why(tx, before, domain))
    return len(still)


def _remove_sent(tx: Transaction, ids: Sequence[str], before: datetime, domain: str | None) -> int:
    over = _sent(before, domain).where(outbound_mails.c.id.in_(ids))
    still = [row.id for row in tx.rows(over)]
    removal.remove_sent(tx, still, "retention", why=_why(tx, before, domain))
    return len(still)


def _why(tx: Transaction, before: datetime, domain: str | None) -> str:
    return f"{domain or 'the workspace'} keeps mail for {(tx.now - before).days} days"
