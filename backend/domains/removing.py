"""How does a domain leave a workspace?

It is refused while it has addresses, senders or routes, with the list; `force` takes those too.
From then on the domain is `removing`: nothing is taken in or sent for it, and steps undo at the
providers what was made, however often the process dies. Its rows go when the last step is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Table, delete, func, select, update

from backend.domains import claims, steps, stored
from backend.domains.desk import Desk
from backend.domains.publishing import expected
from backend.domains.record import DomainRecord
from backend.domains.stored import Domain
from mailagent.errors import Conflict
from mailagent.flow.directory import changed
from mailagent.flow.ledger import note
from mailagent.store import provider_accounts, zone_version
from mailagent.store.tables import (
    addresses,
    agents,
    domains,
    outbound_mails,
    receiver_routes,
    sender_identities,
)
from mailagent.store.transaction import Transaction

__all__ = ["Removal", "Uses", "remove", "uses"]


@dataclass(frozen=True, slots=True)
class Uses:
    """What would end with the domain."""

    addresses: tuple[str, ...]
    waiting: int
    """Mails from it that wait to be sent."""
    senders: int
    routes: int
    retention_days: int | None
    """How long its mail is kept, where that was set for the domain itself."""
    grants: tuple[str, ...]
    """Sub-domains that others have by its owner's leave."""

    @property
    def listed(self) -> str:
        """In words; empty when nothing uses it."""
        found = list(self.addresses)
        if self.senders:
            found.append(_senders(self.senders))
        if self.routes:
            found.append(_routes(self.routes))
        if self.waiting:
            found.append(f"{self.waiting} mail{'s' if self.waiting > 1 else ''} that wait to go")
        found += [f"{name}, given to another workspace" for name in self.grants]
        return ", ".join(found)


@dataclass(frozen=True, slots=True)
class Removal:
    """What is left to do for a person, and for us."""

    domain: Domain
    gone: bool
    """Whether nothing is left to undo at a provider."""
    consequences: tuple[str, ...]
    records: tuple[DomainRecord, ...]
    """To be taken out of DNS by whoever put them there."""


def uses(tx: Transaction, domain: Domain) -> Uses:
    """What uses a domain."""
    found = tx.rows(
        select(addresses.c.local_part, agents.c.handle)
        .join(agents, agents.c.id == addresses.c.agent_id)
        .where(addresses.c.domain == domain.name)
        .order_by(addresses.c.local_part)
    )
    waiting = tx.value(
        select(func.count()).where(
            outbound_mails.c.state == "queued",
            outbound_mails.c.from_address.ilike(f"%@{domain.name}"),
        )
    )
    return Uses(
        tuple(f"{row.local_part}@{domain.name} of {row.handle}" for row in found),
        int(waiting),
        _count(tx, sender_identities, domain),
        _count(tx, receiver_routes, domain),
        tx.value(select(domains.c.retention_days).where(domains.c.id == domain.id)),
        claims.granted(tx, domain),
    )


def _count(tx: Transaction, table: Table, domain: Domain) -> int:
    counted = select(func.count()).select_from(table).where(table.c.domain_id == domain.id)
    return int(tx.value(counted))


def _senders(number: int) -> str:
    return f"{number} sender identit{'ies' if number > 1 else 'y'}"


def _routes(number: int) -> str:
    return f"{number} receiver route{'s' if number > 1 else ''}"


def remove(
    tx: Transaction, desk: Desk, workspace_id: str, reference: str, *, force: bool, actor: str
) -> Removal:
    """Take a domain away (unscoped transaction). Repeated, it goes on where it is.

    Raises NotFound; Conflict with the list of what uses it, unless `force`.
    """
    inside, installed = tx.of(workspace_id), desk.installed(tx)
    # No sender is made between the list and the removal.
    inside.lock(f"domain {stored.find(inside, reference).id}")
    domain = stored.find(inside, reference)
    used = uses(inside, domain)
    if used.listed and not force and domain.removing_at is None:
        raise Conflict(
            f"{domain.name} is used by {used.listed}: with force it is removed with them"
        )
    wanted = expected(inside, installed, domain).records
    if domain.removing_at is None:
        _begin(tx, inside, domain, actor)
    else:
        steps.try_again(inside, domain)
    gone = not steps.open_steps(inside, domain)
    if gone:
        steps.forget_rows(tx, inside, domain)
    else:
        domain = stored.find(inside, domain.id)
    return Removal(domain, gone, tuple(_consequences(domain, used)), wanted)


def _begin(tx: Transaction, inside: Transaction, domain: Domain, actor: str) -> None:
    for table in (receiver_routes, sender_identities):
        inside.execute(delete(table).where(table.c.domain_id == domain.id))
    inside.execute(delete(addresses).where(addresses.c.domain == domain.name))
    claims.forget_senders(inside, domain)
    inside.execute(
        update(domains)
        .where(domains.c.id == domain.id)
        # The name is free at once: what is left at providers is counted by itself.
        .values(
            removing_at=tx.now,
            verified_at=None,
            receiving_verified_at=None,
            sending_verified_at=None,
            sending_state="pending",
            # Its owner may take another in its place.
            agent_id=None,
            group_id=None,
            retention_days=None,
        )
    )
    steps.plan_removal(inside, domain)
    note(inside, "domain", f"{domain.name} is being removed", actor=actor)
    changed(inside)
    zone_version.changed(tx)
    provider_accounts.changed(tx)


def _consequences(domain: Domain, used: Uses) -> Sequence[str]:
    found = [f"{address} is gone" for address in used.addresses]
    if used.senders:
        found.append(f"{_senders(used.senders)} can log in no more")
    if used.routes:
        word = "forwards" if used.routes == 1 else "forward"
        found.append(f"{_routes(used.routes)} {word} nothing any more")
    if (days := used.retention_days) is not None:
        found.append(
            "what is kept of its mail is kept as the workspace keeps it, and not for "
            f"{days} day{'' if days == 1 else 's'}"
        )
    if domain.mode != "send_only":
        found.append(f"mail for {domain.name} is refused while its MX still leads here")
    if used.waiting:
        found.append(f"{used.waiting} waiting mails will be refused: their From is nobody's")
    found += [f"{name} stays with whoever has verified it" for name in used.grants]
    return found
