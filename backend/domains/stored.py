"""How does a domain stand in the database?

A row is a claim of one workspace on one name, its life (`life`), and its own queue entry: `CHECKS`.
All functions take the workspace's own transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import or_, select, update

from backend.domains.life import Life
from backend.domains.record import checked_domain
from backend.domains.records import Mode
from mailagent.errors import Malformed, NotFound
from mailagent.store.tables import domain_checks, domain_identities, domain_steps, domains
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Queue

__all__ = [
    "CHECKS",
    "STEPS",
    "Choices",
    "Delegation",
    "Domain",
    "WantedAddress",
    "choose",
    "find",
    "life_columns",
    "listed",
    "made",
]

CHECKS = Queue(
    "domains",
    domains,
    domains.c.state.in_(["pending", "verifying", "verified"]) & domains.c.removing_at.is_(None),
)
STEPS = Queue("domain_steps", domain_steps, domain_steps.c.state == "due")

Delegation = Literal["records", "cname"]


@dataclass(frozen=True, slots=True)
class WantedAddress:
    """An address that an agent gets when the domain is the workspace's."""

    agent_id: str
    local_part: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen for a domain; the JSON of `domains.settings`."""

    carried_by: tuple[str, ...] = ()
    """Provider accounts; empty is our own server."""
    receive_by: str = ""
    """The account whose MX the domain has; empty is our own server."""
    while_pending: Literal["wait", "go_on"] = "wait"
    """What its mail does while it is pending again after it was verified."""
    until_verified: Literal["default", "wait"] = "default"
    """Agents answer from their default address until it may send, or their mail waits."""
    zone: str = ""
    """The zone cut that the last look found; empty before one did."""
    wanted: tuple[WantedAddress, ...] = ()
    warnings: tuple[str, ...] = ()
    """What the person who added it was told, in sentences."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Choices:
        """The choices of a row; what another version wrote is left out."""
        names = {each.name for each in fields(cls)}
        known = {name: value for name, value in stored.items() if name in names}
        for name in ("carried_by", "warnings"):
            known[name] = tuple(known.get(name, ()))
        known["wanted"] = tuple(WantedAddress(**each) for each in known.get("wanted", ()))
        return cls(**known)

    def stored(self) -> dict[str, Any]:
        """As JSON. The two that `flow.sender_domains` reads are always there."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Domain:
    """One workspace's domain. Times are aware."""

    id: str
    workspace_id: str
    name: str
    """A-labels."""
    mode: Mode
    delegation: Delegation
    token: str = field(repr=False)
    region: str | None
    """`US` or `EU`, where all that carry it work; None for a domain that may go anywhere."""
    life: Life
    choices: Choices
    held: frozenset[str]
    """Keys of the records that were right when it was last verified."""
    verdict: Mapping[str, Any] | None
    """The last look, as `judging` writes it; None before the first."""
    created_at: datetime
    verified_at: datetime | None
    checked_at: datetime | None
    next_look: datetime | None
    removing_at: datetime | None

    @property
    def unicode_name(self) -> str:
        """The name for people (RFC 5890 U-labels)."""
        try:
            return self.name.encode("ascii").decode("idna")
        except UnicodeError:
            return self.name


def find(tx: Transaction, reference: str) -> Domain:
    """The domain of an id or name, in A- or U-labels. Raises NotFound."""
    try:
        name = checked_domain("domain", reference)
    except Malformed:
        name = reference
    row = tx.row(select(domains).where(or_(domains.c.id == reference, domains.c.name == name)))
    if row is None:
        raise NotFound(f"the workspace has no domain {reference[:253]!r}: mailagent domain list")
    return made(row)


def listed(tx: Transaction) -> tuple[Domain, ...]:
    """The workspace's domains by name."""
    return tuple(map(made, tx.rows(select(domains).order_by(domains.c.name))))


def made(row: AnyRow) -> Domain:
    """The domain of a row."""
    life = Life(
        state=row.state,
        pending_since=row.pending_since or row.created_at,
        next_cycle=row.next_cycle_at or row.created_at,
        failures=row.failures,
        fast_checks=row.fast_checks,
        told_slow=row.told_slow,
        receiving_since=row.receiving_verified_at,
        sending_since=row.sending_verified_at,
        sending=row.sending_state,
    )
    return Domain(
        id=row.id,
        workspace_id=row.workspace_id,
        name=row.name,
        mode=row.mode,
        delegation=row.delegation,
        token=row.token,
        region=row.region,
        life=life,
        choices=Choices.of(row.settings),
        held=frozenset(row.held_records),
        verdict=row.verdict,
        created_at=row.created_at,
        verified_at=row.verified_at,
        checked_at=row.checked_at,
        next_look=row.not_before if life.scheduled and row.removing_at is None else None,
        removing_at=row.removing_at,
    )


def life_columns(life: Life) -> dict[str, Any]:
    """The columns of a life."""
    return {
        "state": life.state,
        "pending_since": life.pending_since,
        "next_cycle_at": life.next_cycle,
        "failures": life.failures,
        "fast_checks": life.fast_checks,
        "told_slow": life.told_slow,
        "receiving_verified_at": life.receiving_since,
        "sending_verified_at": life.sending_since,
        "sending_state": life.sending,
    }


def choose(tx: Transaction, domain: Domain, **changes: Any) -> Domain:
    """Write other choices."""
    choices = replace(domain.choices, **changes)
    tx.execute(update(domains).where(domains.c.id == domain.id).values(settings=choices.stored()))
    return replace(domain, choices=choices)


def identities(tx: Transaction, domain: Domain) -> Sequence[AnyRow]:
    """What providers answered about the domain: rows of (account, side, answer)."""
    table = domain_identities.c
    return tx.rows(
        select(domain_identities)
        .where(table.domain_id == domain.id)
        .order_by(table.account, table.side)
    )


def steps(tx: Transaction, domain: Domain) -> Sequence[AnyRow]:
    """What is, or was, to be done at providers for the domain."""
    table = domain_steps.c
    return tx.rows(
        select(domain_steps).where(table.domain_id == domain.id).order_by(table.created_at)
    )


def history(tx: Transaction, domain: Domain, *, limit: int = 50) -> Sequence[AnyRow]:
    """The last looks, the newest first."""
    table = domain_checks.c
    return tx.rows(
        select(domain_checks)
        .where(table.domain_id == domain.id)
        .order_by(table.at.desc(), table.id.desc())
        .limit(limit)
    )
