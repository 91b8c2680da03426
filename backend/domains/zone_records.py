"""What stands in our zone: which records, read from which rows and settings?

The default domain's set: its wildcard gives every workspace MX and SPF, DKIM and DMARC stand at the
domain alone (ARCHITECTURE §5). Mail comes in by our own server, or by the account that the operator
chose; the accounts that send for it have their SPF terms, return paths and DKIM records there.
Beside it stands what CNAME-managed domains lead to, and what the operator has added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import select

from backend.domains.carriers import Installed
from backend.domains.contributions import Contribution
from backend.domains.infrastructure import accounts_with_our_own
from backend.domains.publishing import delegated
from backend.domains.record import DomainRecord, Place
from backend.domains.records import Extras, default_domain, wildcard_set
from backend.domains.zone import NameServer, Zone, of_servers
from backend.domains.zone_fit import why_not
from mailagent.errors import Misconfigured
from mailagent.identity import DnsRecord
from mailagent.settings import Settings
from mailagent.store import own_records
from mailagent.store.tables import workspaces
from mailagent.store.transaction import Transaction

__all__ = ["Contents", "contents", "zone_of"]

_TOLD_BY_PROVIDERS = frozenset({"dkim", "bounce_mx", "bounce_spf", "return_path", "tracking"})
"""Kinds of records that a provider may name at a name of its choice."""
_SLUGS = select(workspaces.c.slug)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in the zone now, and what had to be left out of it."""

    zone: str
    servers: tuple[NameServer, ...]
    ours: tuple[DnsRecord, ...]
    """What mailagent publishes, the name servers' own records included."""
    added: tuple[DnsRecord, ...]
    """The operator's."""
    left_out: Mapping[DnsRecord, str]
    """Records of providers and of the operator that collide with ours, each with the reason."""
    workspaces: frozenset[str]

    def why_not(self, record: DnsRecord) -> str:
        """Why a record cannot stand beside ours; empty for one that can."""
        return why_not(record, self.ours, zone=self.zone, workspaces=self.workspaces)


def zone_of(tx: Transaction, settings: Settings, installed: Installed) -> Zone:
    """The zone of the default domain as the rows have it now, under the serial 0.

    Raises Misconfigured, Malformed.
    """
    now = contents(tx, settings, installed)
    for record, reason in now.left_out.items():
        log.warning("dns.record_left_out", name=record.name, type=record.type, said=reason)
    return Zone.of(now.zone, (*now.ours, *now.added), name_servers=now.servers, serial=0)


def contents(tx: Transaction, settings: Settings, installed: Installed) -> Contents:
    """Every record of the zone and where it comes from. Raises as `zone_of`."""
    domain, host = settings.default_email_domain, settings.mailagent_hostname
    servers = [NameServer(*one) for one in settings.dns_name_servers.items()]
    if not servers:
        raise Misconfigured(
            "MAILAGENT_DNS_NAME_SERVERS",
            f"is empty: name the public servers of the zone, like ns1.{domain}=192.0.2.53",
        )
    if "." not in host:
        raise Misconfigured(
            "MAILAGENT_HOSTNAME", f"is {host}: name the host that takes the domain's mail"
        )
    place = Place.of(domain, domain)
    accounts = accounts_with_our_own(tx, installed, receive_by=settings.mailagent_dns_mx)
    workspaces = frozenset(row.slug for row in tx.rows(_SLUGS))
    left_out: dict[DnsRecord, str] = {}
    records = [*of_servers(domain, servers), *_of_host(settings, servers)]
    told: list[DnsRecord] = []
    for each in _of_domain(place, accounts):
        (told if each.kind in _TOLD_BY_PROVIDERS else records).append(each.record)
    for record in told:
        if reason := why_not(record, records, zone=domain, workspaces=workspaces):
            left_out[record] = reason
        else:
            records.append(record)
    own = [one.record for one in own_records.stored(tx)]
    left_out |= {
        one: reason
        for one in own
        if (reason := why_not(one, records, zone=domain, workspaces=workspaces))
    }
    added = tuple(one for one in own if one not in left_out)
    below = {one.name for one in (*records, *added)}
    records += _of_hidden_workspaces(workspaces, place, accounts, below)
    # After it: what they lead to is below `return`, which is no workspace's name.
    records += delegated(tx, installed)
    return Contents(domain, tuple(servers), tuple(records), added, left_out, workspaces)


def _of_domain(place: Place, accounts: Sequence[Contribution]) -> Iterator[DomainRecord]:
    extras = Extras(rua=f"dmarc@{place.domain}", tls_rua=f"tls@{place.domain}")
    for each in default_domain(place, accounts, extras=extras):
        if each.kind != "address":  # `_of_host` knows what the name servers say of it
            yield each


def _of_host(settings: Settings, servers: Iterable[NameServer]) -> Iterator[DnsRecord]:
    """The addresses of the MX, if its name lies in the zone and no name server gave them."""
    host, domain = settings.mailagent_hostname, settings.default_email_domain
    if not f".{host}".endswith(f".{domain}") or any(
        one.name == host and one.addresses for one in servers
    ):
        return
    if not settings.public_ips:
        raise Misconfigured(
            "MAILAGENT_PUBLIC_IPS", f"is empty: {host} is in the zone, which must say where it is"
        )
    for address in settings.public_ips:
        yield DnsRecord("AAAA" if ":" in address else "A", host, address)


def _of_hidden_workspaces(
    workspaces: Collection[str],
    place: Place,
    accounts: Sequence[Contribution],
    names: Iterable[str],
) -> Iterator[DnsRecord]:
    """A workspace that the wildcard does not reach, because something stands at or below its name,
    gets the set by itself (RFC 4592 §2.2.1).
    """
    below = f".{place.domain}"
    tops = {one.removesuffix(below).rpartition(".")[2] for one in names if one.endswith(below)}
    for slug in sorted(tops & set(workspaces)):
        for each in wildcard_set(place, slug, accounts):
            yield each.record
