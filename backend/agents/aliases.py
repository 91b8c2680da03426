"""Under which other addresses does an agent get mail?

An alias stands on the workspace's own name below the default domain, or on one of its verified
domains; an address is one agent's in the whole installation.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from backend.agents.service import Agent, get, update_agent
from backend.domain_options.service import demand_owned
from backend.naming import checked_local_part
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.directory import REPORT_ADDRESSES, changed, normalised
from mailagent.store.tables import addresses, domains, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["add_alias", "enable_email", "own_domains", "remove_alias"]

_MOST_TRIES = 100


def add_alias(tx: Transaction, default_domain: str, reference: str, address: str) -> Agent:
    """Give an agent one more address: `name@domain`, or `name` on the workspace's default domain.

    Raises NotFound for the agent; Malformed for a domain that is not the workspace's; Conflict for
    an address that is taken, and on a domain of another agent or group.
    """
    tx.lock(f"workspace {tx.workspace_id}")  # its name must not change until the address stands
    agent = get(tx, reference)
    served = own_domains(tx, default_domain)
    local, domain = normalised(address if "@" in address else f"{address}@{served[0]}")
    if domain not in served:
        raise Malformed(
            "address", f"must end in a domain of this workspace: {', '.join(served[:10])}"
        )
    if local in REPORT_ADDRESSES and domain != served[0]:
        raise Malformed(
            "address", f"{local}@ of a domain takes the reports about it: choose another"
        )
    demand_owned(tx, domain, agent.id)
    row = {
        "id": new_id("adr"),
        "agent_id": agent.id,
        "local_part": checked_local_part("address", local),
        "domain": domain,
        "alias": True,
        "created_at": tx.now,
    }
    if not tx.insert_new(addresses, row, unique=["local_part", "domain"]):
        raise Conflict(f"{local}@{domain} is an agent's address already")
    changed(tx)
    return get(tx, agent.id)


def enable_email(
    tx: Transaction, default_domain: str, reference: str, handle: str | None = None
) -> tuple[Agent, str]:
    """Take mail for an agent at `handle` on the workspace's default domain; (agent, address).

    A handle that is another agent's is followed by a number: `desk-2`. Without one it is the
    agent's primary address. Raises NotFound, Malformed.
    """
    tx.lock(f"workspace {tx.workspace_id}")
    agent = update_agent(tx, reference, {"email_enabled": True})
    if handle is None:
        return agent, agent.address
    checked_local_part("handle", handle)
    domain = own_domains(tx, default_domain)[0]
    for number in range(1, _MOST_TRIES):
        local = handle if number == 1 else f"{handle[:28]}-{number}"
        taken = select(addresses.c.agent_id).where(
            addresses.c.local_part == local, addresses.c.domain == domain
        )
        owner = tx.value(taken)
        if owner is None:
            return add_alias(tx, default_domain, agent.id, f"{local}@{domain}"), f"{local}@{domain}"
        if owner == agent.id:
            return agent, f"{local}@{domain}"
    raise Conflict(f"{handle}@{domain} and its numbered kin are taken: choose another handle")


def remove_alias(tx: Transaction, reference: str, address: str) -> Agent:
    """Take an alias (its address or id) away. Raises NotFound; Conflict for the primary address."""
    agent = get(tx, reference)
    wanted = "@".join(normalised(address)) if "@" in address else address
    found = next((one for one in agent.addresses if wanted in (one.address, one.id)), None)
    if found is None:
        raise NotFound(f"{agent.handle} has no address {address[:320]!r}")
    if not found.alias:
        raise Conflict(f"{found.address} is the primary address: it goes with the agent only")
    tx.execute(delete(addresses).where(addresses.c.id == found.id))
    changed(tx)
    return get(tx, agent.id)


def own_domains(tx: Transaction, default_domain: str) -> list[str]:
    """Where the workspace's addresses may stand, its name below the default domain first."""
    slug = tx.value(select(workspaces.c.slug).where(workspaces.c.id == tx.workspace_id))
    verified = tx.rows(
        select(domains.c.name).where(domains.c.verified_at.is_not(None)).order_by(domains.c.name)
    )
    return [f"{slug}.{default_domain}", *(row.name for row in verified)]
