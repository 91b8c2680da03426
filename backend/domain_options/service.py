"""Whose is a domain in the Mailgun way of working, and what is set for it?

A domain belongs to one agent or to one group. What is set for it is set once: a second agent of the
group finds it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select, update

from backend.agent_groups import service as groups
from backend.agents import service as agents
from backend.domains import regions, stored
from backend.domains.carriers import Installed
from backend.domains.standing import Status, find, may_send, status
from mailagent.authentication.dmarc_record import registrable_domain
from mailagent.errors import Conflict, Malformed
from mailagent.store.tables import (
    addresses,
    agent_group_members,
    domains,
    sender_identities,
)
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "DKIM_BITS",
    "RETENTION_DAYS",
    "Options",
    "Owner",
    "change",
    "demand_owned",
    "get",
    "give",
    "release",
]

DKIM_BITS, RETENTION_DAYS = (1024, 2048), (0, 1, 3, 7)
_DEFAULTS = {"dkim_bits": 1024, "retention_days": 3}


@dataclass(frozen=True, slots=True)
class Owner:
    """An agent, or a group of agents."""

    kind: Literal["agent", "group"]
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Options:
    """What is set for one domain; None where this way of working is not taken yet."""

    id: str
    domain: str
    owner: Owner | None
    region: str | None
    dkim_bits: int | None
    retention_days: int | None
    """How long a mail's content is kept after its final state; None: as the workspace keeps it."""
    ip: Literal["shared"]
    sender_status: Status
    receiver_status: Status


def get(tx: Transaction, reference: str) -> Options:
    """A domain of the workspace, by name or id. Raises NotFound."""
    row = find(tx, reference)
    return Options(
        id=row.id,
        domain=row.name,
        owner=_owner(tx, row),
        region=row.region,
        dkim_bits=row.dkim_bits,
        retention_days=row.retention_days,
        ip="shared",
        sender_status=status(row, "sending"),
        receiver_status=status(row, "receiving"),
    )


def give(
    tx: Transaction,
    installed: Installed,
    reference: str,
    *,
    most_of_a_group: int,
    agent: str | None = None,
    group: str | None = None,
    apex_confirmed: bool = False,
) -> Options:
    """Let a domain belong to an agent, or to a group, by name or id.

    An agent of the group that has the domain already changes nothing. Raises NotFound, Malformed;
    Conflict for a domain of another, for one more than a group may have, for addresses of agents
    that would not be its owner's, for an apex that nobody confirmed, and where its accounts work in
    several regions.
    """
    if (agent is None) == (group is None):
        raise Malformed("agent", "name an agent or a group, and not both")
    tx.lock(f"agent groups {tx.workspace_id}")
    row = find(tx, reference)
    if agent is not None:
        wanted, group_id = agents.get(tx, agent), None
        if row.group_id is not None and wanted.id in _members(tx, row.group_id):
            return get(tx, row.id)
        agent_id, members = wanted.id, {wanted.id}
    else:
        assert group is not None
        agent_id, group_id = None, groups.get(tx, group).id
        members = _members(tx, group_id)
    if (row.agent_id, row.group_id) == (agent_id, group_id):
        return get(tx, row.id)
    # Its one agent's domain may become its group's: everything there stays in good hands.
    grows = row.agent_id is not None and row.agent_id in members
    owner = _owner(tx, row)
    if owner is not None and not grows:
        raise Conflict(
            f"{row.name} belongs to the {owner.kind} {owner.name}: use one of its agents, "
            "or add a new sub-domain"
        )
    _demand_room(tx, row, group_id, most_of_a_group)
    _demand_good_hands(tx, row, members)
    if registrable_domain(row.name) == row.name and not apex_confirmed:
        raise Conflict(
            f"{row.name} is no sub-domain: all mail of the organisation goes by its records. "
            "Take a sub-domain, or confirm that this is meant (confirm_apex)"
        )
    values: dict[str, Any] = {"agent_id": agent_id, "group_id": group_id}
    values |= {name: one for name, one in _DEFAULTS.items() if getattr(row, name) is None}
    if row.region is None:
        values["region"] = _usual_region(installed, row)
    tx.execute(update(domains).where(domains.c.id == row.id).values(**values))
    return get(tx, row.id)


def release(tx: Transaction, reference: str) -> Options:
    """Let a domain belong to nobody; what is set for it stays. Raises NotFound; Conflict while it
    has senders.
    """
    tx.lock(f"agent groups {tx.workspace_id}")
    row = find(tx, reference)
    mine = select(sender_identities.c.address).where(sender_identities.c.domain_id == row.id)
    if (first := tx.value(mine.limit(1))) is not None:
        raise Conflict(f"{row.name} has senders ({first}): remove them first")
    nobody = update(domains).where(domains.c.id == row.id).values(agent_id=None, group_id=None)
    tx.execute(nobody)
    return get(tx, row.id)


def change(
    tx: Transaction, installed: Installed, reference: str, changes: Mapping[str, Any]
) -> Options:
    """Set `region` (once), `dkim_bits` (until it may send) or `retention_days`.

    Raises NotFound, Malformed, Conflict: also for a region in which no account of the domain works.
    """
    tx.lock(f"agent groups {tx.workspace_id}")
    row = find(tx, reference)
    region, bits = changes.get("region", row.region), changes.get("dkim_bits", row.dkim_bits)
    for name, value in changes.items():
        if name == "ip" and value != "shared":
            raise Conflict("the IP is shared in this way of working and cannot be changed")
        allowed = _ALLOWED.get(name)
        if allowed is None:
            raise Malformed(name[:80], f"cannot be changed: change one of {', '.join(_ALLOWED)}")
        if value not in allowed:
            raise Malformed(name, f"must be one of {', '.join(map(str, allowed))}")
    if row.region is not None and region != row.region:
        raise Conflict(
            f"the region of {row.name} is {row.region} and fixed: add a new sub-domain for {region}"
        )
    if region is not None and region != row.region:
        regions.demand(installed, stored.made(row), region)
    if bits != row.dkim_bits and may_send(row):
        raise Conflict(f"{row.name} is verified with its DKIM key: rotate the key instead")
    values = {name: value for name, value in changes.items() if name != "ip"}
    if values:
        tx.execute(update(domains).where(domains.c.id == row.id).values(**values))
    return get(tx, row.id)


_ALLOWED: dict[str, tuple[Any, ...]] = {
    "region": regions.REGIONS,
    "dkim_bits": DKIM_BITS,
    "retention_days": RETENTION_DAYS,
    "ip": ("shared",),
}


def demand_owned(tx: Transaction, domain: str, agent_id: str) -> None:
    """Pass an agent that may have an address on a domain. Raises Conflict naming whose it is."""
    row = tx.row(select(domains).where(domains.c.name == domain))
    owner = _owner(tx, row) if row is not None else None
    if row is None or owner is None or agent_id == row.agent_id:
        return
    if row.group_id is None or agent_id not in _members(tx, row.group_id):
        raise Conflict(f"{domain} belongs to the {owner.kind} {owner.name}: and to no other agent")


def _usual_region(installed: Installed, row: AnyRow) -> str:
    domain = stored.made(row)
    names = (*domain.choices.carried_by, domain.choices.receive_by)
    usual = regions.usual(filter(None, map(installed.account, names)))
    regions.demand(installed, domain, usual)
    return usual


def _owner(tx: Transaction, row: AnyRow) -> Owner | None:
    if row.group_id is not None:
        group = groups.get(tx, row.group_id)
        return Owner("group", group.id, group.name)
    if row.agent_id is not None:
        agent = agents.get(tx, row.agent_id)
        return Owner("agent", agent.id, agent.handle)
    return None


def _members(tx: Transaction, group_id: str) -> set[str]:
    members = agent_group_members.c
    return {row[0] for row in tx.rows(select(members.agent_id).where(members.group_id == group_id))}


def _demand_room(tx: Transaction, row: AnyRow, group_id: str | None, most: int) -> None:
    if group_id is None:
        return
    has = tx.value(select(func.count()).select_from(domains).where(domains.c.group_id == group_id))
    if has >= most:
        raise Conflict(f"the group has {has} domains, {most} are the most: release one first")


def _demand_good_hands(tx: Transaction, row: AnyRow, members: set[str]) -> None:
    there = tx.rows(select(addresses).where(addresses.c.domain == row.name))
    foreign = [f"{one.local_part}@{one.domain}" for one in there if one.agent_id not in members]
    if foreign:
        raise Conflict(f"other agents have addresses there: {', '.join(sorted(foreign)[:10])}")
