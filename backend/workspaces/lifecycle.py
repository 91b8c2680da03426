"""How does a workspace change its name in addresses, and how does it end?

The old name stays as an alias for a time: mail to it is taken, answers to threads find them, and
nothing new leaves from it. A retired workspace takes and sends nothing; its rows stay. All of this
takes an unscoped transaction: names are the installation's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from sqlalchemy import delete, func, select, update

from backend.naming import checked_slug
from backend.workspaces.service import Workspace, find, operator_id
from backend.workspaces.slugs import claim, lock
from mailagent.errors import Conflict
from mailagent.flow import collecting
from mailagent.flow.directory import changed
from mailagent.settings import Settings
from mailagent.store.tables import addresses, rules, slug_reservations, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["KeptFor", "change_slug", "reopen", "retire"]

_MOST_FORMER = 10


@dataclass(frozen=True, slots=True)
class KeptFor:
    """How long a name that its workspace has left is kept."""

    alias: timedelta
    """So long mail to it is taken."""
    blocked: timedelta
    """So long after that, or after retiring, no other workspace may take it."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the installation sets it."""
        return cls(
            timedelta(days=settings.mailagent_slug_alias_days),
            timedelta(days=settings.mailagent_slug_blocked_days),
        )


def change_slug(
    tx: Transaction, default_domain: str, reference: str, slug: str, kept: KeptFor
) -> Workspace:
    """Give a workspace another name in its addresses, and keep the one it has as an alias.

    Raises Malformed; NotFound; Conflict for a name that is not to be had, a retired workspace, or
    one with as many former names as may be.
    """
    lock(tx)
    workspace = find(tx, reference)
    new, old = checked_slug(slug), workspace.slug
    if new == old:
        return workspace
    _demand_open(workspace)
    # An address, or a setting, that is made meanwhile stands at the name as it is by then.
    tx.lock(f"workspace {workspace.id}")
    claim(tx, new, for_workspace=workspace.id)
    inside = tx.of(workspace.id)
    left, back = f"{old}.{default_domain}", f"{new}.{default_domain}"
    # The workspace may have had the new name before.
    inside.execute(delete(slug_reservations).where(slug_reservations.c.slug == new))
    inside.execute(delete(addresses).where(addresses.c.domain == back))
    former = select(func.count()).select_from(slug_reservations)
    if inside.value(former) >= _MOST_FORMER:
        raise Conflict(
            f"{old} has {_MOST_FORMER} former names that are kept: wait until one is free"
        )
    until = tx.now + kept.alias
    inside.insert(
        slug_reservations,
        {"slug": old, "alias_until": until, "free_at": until + kept.blocked},
    )
    moving = inside.rows(select(addresses).where(addresses.c.domain == left))
    inside.execute(update(addresses).where(addresses.c.domain == left).values(domain=back))
    inside.insert(
        addresses,
        *(
            {**row._mapping, "id": new_id("adr"), "alias": True, "created_at": tx.now}
            | {"until": until}
            for row in moving
        ),
    )
    _follow_rules(inside, left, back)
    settings = dict(inside.value(select(workspaces.c.settings)))
    if left in (by_domain := dict(settings.get("send_by", {}))):
        by_domain[back] = by_domain.pop(left)
        settings["send_by"] = by_domain
    inside.execute(update(workspaces).values(slug=new, settings=settings))
    changed(tx)
    collecting.soon(tx)
    return find(tx, workspace.id)


def retire(tx: Transaction, reference: str, kept: KeptFor) -> Workspace:
    """Have a workspace take and send no mail from this moment; all its rows stay.

    Raises NotFound; Conflict for the operator's own workspace.
    """
    lock(tx)
    workspace = find(tx, reference)
    if workspace.retired_at is not None:
        return workspace
    if workspace.id == operator_id(tx):
        raise Conflict(
            f"{workspace.slug} is the operator's workspace: it answers for the installation"
        )
    inside = tx.of(workspace.id)
    inside.insert(
        slug_reservations,
        {"slug": workspace.slug, "alias_until": None, "free_at": tx.now + kept.blocked},
    )
    inside.execute(update(workspaces).values(retired_at=tx.now))
    changed(tx)
    collecting.soon(tx)
    return find(tx, workspace.id)


def reopen(tx: Transaction, reference: str) -> Workspace:
    """Take a retirement back. Raises NotFound; Conflict when the name is another workspace's."""
    lock(tx)
    workspace = find(tx, reference)
    if workspace.retired_at is None:
        return workspace
    if workspace.slug == workspace.id:
        raise Conflict(f"{workspace.id} has lost its name to another workspace: make a new one")
    inside = tx.of(workspace.id)
    inside.execute(delete(slug_reservations).where(slug_reservations.c.slug == workspace.slug))
    inside.execute(update(workspaces).values(retired_at=None))
    changed(tx)
    collecting.soon(tx)
    return find(tx, workspace.id)


def _demand_open(workspace: Workspace) -> None:
    if workspace.retired_at is not None:
        raise Conflict(f"{workspace.slug} is retired: mailagent workspace reopen {workspace.slug}")


def _follow_rules(tx: Transaction, old: str, new: str) -> None:
    """Let rules that name the old domain match mail to the new one as well."""
    for row in tx.rows(select(rules.c.id, rules.c.condition)):
        condition = _either(row.condition, f"@{old}", f"@{new}")
        if condition != row.condition:
            tx.execute(update(rules).where(rules.c.id == row.id).values(condition=condition))


def _either(condition: Mapping[str, Any], old: str, new: str) -> Mapping[str, Any]:
    ((name, value),) = condition.items()
    match name:
        case "all" | "any":
            return {name: [_either(one, old, new) for one in value]}
        case "not":
            return {name: _either(value, old, new)}
        case "recipient" if value.lower().endswith(old):
            return {"any": [condition, {name: value[: -len(old)] + new}]}
        case _:
            return condition
