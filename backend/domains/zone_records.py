"""What stands in our zone: which records, read from which rows and settings?

The default domain's set: its wildcard gives every workspace MX and SPF, DKIM and DMARC stand at the
domain alone (ARCHITECTURE §5). One place, to be fed by more rows as more is managed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import select

from backend.domains.zone import NameServer, Zone
from mailagent.errors import Misconfigured
from mailagent.identity import DnsRecord
from mailagent.settings import Settings
from mailagent.store.tables import signing_keys, workspaces
from mailagent.store.transaction import Transaction

__all__ = ["zone_of"]

_PREFERENCE = 10


def zone_of(tx: Transaction, settings: Settings) -> Zone:
    """The zone of the default domain as the rows have it now, under the serial 0.

    Raises Misconfigured, Malformed.
    """
    domain = settings.default_email_domain
    servers = [NameServer(*one) for one in settings.dns_name_servers.items()]
    if not servers:
        raise Misconfigured(
            "MAILAGENT_DNS_NAME_SERVERS",
            f"is empty: name the public servers of the zone, like ns1.{domain}=192.0.2.53",
        )
    records = [*_of_domain(settings), *_of_keys(tx, domain), *_of_host(settings, servers)]
    records += _of_hidden_workspaces(tx, settings, {one.name for one in records})
    return Zone.of(domain, records, name_servers=servers, serial=0)


def _of_domain(settings: Settings) -> Iterator[DnsRecord]:
    domain = settings.default_email_domain
    for name in (domain, f"*.{domain}", f"return.{domain}"):
        yield from _mail_at(name, settings)
    yield DnsRecord("TXT", f"_dmarc.{domain}", f"v=DMARC1; p=quarantine; rua=mailto:dmarc@{domain}")
    yield DnsRecord("TXT", f"_smtp._tls.{domain}", f"v=TLSRPTv1; rua=mailto:tls@{domain}")


def _mail_at(name: str, settings: Settings) -> Iterator[DnsRecord]:
    host = settings.mailagent_hostname
    if "." not in host:
        raise Misconfigured(
            "MAILAGENT_HOSTNAME", f"is {host}: name the host that takes the domain's mail"
        )
    yield DnsRecord("MX", name, host, _PREFERENCE)
    yield DnsRecord("TXT", name, f"v=spf1 a:{host} ~all")


def _of_keys(tx: Transaction, domain: str) -> Iterator[DnsRecord]:
    keys = select(signing_keys.c.selector, signing_keys.c.public_record)
    for row in tx.rows(keys.where(signing_keys.c.domain == domain)):
        yield DnsRecord("TXT", f"{row.selector}._domainkey.{domain}", row.public_record)


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
    tx: Transaction, settings: Settings, names: Iterable[str]
) -> Iterator[DnsRecord]:
    """A workspace that the wildcard does not reach, because something stands at or below its name,
    gets the set by itself (RFC 4592 §2.2.1).
    """
    below = f".{settings.default_email_domain}"
    tops = {one.removesuffix(below).rpartition(".")[2] for one in names if one.endswith(below)}
    for row in tx.rows(select(workspaces.c.slug).where(workspaces.c.slug.in_(sorted(tops)))):
        yield from _mail_at(f"{row.slug}{below}", settings)
