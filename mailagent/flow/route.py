"""Step 3: which agent gets the mail? Only the envelope's own workspace's rules are looked at."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from mailagent.flow.directory import normalised, without_tag
from mailagent.mail import Mail
from mailagent.routing import Decision, Rule, decide
from mailagent.store.tables import addresses, agents, rules, workspaces
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["destination", "load_rules", "route"]


_ENABLED = select(rules).where(rules.c.enabled).order_by(rules.c.position, rules.c.created_at)
_IS_ON = (
    select(agents.c.email_enabled, workspaces.c.retired_at)
    .join(workspaces, workspaces.c.id == agents.c.workspace_id)
    .where(agents.c.id == bindparam("agent"), agents.c.removed_at.is_(None))
)


def load_rules(tx: Transaction) -> Sequence[Rule]:
    """The workspace's enabled rules, first to last."""
    return [
        Rule(row.id, row.name, row.condition, row.action, row.agent_id, row.overrides)
        for row in tx.rows(_ENABLED, {})
    ]


def foresee_rules(tx: Transaction, addressed_agent: str | None) -> None:
    """Foresee what `route` asks."""
    tx.foresee(_ENABLED, {})
    if addressed_agent is not None:
        tx.foresee(_IS_ON, {"agent": addressed_agent})


def route(
    tx: Transaction, mail: Mail, *, place: str, agent_id: str | None, passed: bool = False
) -> Decision:
    """Decide by address, rules and catch-all; a decision for an agent that is off is a hold.

    `passed`: a person let the mail pass the rules that hold.
    """
    decision = decide(
        mail,
        addressed_agent=agent_id if place == "agent" else None,
        catch_all_agent=agent_id if place == "catch_all" else None,
        rules=[one for one in load_rules(tx) if not (passed and one.action == "hold")],
    )
    if decision.action != "agent":
        return decision
    agent = tx.row(_IS_ON, {"agent": decision.agent_id})
    if agent is not None and agent.retired_at is not None:
        return Decision("hold", None, f"{decision.why}, but the workspace is retired")
    if agent is not None and agent.email_enabled:
        return decision
    return Decision("hold", None, f"{decision.why}, but the agent's e-mail is off")


def destination(tx: Transaction, row: AnyRow) -> tuple[str, str | None]:
    """Where the envelope recipient leads now: an earlier routing has written over agent_id."""
    if row.place not in ("agent", "catch_all"):
        return row.place, row.agent_id
    local, domain = normalised(row.recipient)
    agent_id = tx.value(
        select(addresses.c.agent_id)
        .join(agents, agents.c.id == addresses.c.agent_id)
        .where(
            addresses.c.local_part == without_tag(local),
            addresses.c.domain == domain,
            agents.c.removed_at.is_(None),
        )
    )
    if agent_id is not None:
        return "agent", agent_id
    settings = tx.value(select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id))
    return "catch_all", (settings or {}).get("catch_all_agent_id")
