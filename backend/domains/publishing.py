"""What must this domain publish, as its rows stand now?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import select

from backend.domains import stored
from backend.domains.carriers import Installed, contributions, identity_from_json, titles
from backend.domains.contributions import Key
from backend.domains.managed import Delegation, managed_domain
from backend.domains.record import DomainRecord, Place
from backend.domains.records import Extras, custom_domain
from backend.domains.stored import Domain
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord, Identity
from mailagent.store import signing_keys
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction

__all__ = ["Expected", "base_of", "delegated", "expected"]

REVOKED = "v=DKIM1; p="
"""RFC 6376 §3.6.1: an empty key is a revoked one."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Expected:
    """The set of a domain, and what stands behind it in our own zone."""

    records: tuple[DomainRecord, ...]
    behind: tuple[DnsRecord, ...]
    """For our zone; empty unless the records are CNAME-managed."""
    identities: Mapping[str, Identity]
    """What accounts have answered, by account: those that verify senders."""
    asked: tuple[str, ...]
    """The accounts that verify the domain, answered or not."""


def expected(tx: Transaction, installed: Installed, domain: Domain, *, zone: str = "") -> Expected:
    """The set of one domain. `zone` is its zone cut where that is known."""
    place = Place.of(domain.name, zone or domain.choices.zone or None)
    rows = stored.identities(tx, domain)
    answers = {(row.account, row.side): row.answer for row in rows}
    keys = [
        Key(one.selector, REVOKED if one.status == "retired" else one.public_record)
        for one in signing_keys.published(tx, domain.name)
    ]
    accounts = contributions(installed, domain, keys, answers)
    extras = Extras()
    behind: tuple[DnsRecord, ...] = ()
    if domain.delegation == "cname":
        terms = tuple(dict.fromkeys(term for one in accounts for term in one.spf))
        delegation = Delegation(
            base_of(domain, installed.default_domain), installed.hostname, terms, tuple(keys)
        )
        records, behind = managed_domain(place, domain.mode, delegation, accounts, extras=extras)
    else:
        records = custom_domain(place, domain.mode, accounts, token=domain.token, extras=extras)
    sending = {row.account: row.answer for row in rows if row.side == "sending"}
    words = titles(installed, sending)
    return Expected(
        records,
        behind,
        {
            words.get(account, account): identity_from_json(answer)
            for account, answer in sending.items()
            if answer is not None
        },
        tuple(sending),
    )


def delegated(tx: Transaction, installed: Installed) -> tuple[DnsRecord, ...]:
    """What stands in our zone behind the CNAMEs of every workspace (unscoped transaction).

    A domain whose set cannot be made is left out, and logged: one must not keep the zone from all.
    """
    rows = tx.rows(
        select(domains)
        .where(domains.c.delegation == "cname", domains.c.removing_at.is_(None))
        .order_by(domains.c.id)
    )
    found: list[DnsRecord] = []
    for row in rows:
        try:
            found += expected(tx.of(row.workspace_id), installed, stored.made(row)).behind
        except Malformed as error:
            log.warning("dns.domain_left_out", domain=row.name, said=str(error))
    return tuple(found)


def base_of(domain: Domain, default_domain: str) -> str:
    """The name in our zone that is this domain's alone."""
    return f"{domain.token.lower()[:16]}.return.{default_domain}"
