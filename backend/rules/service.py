"""Which rules does a workspace have, and in which order are they asked?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import delete, select, update

from backend.agents.service import get as get_agent
from backend.naming import checked_name
from backend.paging import Page, Window, page
from mailagent.errors import Malformed, NotFound
from mailagent.routing import Action, check_condition
from mailagent.store.tables import rules
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["StoredRule", "add", "get", "list_rules", "move", "remove", "update_rule"]

_ACTIONS: Sequence[str] = get_args(Action)
_MOST_RULES = 1_000  # every mail is held against all of them


@dataclass(frozen=True, slots=True)
class StoredRule:
    """One rule as the workspace keeps it; the first position is 1."""

    id: str
    position: int
    name: str
    condition: Mapping[str, Any]
    action: str
    agent_id: str | None
    overrides: bool
    """It wins over the address that was written to."""
    enabled: bool
    created_at: datetime


def add(
    tx: Transaction,
    *,
    name: str,
    condition: Any,
    action: str = "agent",
    agent: str | None = None,
    overrides: bool = False,
    position: int | None = None,
) -> StoredRule:
    """Add a rule, last or at `position`; `agent` is an id or handle, for the action `agent` only.

    Raises Malformed naming the field, or the place in the condition.
    """
    check_condition(condition)
    agent_id = _target(tx, action, agent)
    tx.lock(f"rules {tx.workspace_id}")
    order = _order(tx)
    if len(order) >= _MOST_RULES:
        raise Malformed("rules", f"a workspace has at most {_MOST_RULES:,}")
    rule_id = new_id("rul")
    tx.insert(
        rules,
        {
            "id": rule_id,
            "position": len(order) + 1,
            "name": checked_name("name", name),
            "condition": condition,
            "agent_id": agent_id,
            "action": action,
            "overrides": overrides,
            "enabled": True,
            "created_at": tx.now,
        },
    )
    if position is not None:
        _place(tx, order, rule_id, position)
    return get(tx, rule_id)


def get(tx: Transaction, rule_id: str) -> StoredRule:
    """One rule. Raises NotFound."""
    row = tx.row(select(rules).where(rules.c.id == rule_id))
    if row is None:
        raise NotFound(f"the workspace has no rule {rule_id[:80]!r}")
    return _made(row)


def list_rules(tx: Transaction, window: Window) -> Page[StoredRule]:
    """The rules in the order in which they are asked, disabled ones too."""
    return page(tx, select(rules), window, by=rules.c.position).map(_made)


def update_rule(tx: Transaction, rule_id: str, changes: Mapping[str, Any]) -> StoredRule:
    """Change what `changes` names: name, condition, action, agent, overrides, enabled.

    Raises Malformed, NotFound.
    """
    rule = get(tx, rule_id)
    unknown = changes.keys() - _CHANGEABLE
    if unknown:
        raise Malformed(
            min(unknown)[:80], f"cannot be changed: change one of {', '.join(sorted(_CHANGEABLE))}"
        )
    values: dict[str, Any] = {}
    if "name" in changes:
        values["name"] = checked_name("name", str(changes["name"]))
    if "condition" in changes:
        check_condition(changes["condition"])
        values["condition"] = changes["condition"]
    for switch in changes.keys() & {"overrides", "enabled"}:
        if not isinstance(changes[switch], bool):
            raise Malformed(switch, "must be true or false")
        values[switch] = changes[switch]
    if changes.keys() & {"action", "agent"}:
        action = changes.get("action", rule.action)
        # Without an agent any more, unless one is named or the action still needs the old one.
        agent = changes.get("agent", rule.agent_id if action == "agent" else None)
        values |= {"action": action, "agent_id": _target(tx, action, agent)}
    if values:
        tx.execute(update(rules).where(rules.c.id == rule.id).values(**values))
    return get(tx, rule.id)


def move(tx: Transaction, rule_id: str, position: int) -> StoredRule:
    """Put a rule at a position, 1 first; the others make room. Raises NotFound, Malformed."""
    tx.lock(f"rules {tx.workspace_id}")
    rule = get(tx, rule_id)
    _place(tx, [one for one in _order(tx) if one != rule.id], rule.id, position)
    return get(tx, rule.id)


def remove(tx: Transaction, rule_id: str) -> None:
    """Remove a rule and close the gap. Raises NotFound."""
    tx.lock(f"rules {tx.workspace_id}")
    rule = get(tx, rule_id)
    tx.execute(delete(rules).where(rules.c.id == rule.id))
    _number(tx, _order(tx))


_CHANGEABLE = frozenset({"name", "condition", "action", "agent", "overrides", "enabled"})


def _target(tx: Transaction, action: Any, agent: Any) -> str | None:
    if action not in _ACTIONS:
        raise Malformed("action", f"must be one of {', '.join(_ACTIONS)}")
    if action != "agent":
        if agent is not None:
            raise Malformed("agent", f"a rule that does {action!r} leads to no agent: leave it out")
        return None
    if agent is None:
        raise Malformed("agent", "is missing: name the agent that the rule leads to")
    try:
        return get_agent(tx, str(agent)).id
    except NotFound as error:
        raise Malformed("agent", str(error)) from error


def _order(tx: Transaction) -> list[str]:
    return [row.id for row in tx.rows(select(rules.c.id).order_by(rules.c.position, rules.c.id))]


def _place(tx: Transaction, others: Sequence[str], rule_id: str, position: int) -> None:
    if position < 1:
        raise Malformed("position", "begins at 1")
    _number(tx, [*others[: position - 1], rule_id, *others[position - 1 :]])


def _number(tx: Transaction, order: Sequence[str]) -> None:
    for number, rule_id in enumerate(order, start=1):
        tx.execute(
            update(rules)
            .where(rules.c.id == rule_id, rules.c.position != number)
            .values(position=number)
        )


def _made(row: AnyRow) -> StoredRule:
    return StoredRule(
        id=row.id,
        position=row.position,
        name=row.name,
        condition=row.condition,
        action=row.action,
        agent_id=row.agent_id,
        overrides=row.overrides,
        enabled=row.enabled,
        created_at=row.created_at,
    )
