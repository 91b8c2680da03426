"""What is one record that a domain must publish, and under which names do people type it in?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from mailagent.authentication.dmarc_record import registrable_domain
from mailagent.dns_answers import ascii_name
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord

__all__ = [
    "GROUPS",
    "TTL",
    "DomainRecord",
    "Group",
    "Kind",
    "Place",
    "Side",
    "checked_domain",
    "in_order",
]

Group = Literal["Ownership", "Receive", "Send", "Bounces", "Policy"]
Side = Literal["receiving", "sending"]
Kind = Literal[
    "ownership",
    "verification",
    "mx",
    "spf",
    "dkim",
    "dmarc",
    "bounce_mx",
    "bounce_spf",
    "return_path",
    "address",
    "tls_rpt",
    "mta_sts",
    "mta_sts_host",
    "tracking",
    "kept",
]
"""What a record is for; verification judges each kind by its own rules. `kept` stands already."""

GROUPS: tuple[Group, ...] = get_args(Group)
"""In the order in which people set a domain up."""

TTL = 300
"""Seconds; short while a domain is set up, so that a mistake is mended within five minutes."""


@dataclass(frozen=True, slots=True)
class Place:
    """A domain and the names above it by which its records are typed in. All are A-labels."""

    domain: str
    apex: str
    """The registered domain (public suffix list): `example.com` of `mail.example.com`."""
    zone: str
    """The zone cut: what the domain's name servers serve, the domain itself or a name above."""

    @classmethod
    def of(cls, domain: str, zone: str | None = None) -> Place:
        """The place of a domain; without a known zone cut that is the registered domain.

        Raises Malformed when `domain` is no domain name, or `zone` is not at or above it.
        """
        name = checked_domain("domain", domain)
        apex = registrable_domain(name)
        if zone is None:
            return cls(name, apex, apex)
        cut = checked_domain("zone", zone)
        if not _below(name, cut):
            raise Malformed("zone", f"{cut} is not at or above {name}")
        return cls(name, apex, cut)


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """One record to publish: what to type, where, and why."""

    record: DnsRecord
    kind: Kind
    group: Group
    place: Place
    purpose: str
    """For the person who types it in."""
    needed_for: tuple[Side, ...]
    """What waits for it; empty: recommended, and nothing ever waits."""
    ttl: int = TTL
    """Seconds."""
    behind: tuple[DnsRecord, ...] = ()
    """Of a CNAME into a zone of ours: what must be found through it, by the name of the CNAME."""

    @property
    def required(self) -> bool:
        """Whether receiving or sending waits for it."""
        return bool(self.needed_for)

    @property
    def name(self) -> str:
        """The full name, without a final dot."""
        return self.record.name

    @property
    def name_below_apex(self) -> str:
        """The name relative to the registered domain, `@` for itself."""
        return _relative(self.record.name, self.place.apex)

    @property
    def name_below_zone(self) -> str:
        """The name relative to the zone cut, `@` for itself: what most DNS hosts ask for."""
        return _relative(self.record.name, self.place.zone)

    @property
    def text(self) -> str:
        """The value as DNS tools show it, an MX with its priority."""
        if self.record.priority is None:
            return self.record.value
        return f"{self.record.priority} {self.record.value}"


def checked_domain(field: str, name: str) -> str:
    """A domain name of two labels or more in lower-case A-labels. Raises Malformed."""
    ascii_ = ascii_name(name.strip())
    if ascii_ is None or "." not in ascii_:
        raise Malformed(field, f"{name!r} is not a domain name: write it like mail.example.com")
    return ascii_


def in_order(records: Iterable[DomainRecord]) -> tuple[DomainRecord, ...]:
    """A set by its groups, each name, type and value once; of two the one that is needed more."""
    first: dict[tuple[str, str, str], DomainRecord] = {}
    for each in records:
        key = (each.record.type, each.record.name, each.record.value.lower())
        known = first.get(key)
        if known is None or len(each.needed_for) > len(known.needed_for):
            first[key] = each
    return tuple(sorted(first.values(), key=lambda each: GROUPS.index(each.group)))


def _relative(name: str, above: str) -> str:
    if name == above:
        return "@"
    return name.removesuffix(f".{above}")


def _below(name: str, above: str) -> bool:
    return name == above or name.endswith(f".{above}")
