"""Which agents does a workspace have, and what is set for each?

An agent is made with its primary address `<handle>@<slug>.<default domain>`. Whatever moves an
address or a switch tells the doors (`flow.directory.changed`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, update

from backend.caps import ALL_PRICED, Unpriced, checked_cap, demand_prices
from backend.naming import checked_email, checked_local_part, checked_name, checked_text
from backend.paging import Page, Window, page
from mailagent.agents import KINDS, several
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.budgets import WINDOWS
from mailagent.flow.directory import changed
from mailagent.store.tables import (
    account_preferences,
    addresses,
    agents,
    domains,
    rules,
    workspaces,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "CAPS",
    "Agent",
    "AgentAddress",
    "create",
    "get",
    "list_agents",
    "remove",
    "update_agent",
]

CAPS: tuple[str, ...] = tuple(WINDOWS)
"""What an agent may spend: the names of its caps."""
_INSTRUCTIONS_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """One address of an agent; the primary one (no alias) is made and removed with it."""

    id: str
    address: str
    alias: bool
    until: datetime | None = None
    """Of one at a name that the workspace has left: the end of its time."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent that is there."""

    id: str
    handle: str
    name: str
    processor: str
    """A kind of `mailagent.agents.KINDS`, or several (`agents.several`); empty is the default."""
    instructions: str
    email_enabled: bool
    escalation_address: str | None
    """Who hears of this agent's hand-overs; None: as the workspace says."""
    usd_a_day: str | None
    """What it may spend within 24 hours, in US dollars, beside the workspace's own cap."""
    usd_a_month: str | None
    """The same within 30 days."""
    created_at: datetime
    addresses: tuple[AgentAddress, ...]
    """The primary one first."""

    @property
    def address(self) -> str:
        """The primary address."""
        return self.addresses[0].address


def create(
    tx: Transaction,
    default_domain: str,
    *,
    handle: str,
    name: str = "",
    processor: str = "",
    instructions: str = "",
) -> Agent:
    """Make an agent and its primary address; e-mail is on.

    Raises Malformed; Conflict when the address is another agent's.
    """
    checked_local_part("handle", handle)
    tx.lock(f"workspace {tx.workspace_id}")  # its name must not change until the address stands
    slug = tx.value(select(workspaces.c.slug).where(workspaces.c.id == tx.workspace_id))
    agent_id = new_id("agt")
    tx.insert(
        agents,
        {
            "id": agent_id,
            "handle": handle,
            "name": checked_name("name", name or handle),
            "processor": _processor("processor", processor),
            "instructions": _instructions("instructions", instructions),
            "email_enabled": True,
            "settings": {},
            "created_at": tx.now,
        },
    )
    domain = f"{slug}.{default_domain}"
    primary = {
        "id": new_id("adr"),
        "agent_id": agent_id,
        "local_part": handle,
        "domain": domain,
        "alias": False,
        "created_at": tx.now,
    }
    if not tx.insert_new(addresses, primary, unique=["local_part", "domain"]):
        raise Conflict(f"{handle}@{domain} is an agent's address already: choose another handle")
    changed(tx)
    return get(tx, agent_id)


def get(tx: Transaction, reference: str) -> Agent:
    """The agent of an id or handle. Raises NotFound."""
    row = tx.row(
        select(agents).where(
            or_(agents.c.id == reference, agents.c.handle == reference),
            agents.c.removed_at.is_(None),
        )
    )
    if row is None:
        raise NotFound(f"the workspace has no agent {reference[:80]!r}")
    return _made(tx, [row])[0]


def list_agents(tx: Transaction, window: Window) -> Page[Agent]:
    """The workspace's agents by age."""
    statement = select(agents).where(agents.c.removed_at.is_(None))
    found = page(tx, statement, window, by=agents.c.id)
    return Page(tuple(_made(tx, found.items)), found.next_cursor)


def update_agent(
    tx: Transaction,
    reference: str,
    changes: Mapping[str, Any],
    *,
    unpriced: Unpriced = ALL_PRICED,
) -> Agent:
    """Change what `changes` names: name, processor, instructions, email_enabled, and of what None
    takes away escalation_address, usd_a_day, usd_a_month.

    Raises Malformed, NotFound; Conflict for a cap in money on a model without a known price.
    """
    tx.lock(f"agents {tx.workspace_id}")
    agent = get(tx, reference)
    values: dict[str, Any] = {}
    kept = tx.value(select(agents.c.settings).where(agents.c.id == agent.id))
    for name, value in changes.items():
        if name not in _CHANGES:
            known = ", ".join(_CHANGES)
            raise Malformed(name[:80], f"cannot be changed: change one of {known}")
        if name in _SETTINGS:
            kept[name] = None if value is None else _CHANGES[name](name, value)
            values["settings"] = {one: set_ for one, set_ in kept.items() if set_ is not None}
        else:
            values[name] = _CHANGES[name](name, value)
    if values:
        tx.execute(update(agents).where(agents.c.id == agent.id).values(**values))
    wanted = [name for name in (*WINDOWS, "processor") if changes.get(name) is not None]
    if wanted and any(kept.get(name) is not None for name in WINDOWS):
        demand_prices(tx, unpriced, agent.id)
    if "email_enabled" in values:
        changed(tx)
    return get(tx, agent.id)


def remove(tx: Transaction, reference: str) -> None:
    """Take an agent away: its addresses are free, its mail and the story of it stay.

    Raises NotFound; Conflict while the catch-all or a rule leads to it, or a domain is its own.
    """
    tx.lock(f"agents {tx.workspace_id}")
    agent = get(tx, reference)
    settings = tx.value(select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id))
    if settings.get("catch_all_agent_id") == agent.id:
        raise Conflict(f"{agent.handle} is the workspace's catch-all: name another one first")
    leading = tx.value(select(rules.c.name).where(rules.c.agent_id == agent.id).limit(1))
    if leading is not None:
        raise Conflict(f"the rule {leading!r} leads to {agent.handle}: change or remove it first")
    owned = tx.value(select(domains.c.name).where(domains.c.agent_id == agent.id).limit(1))
    if owned is not None:
        raise Conflict(f"the domain {owned} belongs to {agent.handle}: release it first")
    tx.execute(delete(addresses).where(addresses.c.agent_id == agent.id))
    tx.execute(delete(account_preferences).filter_by(whose="agent", name=agent.id))
    tx.execute(
        update(agents).where(agents.c.id == agent.id).values(removed_at=tx.now, email_enabled=False)
    )
    changed(tx)


def _name(field: str, value: Any) -> str:
    return checked_name(field, _text(field, value))


def _processor(field: str, value: Any) -> str:
    if value == "":
        return ""
    return several.checked(field, _text(field, value), [kind.kind for kind in KINDS])


def _instructions(field: str, value: Any) -> str:
    return checked_text(field, _text(field, value), at_most=_INSTRUCTIONS_CHARACTERS)


def _switch(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Malformed(field, "must be true or false")
    return value


def _address(field: str, value: Any) -> str:
    return checked_email(field, _text(field, value))


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed(field, "must be text")
    return value


_CHANGES: Mapping[str, Callable[[str, Any], Any]] = {
    "name": _name,
    "processor": _processor,
    "instructions": _instructions,
    "email_enabled": _switch,
    "escalation_address": _address,
    "usd_a_day": checked_cap,
    "usd_a_month": checked_cap,
}
_SETTINGS = frozenset({"escalation_address", *WINDOWS})


def _made(tx: Transaction, rows: Sequence[AnyRow]) -> list[Agent]:
    owned: dict[str, list[AgentAddress]] = {row.id: [] for row in rows}
    found = tx.rows(
        select(addresses)
        .where(addresses.c.agent_id.in_(list(owned)))
        .order_by(addresses.c.alias, addresses.c.id)
    )
    for one in found:
        address = AgentAddress(one.id, f"{one.local_part}@{one.domain}", one.alias, one.until)
        owned[one.agent_id].append(address)
    return [
        Agent(
            id=row.id,
            handle=row.handle,
            name=row.name,
            processor=row.processor,
            instructions=row.instructions,
            email_enabled=row.email_enabled,
            escalation_address=row.settings.get("escalation_address"),
            usd_a_day=row.settings.get("usd_a_day"),
            usd_a_month=row.settings.get("usd_a_month"),
            created_at=row.created_at,
            addresses=tuple(owned[row.id]),
        )
        for row in rows
    ]
