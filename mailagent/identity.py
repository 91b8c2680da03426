"""What does a provider ask of a domain before it sends and receives for it?

A provider that verifies sender domains offers `Identifies`; one that must be told for which domains
mail comes in offers `Collects`. Both speak of exact domain names in lower-case A-labels. Every call
may be repeated: what stands already is not made again, what is gone already is not missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

__all__ = [
    "Collects",
    "CollectsEachHost",
    "DnsRecord",
    "Identifies",
    "Identity",
    "IdentityState",
    "OwnKey",
    "Wish",
]

IdentityState = Literal["pending", "verified", "failed", "unknown"]
"""`failed`: the provider gave up and looks again only when it is asked to."""


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record as it is to be published, whoever publishes it."""

    type: Literal["A", "AAAA", "CNAME", "MX", "NS", "SRV", "TXT"]
    name: str
    """The full name, lower-case A-labels, no final dot."""
    value: str
    """TXT: the joined string (RFC 7208 §3.3); a host name has no final dot."""
    priority: int | None = None
    """Of MX and SRV alone."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A DKIM key that we hold and the provider is given (SES calls it BYODKIM)."""

    selector: str
    private_key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wish:
    """How a domain is to be set up where the provider leaves a choice; elsewhere it says nothing.

    SES takes all of it, Mailgun `dkim_bits` of a new domain and `own_key`, Postmark and SendGrid
    `mail_from` alone (SendGrid one label below the domain, chosen with a new domain).
    """

    mail_from: str | None = None
    """The sub-domain for the reverse-path (`bounce.example.com`); None is the provider's own."""
    dkim_bits: Literal[1024, 2048] = 2048
    own_key: OwnKey | None = None
    """None: the provider makes its own key."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a provider knows of a sender domain."""

    domain: str
    records: tuple[DnsRecord, ...]
    """What this provider wants published, as it gives it; without what it does not look for."""
    sending: IdentityState
    words: Mapping[str, str] = field(default_factory=dict)
    """The provider's own words by their subject (`dkim`, `mail_from`, `spf`), shown as they are."""
    detail: str = ""
    """Why it is not verified, in the provider's words, where it gives any."""


@runtime_checkable
class Identifies(Protocol):
    """An account that verifies domains for sending.

    Every method raises TransientFailure, PermanentFailure or UncertainDelivery by the documented
    answer; after UncertainDelivery the same call may be made again.
    """

    async def identity(self, domain: str) -> Identity | None:
        """What the provider knows now; None where it does not know the domain.

        The record of an `OwnKey` may be missing in it (SES): who holds the key publishes it.
        """
        ...

    async def identify(self, domain: str, wish: Wish) -> Identity:
        """Make the provider know the domain, and say what must be published."""
        ...

    async def resubmit(self, domain: str) -> Identity:
        """Ask the provider to look again; meant for one that said `failed`.

        PermanentFailure for a domain that it does not know, and for one whose `OwnKey` must be
        given again: `identify` with the key does that.
        """
        ...

    async def forget(self, domain: str) -> None:
        """Take the domain away from the account; one that it does not know is no error."""
        ...


@runtime_checkable
class Collects(Protocol):
    """An account that must be told for which domains it takes mail in. Raises as `Identifies`."""

    async def collect(self, domain: str) -> tuple[DnsRecord, ...]:
        """Bring mail for the domain to our webhook, and return what must be published for it.

        PermanentFailure where the domain already belongs to another program, and where the
        provider wants it published first (Postmark).
        """
        ...

    async def collects(self, domain: str) -> bool:
        """Whether mail for the domain is brought to us now."""
        ...

    async def stop_collecting(self, domain: str) -> None:
        """Bring no more mail for the domain; what it does not bring anyway is no error."""
        ...


@runtime_checkable
class CollectsEachHost(Collects, Protocol):
    """A `Collects` without a wildcard: each workspace's domain is collected by itself."""

    async def collected(self) -> Sequence[str]:
        """Every domain whose mail it brings to our webhook now."""
        ...
