"""What does a person type into which field of their DNS host's page?

Chosen by the name servers of the zone. A host that is not in the table gets the plain words. Titles
of fields are those of the hosts' help pages; a page that changed costs a word, not a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backend.domains.record import DomainRecord
from backend.domains.zone_text import quoted

__all__ = ["HOSTS", "DnsHost", "Step", "dns_host", "instructions"]


@dataclass(frozen=True, slots=True)
class DnsHost:
    """How one DNS host asks for a record."""

    title: str
    name_servers: tuple[str, ...] = ()
    """Ends of its name servers' names; `awsdns-` is a beginning."""
    where: str = "Open the DNS records of {zone} and add a record."
    type_title: str = "Type"
    name_title: str = "Name"
    value_titles: Mapping[str, str] = field(default_factory=dict)
    """By record type; `Value` for the rest."""
    priority_title: str = "Priority"
    """Empty: the priority stands before the host, in the value."""
    ttl_title: str = "TTL"
    ttl_text: str = "{ttl}"
    at_apex: str = "@"
    """What is typed for the zone itself."""
    quotes_txt: bool = False
    """Whether TXT is typed in quotation marks, in strings of 255 octets."""
    final_dot: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
    """Advice by record type; `` for every record."""


@dataclass(frozen=True, slots=True)
class Step:
    """One record as it is typed in."""

    record: DomainRecord
    fields: tuple[tuple[str, str], ...]
    """(title of the field, what to type), in the order of the page."""
    notes: tuple[str, ...]


_PLAIN = DnsHost(
    "your DNS host",
    notes={
        "": "Most hosts append {zone} to the name by themselves: type it as shown, not in full.",
        "TXT": "Without quotation marks, unless the page says that it wants them.",
    },
)

HOSTS: tuple[DnsHost, ...] = (
    DnsHost(
        "Cloudflare",
        ("ns.cloudflare.com",),
        where="Open {zone}, then DNS › Records › Add record.",
        value_titles={
            "CNAME": "Target",
            "MX": "Mail server",
            "TXT": "Content",
            "A": "IPv4 address",
            "AAAA": "IPv6 address",
        },
        ttl_text="Auto",
        notes={
            "CNAME": "Set Proxy status to DNS only (grey cloud).",
            "A": "Set Proxy status to DNS only (grey cloud).",
            "AAAA": "Set Proxy status to DNS only (grey cloud).",
        },
    ),
    DnsHost(
        "Amazon Route 53",
        ("awsdns-",),
        where="Open Hosted zones › {zone} › Create record.",
        type_title="Record type",
        name_title="Record name",
        priority_title="",
        ttl_title="TTL (seconds)",
        at_apex="",
        quotes_txt=True,
        notes={
            "TXT": "With the quotation marks; several strings stand on one line with a space "
            "between. Another TXT record of the same name: add a line to it.",
            "MX": "Several MX of one name are lines of one record.",
        },
    ),
    DnsHost(
        "GoDaddy",
        ("domaincontrol.com",),
        where="Open Domain Portfolio › {zone} › DNS › Add New Record.",
        ttl_text="Custom, {ttl} (or the smallest offered)",
        notes={"": "GoDaddy appends {zone}: type the name as shown, never in full."},
    ),
    DnsHost(
        "Namecheap",
        ("registrar-servers.com",),
        where="Open Domain List › Manage › Advanced DNS › Add New Record.",
        name_title="Host",
        ttl_text="5 min",
        notes={
            "": "Namecheap appends {zone}: type the host as shown, never in full.",
            "MX": "Set Mail Settings to Custom MX first; it replaces the MX that stand there.",
        },
    ),
    DnsHost(
        "Google Cloud DNS",
        ("googledomains.com",),
        where="Open Network services › Cloud DNS › {zone} › Add standard.",
        type_title="Resource record type",
        name_title="DNS name",
        value_titles={"CNAME": "Canonical name", "TXT": "TXT data", "MX": "Preference and server"},
        priority_title="",
        at_apex="",
        quotes_txt=True,
        final_dot=True,
        notes={"TXT": "With the quotation marks, several strings with a space between."},
    ),
    DnsHost(
        "Squarespace Domains",
        ("squarespacedns.com",),
        where="Open Domains › {zone} › DNS › Custom records › Add record.",
        name_title="Host",
        value_titles={"CNAME": "Alias data", "TXT": "Text", "MX": "Mail server"},
    ),
    DnsHost(
        "DigitalOcean",
        ("digitalocean.com",),
        where="Open Networking › Domains › {zone}.",
        name_title="Hostname",
        value_titles={"CNAME": "Is an alias of", "MX": "Mail providers mail server"},
        ttl_title="TTL (seconds)",
        final_dot=True,
    ),
    DnsHost(
        "Hetzner DNS",
        ("ns.hetzner.com", "ns.hetzner.de"),
        where="Open {zone} in the DNS console › Records › Add record.",
        priority_title="",
        final_dot=True,
        quotes_txt=True,
    ),
    DnsHost(
        "Gandi",
        ("gandi.net",),
        where="Open {zone} › DNS Records › Add record.",
        value_titles={"CNAME": "Hostname", "MX": "Mail server", "TXT": "Text value"},
        final_dot=True,
    ),
    DnsHost(
        "IONOS",
        ("ui-dns.com", "ui-dns.de", "ui-dns.org", "ui-dns.biz"),
        where="Open Domains & SSL › {zone} › DNS › Add record.",
        name_title="Host name",
        value_titles={"CNAME": "Points to", "MX": "Points to"},
    ),
    DnsHost(
        "Azure DNS",
        ("azure-dns.com", "azure-dns.net", "azure-dns.org", "azure-dns.info"),
        where="Open DNS zones › {zone} › Recordsets › Add.",
        value_titles={"CNAME": "Alias", "MX": "Mail exchange"},
        priority_title="Preference",
    ),
)


def dns_host(name_servers: Iterable[str]) -> DnsHost:
    """The host that all of a zone's name servers belong to; plain words for any other."""
    named = [name.lower().removesuffix(".") for name in name_servers]
    for host in HOSTS:
        if named and all(_serves(host, name) for name in named):
            return host
    return _PLAIN


def instructions(host: DnsHost, records: Sequence[DomainRecord]) -> tuple[Step, ...]:
    """What to type for each record at this host."""
    return tuple(_step(host, each) for each in records)


def _serves(host: DnsHost, name: str) -> bool:
    return any(
        f"{end}" in name if end.endswith("-") else name.endswith(f".{end}")
        for end in host.name_servers
    )


def _step(host: DnsHost, each: DomainRecord) -> Step:
    type_, zone = each.record.type, each.place.zone
    name = each.name_below_zone
    fields = [
        (host.type_title, type_),
        (host.name_title, host.at_apex if name == "@" else name),
    ]
    if each.record.priority is not None and host.priority_title:
        fields.append((host.priority_title, str(each.record.priority)))
    fields.append((host.value_titles.get(type_, "Value"), _value(host, each)))
    fields.append((host.ttl_title, host.ttl_text.format(ttl=each.ttl)))
    notes = [host.where, host.notes.get("", ""), host.notes.get(type_, "")]
    return Step(each, tuple(fields), tuple(note.format(zone=zone) for note in notes if note))


def _value(host: DnsHost, each: DomainRecord) -> str:
    record = each.record
    if record.type == "TXT":
        return quoted(record.value) if host.quotes_txt else record.value
    dot = "." if host.final_dot and record.type in ("CNAME", "MX", "NS", "SRV") else ""
    level = f"{record.priority} " if record.priority is not None and not host.priority_title else ""
    return f"{level}{record.value}{dot}"
