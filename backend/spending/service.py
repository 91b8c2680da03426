"""What have the agents of a workspace spent, beside the caps that are set?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from mailagent.flow.budgets import WINDOWS, spending
from mailagent.store.tables import agents, workspaces
from mailagent.store.transaction import Transaction

__all__ = ["AgentSpending", "Spending", "Window", "WorkspaceSpending", "of_workspace"]


@dataclass(frozen=True, slots=True)
class Window:
    """One window of time that ends now."""

    spent_usd: Decimal
    cap_usd: Decimal | None
    unpriced_turns: int
    """Turns whose cost is not known: they are not in `spent_usd`."""


@dataclass(frozen=True, slots=True)
class Spending:
    """The last 24 hours and the last 30 days."""

    day: Window
    month: Window


@dataclass(frozen=True, slots=True)
class AgentSpending(Spending):
    """One agent's part."""

    id: str
    handle: str


@dataclass(frozen=True, slots=True)
class WorkspaceSpending:
    """The workspace's whole, removed agents' part included, and each agent's."""

    workspace: Spending
    agents: tuple[AgentSpending, ...]


def of_workspace(tx: Transaction) -> WorkspaceSpending:
    """What is spent now."""
    caps = tx.value(select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id)) or {}
    rows = tx.rows(
        select(agents.c.id, agents.c.handle, agents.c.settings)
        .where(agents.c.removed_at.is_(None))
        .order_by(agents.c.id)
    )
    return WorkspaceSpending(
        Spending(_window(tx, "usd_a_day", caps), _window(tx, "usd_a_month", caps)),
        tuple(
            AgentSpending(
                _window(tx, "usd_a_day", row.settings, row.id),
                _window(tx, "usd_a_month", row.settings, row.id),
                row.id,
                row.handle,
            )
            for row in rows
        ),
    )


def _window(
    tx: Transaction, name: str, caps: Mapping[str, Any], agent_id: str | None = None
) -> Window:
    _, length = WINDOWS[name]
    spent = spending(tx, tx.now - length, agent_id)
    cap = caps.get(name)
    return Window(spent.usd, None if cap is None else Decimal(cap), spent.unpriced_turns)
