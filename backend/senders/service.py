"""Who may send by SMTP from a domain? Its sender identities, each an address and a password.

The address is one of an agent's: of the agent that has the domain, or of one of the group that has
it. So whatever an answer to such a mail is, it finds an agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, or_, select, update

from backend.agents import aliases
from backend.agents import service as agents
from backend.domains.standing import demand_sending, find
from backend.naming import checked_local_part
from backend.paging import Page, Window, page
from backend.senders import passwords
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.store.tables import (
    addresses,
    agent_group_members,
    receiver_routes,
    sender_identities,
)
from mailagent.store.tables import agents as agent_rows
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["NewSender", "Sender", "create", "get", "list_senders", "remove", "set_password"]


@dataclass(frozen=True, slots=True)
class Sender:
    """One sender identity, without its password."""

    id: str
    domain: str
    address: str
    agent_id: str | None
    """Whose address it is; None once the agent has lost it: then it cannot log in."""
    created_at: datetime
    changed_at: datetime
    """When its password was set."""


@dataclass(frozen=True, slots=True)
class NewSender:
    """An identity and, this once, its password."""

    sender: Sender
    password: str


def create(
    tx: Transaction,
    default_domain: str,
    domain: str,
    *,
    user: str,
    most: int,
    password: str | None = None,
    agent: str | None = None,
) -> NewSender:
    """Make an identity `user@domain`; without a password one is made.

    `agent` says whose address it is where the domain is a group's; the first of it otherwise. An
    address that the agent has already is taken as it is. Raises NotFound, Malformed; Conflict while
    the sender records are not verified, and for one more than a domain may have.
    """
    tx.lock(f"domain {find(tx, domain).id}")
    row = find(tx, domain)  # again: it may have been removed meanwhile
    demand_sending(row)
    chosen = passwords.generated() if password is None else passwords.checked(password)
    has = tx.value(
        select(func.count())
        .select_from(sender_identities)
        .where(sender_identities.c.domain_id == row.id)
    )
    if has >= most:
        raise Conflict(f"{row.name} has {has} senders, {most} are the most: remove one first")
    address = f"{checked_local_part('user', user)}@{row.name}"
    agent_id = _agent(tx, row, agent)
    if _holder(tx, address) != agent_id:
        aliases.add_alias(tx, default_domain, agent_id, address)
    identity = {
        "id": new_id("snd"),
        "domain_id": row.id,
        "address": address,
        "password_hash": passwords.hashed(chosen),
        "created_at": tx.now,
        "changed_at": tx.now,
    }
    if not tx.insert_new(sender_identities, identity, unique=["address"]):
        raise Conflict(f"{address} is a sender already: set its password instead")
    return NewSender(get(tx, row.name, address), chosen)


def get(tx: Transaction, domain: str, reference: str) -> Sender:
    """The identity of an id, an address or a user of the domain. Raises NotFound."""
    row = find(tx, domain)
    named = reference.lower() if "@" in reference else f"{reference.lower()}@{row.name}"
    columns = sender_identities.c
    found = tx.row(
        select(sender_identities).where(
            columns.domain_id == row.id, or_(columns.id == reference, columns.address == named)
        )
    )
    if found is None:
        raise NotFound(f"{row.name} has no sender {reference[:320]!r}")
    return _made(tx, found)


def list_senders(tx: Transaction, domain: str, window: Window) -> Page[Sender]:
    """The domain's identities by age. Raises NotFound."""
    mine = sender_identities.c.domain_id == find(tx, domain).id
    found = page(tx, select(sender_identities).where(mine), window, by=sender_identities.c.id)
    return found.map(lambda row: _made(tx, row))


def set_password(
    tx: Transaction, domain: str, reference: str, *, password: str | None = None
) -> NewSender:
    """Give an identity another password; without one, one is made. Raises NotFound, Malformed."""
    sender = get(tx, domain, reference)
    chosen = passwords.generated() if password is None else passwords.checked(password)
    tx.execute(
        update(sender_identities)
        .where(sender_identities.c.id == sender.id)
        .values(password_hash=passwords.hashed(chosen), changed_at=tx.now)
    )
    return NewSender(get(tx, domain, sender.id), chosen)


def remove(tx: Transaction, domain: str, reference: str) -> None:
    """Take an identity away; its address stays the agent's. Raises NotFound, Conflict."""
    sender = get(tx, domain, reference)
    tx.lock(f"domain {find(tx, domain).id}")
    routes = select(receiver_routes.c.id).where(receiver_routes.c.recipient == sender.address)
    if tx.value(routes.limit(1)) is not None:
        raise Conflict(f"a receiver route is for {sender.address}: change or remove it first")
    tx.execute(delete(sender_identities).where(sender_identities.c.id == sender.id))


def _agent(tx: Transaction, row: AnyRow, reference: str | None) -> str:
    """Whose the address becomes."""
    if row.agent_id is None and row.group_id is None:
        raise Conflict(f"{row.name} belongs to no agent and no group yet: give it to one first")
    members = agent_group_members
    mine = [row.agent_id] if row.agent_id is not None else []
    if row.group_id is not None:
        joined = (
            select(agent_rows.c.id)
            .join(members, members.c.agent_id == agent_rows.c.id)
            .where(members.c.group_id == row.group_id, agent_rows.c.removed_at.is_(None))
            .order_by(members.c.joined_at, agent_rows.c.id)
        )
        mine = [one[0] for one in tx.rows(joined)]
    if not mine:
        raise Conflict(f"the group of {row.name} has no agents: add one first")
    if reference is None:
        return str(mine[0])
    wanted = agents.get(tx, reference).id
    if wanted not in mine:
        raise Malformed("agent", f"{reference[:80]!r} is not of those that {row.name} belongs to")
    return wanted


def _holder(tx: Transaction, address: str) -> str | None:
    local, _, domain = address.partition("@")
    found: str | None = tx.value(
        select(addresses.c.agent_id).where(
            addresses.c.local_part == local, addresses.c.domain == domain
        )
    )
    return found


def _made(tx: Transaction, row: AnyRow) -> Sender:
    return Sender(
        id=row.id,
        domain=row.address.partition("@")[2],
        address=row.address,
        agent_id=_holder(tx, row.address),
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
