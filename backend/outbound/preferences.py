"""By which accounts does the mail of an agent, or of a domain, leave?

By those that an operator chose for it, in their order, and by no other; the agent's choice goes
before its domain's. No message chooses for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from mailagent.errors import Malformed
from mailagent.store.tables import account_preferences, addresses, agents, domains
from mailagent.store.transaction import Transaction

__all__ = ["Preference", "choose_for", "listing"]


@dataclass(frozen=True, slots=True)
class Preference:
    """The accounts of one agent or one domain."""

    agent: str | None
    """Its handle."""
    domain: str | None
    accounts: tuple[str, ...]
    """By name, in order. One that is not set up is passed over."""


def choose_for(
    tx: Transaction,
    accounts: Sequence[str],
    *,
    agent_id: str | None = None,
    domain: str | None = None,
) -> Preference:
    """Let an agent's mail, or a domain's, leave by these accounts alone; by none of them it waits.

    No accounts leave it to the usual order. In the workspace of the transaction; the accounts must
    be there. Raises Malformed unless it is for one of the two, and for a domain of somebody else.
    """
    if (agent_id is None) == (domain is None):
        raise Malformed("agent, domain", "are for one of them each time: give one")
    if len(set(accounts)) < len(accounts):
        raise Malformed("accounts", "names one of them twice")
    whose, name = ("agent", agent_id) if agent_id is not None else ("domain", _ours(tx, domain))
    same = {"whose": whose, "name": name}
    if accounts:
        row = {**same, "accounts": list(accounts), "changed_at": tx.now}
        tx.insert_or_update(account_preferences, row, unique=["workspace_id", "whose", "name"])
    else:
        tx.execute(delete(account_preferences).filter_by(**same))
    handle = tx.value(select(agents.c.handle).where(agents.c.id == agent_id))
    return Preference(handle, name if whose == "domain" else None, tuple(accounts))


def listing(tx: Transaction) -> tuple[Preference, ...]:
    """All of the transaction's workspace, those of domains first."""
    named = dict(tuple(row) for row in tx.rows(select(agents.c.id, agents.c.handle)))
    table = account_preferences.c
    rows = tx.rows(select(account_preferences).order_by(table.whose.desc(), table.name))
    return tuple(
        Preference(None, row.name, tuple(row.accounts))
        if row.whose == "domain"
        else Preference(named.get(row.name), None, tuple(row.accounts))
        for row in rows
    )


def _ours(tx: Transaction, domain: str | None) -> str:
    name = (domain or "").strip().rstrip(".").lower()
    known = select(domains.c.id).where(domains.c.name == name).limit(1)
    used = select(addresses.c.id).where(addresses.c.domain == name).limit(1)
    if tx.row(known) is None and tx.row(used) is None:
        raise Malformed("domain", f"{name[:80]!r} is none of this workspace's")
    return name
