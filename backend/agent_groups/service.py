"""Which agents belong together? A named set of agents of one workspace.

What a group shares is its domains: they are set up once, and each of its agents may have addresses
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, or_, select, update

from backend.agents import service as agents_
from backend.naming import checked_name
from backend.paging import Page, Window, page
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.store.tables import agent_group_members, agent_groups, agents, domains
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "Group",
    "Member",
    "add_agent",
    "change",
    "create",
    "get",
    "list_groups",
    "remove",
    "remove_agent",
]


@dataclass(frozen=True, slots=True)
class Member:
    """An agent of a group."""

    id: str
    handle: str


@dataclass(frozen=True, slots=True)
class Group:
    """One group with its agents that are there, and the names of its domains."""

    id: str
    name: str
    agents: tuple[Member, ...]
    """In the order in which they joined."""
    domains: tuple[str, ...]
    created_at: datetime


def create(tx: Transaction, name: str, members: Sequence[str] = ()) -> Group:
    """Make a group of agents, named by id or handle. Raises Malformed, NotFound, Conflict."""
    name = _name(name)
    group_id = new_id("grp")
    row = {"id": group_id, "name": name, "created_at": tx.now}
    if not tx.insert_new(agent_groups, row, unique=["workspace_id", "name"]):
        raise Conflict(f"there is a group {name!r} already: choose another name")
    for reference in members:
        _join(tx, group_id, agents_.get(tx, reference).id)
    return get(tx, group_id)


def get(tx: Transaction, reference: str) -> Group:
    """The group of an id or name. Raises NotFound."""
    row = tx.row(
        select(agent_groups).where(
            or_(agent_groups.c.id == reference, agent_groups.c.name == reference)
        )
    )
    if row is None:
        raise NotFound(f"the workspace has no agent group {reference[:200]!r}")
    return _made(tx, row)


def list_groups(tx: Transaction, window: Window) -> Page[Group]:
    """The workspace's groups by age."""
    found = page(tx, select(agent_groups), window, by=agent_groups.c.id)
    return found.map(lambda row: _made(tx, row))


def change(
    tx: Transaction, reference: str, *, name: str | None = None, agents: Sequence[str] | None = None
) -> Group:
    """Rename a group, or give it exactly these agents. Raises Malformed, NotFound, Conflict."""
    tx.lock(f"agent groups {tx.workspace_id}")
    group = get(tx, reference)
    if name is not None and (name := _name(name)) != group.name:
        taken = select(agent_groups.c.id).where(agent_groups.c.name == name)
        if tx.value(taken) is not None:
            raise Conflict(f"there is a group {name!r} already: choose another name")
        tx.execute(update(agent_groups).where(agent_groups.c.id == group.id).values(name=name))
    if agents is not None:
        wanted = [agents_.get(tx, one).id for one in agents]
        for member in group.agents:
            if member.id not in wanted:
                _leave(tx, group, member)
        for agent_id in wanted:
            _join(tx, group.id, agent_id)
    return get(tx, group.id)


def add_agent(tx: Transaction, reference: str, agent: str) -> Group:
    """Put an agent into a group; once more changes nothing. Raises NotFound."""
    group = get(tx, reference)
    _join(tx, group.id, agents_.get(tx, agent).id)
    return get(tx, group.id)


def remove_agent(tx: Transaction, reference: str, agent: str) -> Group:
    """Take an agent out of a group. Raises NotFound; Conflict while it has addresses there."""
    group = get(tx, reference)
    member = next((one for one in group.agents if agent in (one.id, one.handle)), None)
    if member is None:
        raise NotFound(f"the group {group.name!r} has no agent {agent[:80]!r}")
    _leave(tx, group, member)
    return get(tx, group.id)


def remove(tx: Transaction, reference: str) -> None:
    """Take a group away; its agents stay. Raises NotFound; Conflict while it has domains."""
    tx.lock(f"agent groups {tx.workspace_id}")
    group = get(tx, reference)
    if group.domains:
        named = ", ".join(group.domains)
        raise Conflict(f"the group {group.name!r} has domains ({named}): release them first")
    members = delete(agent_group_members).where(agent_group_members.c.group_id == group.id)
    tx.execute(members)
    tx.execute(delete(agent_groups).where(agent_groups.c.id == group.id))


def _name(name: str) -> str:
    checked = checked_name("name", name)
    if checked.startswith("grp_"):
        raise Malformed("name", "begins like an id of ours (grp_): choose another")
    return checked


def _join(tx: Transaction, group_id: str, agent_id: str) -> None:
    row = {"group_id": group_id, "agent_id": agent_id, "joined_at": tx.now}
    tx.insert_new(agent_group_members, row, unique=["group_id", "agent_id"])


def _leave(tx: Transaction, group: Group, member: Member) -> None:
    there = [
        one.address
        for one in agents_.get(tx, member.id).addresses
        if one.address.rpartition("@")[2] in group.domains
    ]
    if there:
        raise Conflict(
            f"{member.handle} has addresses on domains of {group.name!r} ({', '.join(there)}): "
            "remove them first"
        )
    members = agent_group_members.c
    tx.execute(
        delete(agent_group_members).where(
            members.group_id == group.id, members.agent_id == member.id
        )
    )


def _made(tx: Transaction, row: AnyRow) -> Group:
    members = tx.rows(
        select(agents.c.id, agents.c.handle)
        .join(agent_group_members, agent_group_members.c.agent_id == agents.c.id)
        .where(agent_group_members.c.group_id == row.id, agents.c.removed_at.is_(None))
        .order_by(agent_group_members.c.joined_at, agents.c.id)
    )
    shared = tx.rows(
        select(domains.c.name).where(domains.c.group_id == row.id).order_by(domains.c.name)
    )
    return Group(
        row.id,
        row.name,
        tuple(Member(one.id, one.handle) for one in members),
        tuple(one.name for one in shared),
        row.created_at,
    )
