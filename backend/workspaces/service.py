"""Which workspaces are there, and what is set for each?

A workspace is a tenant: a slug below the default domain, people, agents, mail. Functions that make
or list workspaces take an unscoped transaction, the others the workspace's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select, update

from backend.caps import ALL_PRICED, Unpriced, checked_cap, demand_prices
from backend.naming import checked_email, checked_name, checked_slug
from backend.paging import Page, Window, page
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import collecting
from mailagent.flow.budgets import WINDOWS
from mailagent.flow.directory import changed
from mailagent.store.tables import agents, memberships, workspaces
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "Workspace",
    "WorkspaceSettings",
    "create",
    "find",
    "get",
    "list_workspaces",
    "operator_id",
    "rename",
    "update_settings",
]

_MOST_TURNS = 1_000_000
_MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """What a workspace sets for itself; None leaves it to the installation."""

    escalation_address: str | None = None
    """Who hears of hand-overs; None: the owners."""
    turns_per_sender_a_day: int | None = None
    turns_per_workspace_a_day: int | None = None
    usd_a_day: str | None = None
    """What its agents may spend within 24 hours, in US dollars; None: as much as they need."""
    usd_a_month: str | None = None
    """The same within 30 days."""
    retention_days: int | None = None
    """After how many days a mail that is over loses its content; None: never."""
    bounce_suppression_days: int | None = None
    """For how many days a permanent bounce stops mail to its address; None: for ever."""
    catch_all_agent_id: str | None = None
    """Who gets mail that no address and no rule matches; None: it is refused at the door."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One tenant."""

    id: str
    slug: str
    name: str
    settings: WorkspaceSettings
    created_at: datetime


def create(tx: Transaction, slug: str, name: str, *, owner_id: str | None = None) -> Workspace:
    """Make a workspace, with a person as its owner. Raises Malformed; Conflict for a taken slug."""
    row = {
        "id": new_id("wsp"),
        "slug": checked_slug(slug),
        "name": checked_name("name", name),
        "settings": {},
        "created_at": tx.now,
    }
    if not tx.insert_new(workspaces, row, unique=["slug"]):
        raise Conflict(f"the slug {slug!r} is taken: choose another")
    if owner_id is not None:
        tx.insert(memberships, {"workspace_id": row["id"], "person_id": owner_id, "role": "owner"})
    changed(tx)
    collecting.soon(tx)
    return _found(tx, workspaces.c.id == row["id"])


def find(tx: Transaction, reference: str) -> Workspace:
    """The workspace of an id or slug, from any transaction. Raises NotFound."""
    try:
        return _found(tx, or_(workspaces.c.id == reference, workspaces.c.slug == reference))
    except NotFound:
        raise NotFound(f"there is no workspace {reference[:80]!r}") from None


def get(tx: Transaction) -> Workspace:
    """The transaction's own workspace. Raises NotFound."""
    return _found(tx, workspaces.c.id == tx.workspace_id)


def list_workspaces(
    tx: Transaction, window: Window, *, among: Collection[str] | None = None
) -> Page[Workspace]:
    """Workspaces by age; `among` leaves only those ids."""
    statement = select(workspaces)
    if among is not None:
        statement = statement.where(workspaces.c.id.in_(list(among)))
    return page(tx, statement, window, by=workspaces.c.id).map(_made)


def operator_id(tx: Transaction) -> str | None:
    """The oldest workspace: whoever runs the installation. None before there is one."""
    oldest = select(workspaces.c.id).order_by(workspaces.c.created_at, workspaces.c.id).limit(1)
    found: str | None = tx.value(oldest)
    return found


def rename(tx: Transaction, name: str) -> Workspace:
    """Change the display name; the slug stands in addresses and stays. Raises Malformed."""
    _write(tx, name=checked_name("name", name))
    return get(tx)


def update_settings(
    tx: Transaction, changes: Mapping[str, Any], *, unpriced: Unpriced = ALL_PRICED
) -> Workspace:
    """Change the settings that `changes` names; None takes one back to the default.

    `catch_all_agent_id` takes an agent's id or handle. Raises Malformed; Conflict for a cap in
    money while an agent's model has no known price.
    """
    tx.lock(f"workspace {tx.workspace_id}")
    kept = asdict(get(tx).settings)
    for name, value in changes.items():
        if name not in _SETTINGS:
            known = ", ".join(_SETTINGS)
            raise Malformed(name[:80], f"is no setting of a workspace: use one of {known}")
        kept[name] = None if value is None else _SETTINGS[name](tx, name, value)
    if any(changes.get(name) is not None for name in WINDOWS):
        demand_prices(tx, unpriced)
    stored = tx.value(select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id))
    # What other services keep there (limits) stays.
    others = {name: value for name, value in stored.items() if name not in kept}
    ours = {name: value for name, value in kept.items() if value is not None}
    _write(tx, settings=others | ours)
    changed(tx)
    return get(tx)


def _address(_tx: Transaction, field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed(field, "must be an e-mail address")
    return checked_email(field, value)


def _turns(_tx: Transaction, field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_TURNS:
        raise Malformed(field, f"must be a whole number from 0 to {_MOST_TURNS:,}")
    return value


def _dollars(_tx: Transaction, field: str, value: Any) -> str:
    return checked_cap(field, value)


def _days(_tx: Transaction, field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_DAYS:
        raise Malformed(field, f"must be a whole number of days from 1 to {_MOST_DAYS:,}")
    return value


def _catch_all(tx: Transaction, field: str, value: Any) -> str:
    found: str | None = tx.value(
        select(agents.c.id).where(
            or_(agents.c.id == str(value), agents.c.handle == str(value)),
            agents.c.removed_at.is_(None),
        )
    )
    if found is None:
        raise Malformed(field, f"the workspace has no agent {str(value)[:80]!r}")
    return found


_SETTINGS: Mapping[str, Callable[[Transaction, str, Any], Any]] = {
    "escalation_address": _address,
    "turns_per_sender_a_day": _turns,
    "turns_per_workspace_a_day": _turns,
    "usd_a_day": _dollars,
    "usd_a_month": _dollars,
    "retention_days": _days,
    "bounce_suppression_days": _days,
    "catch_all_agent_id": _catch_all,
}


def _write(tx: Transaction, **values: Any) -> None:
    tx.execute(update(workspaces).where(workspaces.c.id == tx.workspace_id).values(**values))


def _found(tx: Transaction, condition: Any) -> Workspace:
    row = tx.row(select(workspaces).where(condition))
    if row is None:
        raise NotFound("there is no such workspace")
    return _made(row)


def _made(row: AnyRow) -> Workspace:
    names = {field.name for field in fields(WorkspaceSettings)}
    known = {name: value for name, value in row.settings.items() if name in names}
    return Workspace(row.id, row.slug, row.name, WorkspaceSettings(**known), row.created_at)
