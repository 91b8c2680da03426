"""What stands in our zone: which records, read from which rows and settings?

The default domain's set: its wildcard gives every workspace MX and SPF, DKIM and DMARC stand at the
domain alone (ARCHITECTURE §5). Our own server takes its mail in; the accounts that send for it have
their SPF terms and return paths there. Beside it stands what CNAME-managed domains lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import select

from backend.domains.carriers import Installed
from backend.domains.contributions import Contribution
from backend.domains.infrastructure import accounts_with_our_own
from backend.domains.publishing import delegated
from backend.domains.record import Place
from backend.domains.records import Extras, default_domain, wildcard_set
from backend.domains.zone import NameServer, Zone
from mailagent.errors import Misconfigured
from mailagent.identity import DnsRecord
from mailagent.settings import Settings
from mailagent.store.tables import workspaces
from mailagent.store.transaction import Transaction

__all__ = ["zone_of"]


def zone_of(tx: Transaction, settings: Settings, installed: Installed) -> Zone:
    """The zone of the default domain as the rows have it now, under the serial 0.

    Raises Misconfigured, Malformed.
    """
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
    place, accounts = Place.of(domain, domain), accounts_with_our_own(tx, installed)
    records = [*_of_domain(place, accounts), *_of_host(settings, servers)]
    records += _of_hidden_workspaces(tx, place, accounts, {one.name for one in records})
    # After it: what they lead to is below `return`, which is no workspace's name.
    records += delegated(tx, installed)
    return Zone.of(domain, records, name_servers=servers, serial=0)


def _of_domain(place: Place, accounts: Sequence[Contribution]) -> Iterator[DnsRecord]:
    extras = Extras(rua=f"dmarc@{place.domain}", tls_rua=f"tls@{place.domain}")
    for each in default_domain(place, accounts, extras=extras):
        if each.kind != "address":  # `_of_host` knows what the name servers say of it
            yield each.record


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
    tx: Transaction, place: Place, accounts: Sequence[Contribution], names: Iterable[str]
) -> Iterator[DnsRecord]:
    """A workspace that the wildcard does not reach, because something stands at or below its name,
    gets the set by itself (RFC 4592 §2.2.1).
    """
    below = f".{place.domain}"
    tops = {one.removesuffix(below).rpartition(".")[2] for one in names if one.endswith(below)}
    for row in tx.rows(select(workspaces.c.slug).where(workspaces.c.slug.in_(sorted(tops)))):
        for each in wildcard_set(place, row.slug, accounts):
            yield each.record
