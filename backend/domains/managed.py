"""What does a domain publish that lets us keep its mail records, and what stands behind that?

The owner publishes CNAMEs into a zone of ours once; keys rotate and SPF changes behind them. Only
below the domain: at the domain itself a CNAME would take every other record's place (RFC 2181
§10.1), so its MX stays a plain record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.domains.contributions import Contribution, Key
from backend.domains.record import DomainRecord, Place, in_order
from backend.domains.records import Extras, Mode, mail_records, sides, spf_record
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord

__all__ = ["Delegation", "managed_domain"]

_SELECTORS = 2
"""One key signs while its successor is published and waits out the TTL."""


@dataclass(frozen=True, slots=True)
class Delegation:
    """A domain's own place in a zone of ours."""

    base: str
    """The name that is the domain's alone, such as `k3f9.return.aexy.email`."""
    mail_host: str
    """Our MX host, to which bounces come back."""
    spf: tuple[str, ...]
    """Terms by which our hosts may send with the return path."""
    keys: tuple[Key, ...]
    """Two: the signing one and the next, or the last."""


def managed_domain(
    place: Place,
    mode: Mode,
    delegation: Delegation,
    accounts: Sequence[Contribution] = (),
    *,
    extras: Extras | None = None,
) -> tuple[tuple[DomainRecord, ...], tuple[DnsRecord, ...]]:
    """What the owner publishes, and what stands behind it in our zone.

    `accounts` give the MX in receiving modes. The CNAME `aexy.<domain>` leads to a name that is
    this domain's alone, so it proves ownership and no TXT is asked. Raises Malformed when there are
    not two keys.
    """
    if len({key.selector for key in delegation.keys}) != _SELECTORS:
        raise Malformed("keys", f"a managed domain has {_SELECTORS} selectors, for rotation")
    ours = _behind(delegation)
    found: list[DomainRecord] = [_verification(place, mode, ours)]
    if mode != "receive_only":
        found += [_dkim(place, key, delegation.base) for key in delegation.keys]
    receiving = [_receiving_alone(each) for each in accounts]
    for each in mail_records(place, mode, receiving, extras or Extras()):
        # The three CNAMEs are all that must be: the policy is advised, ours does not depend on it.
        found.append(replace(each, needed_for=()) if each.kind == "dmarc" else each)
    return in_order(found), ours


def _verification(place: Place, mode: Mode, ours: Sequence[DnsRecord]) -> DomainRecord:
    name = f"aexy.{place.domain}"
    target = ours[0].name
    return DomainRecord(
        DnsRecord("CNAME", name, target),
        "verification",
        "Ownership",
        place,
        "proves that the domain is yours, and is the return path of what you send",
        sides(mode),
        behind=tuple(replace(each, name=name) for each in ours if each.name == target),
    )


def _dkim(place: Place, key: Key, base: str) -> DomainRecord:
    name = f"{key.selector}._domainkey.{place.domain}"
    return DomainRecord(
        DnsRecord("CNAME", name, _key_name(key, base)),
        "dkim",
        "Send",
        place,
        "leads to a key that we keep and rotate, by which your mail is proven to be yours",
        ("sending",),
        behind=(DnsRecord("TXT", name, key.public_record),),
    )


def _behind(delegation: Delegation) -> tuple[DnsRecord, ...]:
    base = delegation.base
    return (
        DnsRecord("MX", base, delegation.mail_host, 10),
        DnsRecord("TXT", base, spf_record(delegation.spf)),
        *(DnsRecord("TXT", _key_name(key, base), key.public_record) for key in delegation.keys),
    )


def _key_name(key: Key, base: str) -> str:
    return f"{key.selector}._domainkey.{base}"


def _receiving_alone(account: Contribution) -> Contribution:
    return replace(account, spf=(), dkim=(), bounces=(), tracking=())
