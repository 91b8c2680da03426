"""Which policy and limits are set for a workspace and an agent, and which ones hold?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from backend.agents import service as agents_service
from mailagent.agents.limits import Limits, merged, parse_limits
from mailagent.agents.trust import Choice, Policy
from mailagent.flow import policies
from mailagent.flow.ledger import note
from mailagent.flow.limits import SETTING, merged_of
from mailagent.store.tables import agents, workspaces
from mailagent.store.transaction import Transaction

__all__ = [
    "EffectiveLimits",
    "EffectivePolicy",
    "limits",
    "policy",
    "policy_version",
    "reset_limits",
    "set_limits",
    "set_policy",
]

Cells = Mapping[str, Mapping[str, Choice]]


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """What is set, and what holds with all that lies under it."""

    version: int
    """0: nothing is set."""
    policy: Cells
    effective: Cells


@dataclass(frozen=True, slots=True)
class EffectiveLimits:
    """What is set, and what holds."""

    limits: Mapping[str, Any]
    effective: Limits


def policy(tx: Transaction, agent: str | None = None) -> EffectivePolicy:
    """The policy of an agent (id or handle), else of the workspace. Raises NotFound."""
    return _effective(_policy(tx, agent))


def policy_version(tx: Transaction, number: int, agent: str | None = None) -> EffectivePolicy:
    """What was set in one version. Raises NotFound."""
    agent_id = agents_service.get(tx, agent).id if agent is not None else None
    was = policies.version(tx, number, agent_id)
    return EffectivePolicy(was.version, was.as_json(), was.as_json())


def set_policy(
    tx: Transaction, cells: object, *, actor: str, agent: str | None = None
) -> EffectivePolicy:
    """Set another policy, whole: what it leaves out is decided below it.

    Raises Malformed naming the cell, NotFound.
    """
    of = agents_service.get(tx, agent) if agent is not None else None
    made = policies.save(
        tx, cells, author=actor, agent_id=of.id if of else None, handle=of.handle if of else ""
    )
    note(tx, "policy", f"{made} is set", actor=actor)
    return _effective(made)


def limits(tx: Transaction, agent: str | None = None) -> EffectiveLimits:
    """The limits of an agent (id or handle), else of the workspace. Raises NotFound."""
    workspace = _of_workspace(tx)
    if agent is None:
        return EffectiveLimits(workspace.get(SETTING, {}), merged_of(workspace, {}))
    own = _of_agent(tx, agents_service.get(tx, agent).id)
    return EffectiveLimits(own.get(SETTING, {}), merged_of(workspace, own))


def set_limits(
    tx: Transaction, changes: object, *, actor: str, agent: str | None = None
) -> EffectiveLimits:
    """Change the limits that `changes` names; what is not named stays.

    None lifts a count; `reset_limits` takes one back to what lies under it. Raises Malformed naming
    the field, NotFound.
    """
    return _write_limits(tx, parse_limits(changes), (), actor=actor, agent=agent)


def reset_limits(
    tx: Transaction, names: tuple[str, ...], *, actor: str, agent: str | None = None
) -> EffectiveLimits:
    """Take limits back to what lies under them. Raises Malformed for a name that is none."""
    for name in names:
        parse_limits({name: getattr(Limits(), name, None)})
    return _write_limits(tx, {}, names, actor=actor, agent=agent)


def _write_limits(
    tx: Transaction,
    changes: Mapping[str, Any],
    back: tuple[str, ...],
    *,
    actor: str,
    agent: str | None,
) -> EffectiveLimits:
    # The locks of those who write the other settings, which stand in the same column.
    for what in ("workspace", "agents"):
        tx.lock(f"{what} {tx.workspace_id}")
    workspace = _of_workspace(tx)
    of = agents_service.get(tx, agent) if agent is not None else None
    settings = _of_agent(tx, of.id) if of is not None else workspace
    kept = {**settings.get(SETTING, {}), **changes}
    kept = {name: value for name, value in kept.items() if name not in back}
    # Two that fit alone may contradict each other together.
    merged(workspace.get(SETTING) if of is not None else None, kept)
    settings = {**settings, SETTING: kept}
    if of is not None:
        tx.execute(update(agents).where(agents.c.id == of.id).values(settings=settings))
    else:
        mine = workspaces.c.id == tx.workspace_id
        tx.execute(update(workspaces).where(mine).values(settings=settings))
    whose = f"agent {of.handle}" if of is not None else "the workspace"
    named = ", ".join([*changes, *(f"{one} back" for one in back)])
    note(tx, "limits", f"limits of {whose}: {named}", actor=actor)
    return limits(tx, agent)


def _of_workspace(tx: Transaction) -> Mapping[str, Any]:
    return tx.value(select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id)) or {}


def _of_agent(tx: Transaction, agent_id: str) -> Mapping[str, Any]:
    return tx.value(select(agents.c.settings).where(agents.c.id == agent_id)) or {}


def _policy(tx: Transaction, agent: str | None) -> Policy:
    if agent is None:
        return policies.of_workspace(tx)
    found = agents_service.get(tx, agent)
    return policies.of_agent(tx, found.id, found.handle)


def _effective(found: Policy) -> EffectivePolicy:
    together: dict[str, dict[str, Choice]] = {}
    for one in reversed(list(found.chain())):
        for standing, row in one.as_json().items():
            together.setdefault(standing, {}).update(row)
    return EffectivePolicy(found.version, found.as_json(), together)
