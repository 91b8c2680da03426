"""What must a domain publish, as one set for all accounts that carry its mail?

Pure: tokens, keys and what the providers ask are handed in. One SPF record has every account's
terms, one DMARC record (RFC 9989: no `pct`) stands for all, every account's DKIM stands beside the
others. Names that hide the default domain's wildcard get a set of their own (RFC 4592 §4.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from backend.domains.contributions import Contribution
from backend.domains.record import DomainRecord, Kind, Place, Side, in_order
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord
from mailagent.mail import DmarcPolicy

__all__ = [
    "Extras",
    "Mode",
    "custom_domain",
    "default_domain",
    "mail_records",
    "ownership_record",
    "sides",
    "spf_record",
    "wildcard_set",
    "workspace_domain",
]

Mode = Literal["send_only", "send_receive", "receive_only"]

_BOTH: tuple[Side, ...] = ("receiving", "sending")
_SENDING: tuple[Side, ...] = ("sending",)
_RECEIVING: tuple[Side, ...] = ("receiving",)


@dataclass(frozen=True, slots=True)
class Extras:
    """What an operator may add to a set; empty values add nothing."""

    policy: DmarcPolicy = "quarantine"
    """DMARC's `p`."""
    rua: str = ""
    """An address for DMARC aggregate reports (RFC 9990)."""
    tls_rua: str = ""
    """An address for reports of failed TLS (RFC 8460)."""
    mta_sts_id: str = ""
    """1-32 letters and digits that change with the policy (RFC 8461 §3.1)."""
    mta_sts_host: str = ""
    """The host that serves the policy, as a CNAME from `mta-sts.<domain>`."""
    tracking_host: str = ""
    """The host that follows links, as a CNAME from `track.<domain>`."""


def custom_domain(
    place: Place,
    mode: Mode,
    accounts: Sequence[Contribution],
    *,
    token: str,
    extras: Extras | None = None,
) -> tuple[DomainRecord, ...]:
    """Everything to publish for a domain that somebody brings, by plain records.

    Each account's MX are taken in receiving modes: leave out those of accounts that only send
    (`Contribution.sending_only`).
    """
    owned = ownership_record(place, token, sides(mode))
    return in_order((owned, *mail_records(place, mode, accounts, extras or Extras())))


def mail_records(
    place: Place, mode: Mode, accounts: Sequence[Contribution], extras: Extras
) -> tuple[DomainRecord, ...]:
    """What a domain of somebody's publishes beside the proof that it is theirs."""
    found: list[DomainRecord] = []
    if mode != "send_only":
        found += _receiving(place, accounts)
        found += _transport_policy(place, extras)
    if mode != "receive_only":
        found += _sending(place, accounts)
        found.append(_dmarc(place, extras, below=False))
        found += _tracking(place, accounts, extras)
    return in_order(found)


def default_domain(
    place: Place, accounts: Sequence[Contribution], *, extras: Extras | None = None
) -> tuple[DomainRecord, ...]:
    """Everything to publish for the domain under which each workspace has its own.

    MX and SPF stand at the domain and at its wildcard, DKIM and DMARC at the domain alone: mail of
    every workspace is signed with `d=` of the domain and aligned relaxed. No `psd`, which would
    make each workspace an organisation of its own and break that.
    """
    extras = extras or Extras()
    found = [*_receiving(place, accounts), *_sending(place, accounts)]
    for each in tuple(found):
        if each.kind in ("mx", "spf") and each.name == place.domain:
            record = replace(each.record, name=f"*.{place.domain}")
            purpose = f"{each.purpose}, for every workspace"
            found.append(replace(each, record=record, purpose=purpose))
    found.append(_dmarc(place, extras, below=True))
    found += _transport_policy(place, extras)
    found += _tracking(place, accounts, extras)
    return in_order(found)


def workspace_domain(
    default: Place,
    slug: str,
    accounts: Sequence[Contribution],
    *,
    beside: Iterable[DnsRecord] = (),
) -> tuple[DomainRecord, ...]:
    """What a workspace under the default domain needs beside the wildcard: mostly nothing.

    `beside` are records that must stand at or below its name for other reasons. Any one of them
    hides the wildcard there, so that the name needs the whole set. Raises Malformed for a record
    outside the workspace's name.
    """
    name = f"{slug}.{default.domain}"
    place = replace(default, domain=name)
    kept: list[DomainRecord] = []
    for record in beside:
        if record.name != name and not record.name.endswith(f".{name}"):
            raise Malformed("beside", f"{record.name} is not at or below {name}")
        purpose = "stands here already, and hides the wildcard"
        kept.append(DomainRecord(record, "kept", "Policy", place, purpose, ()))
    return in_order((*wildcard_set(default, slug, accounts), *kept)) if kept else ()


def wildcard_set(
    default: Place, slug: str, accounts: Sequence[Contribution]
) -> tuple[DomainRecord, ...]:
    """What must be found at a workspace's name, by the wildcard or by records of its own."""
    place = replace(default, domain=f"{slug}.{default.domain}")
    moved = [
        replace(
            account,
            receiving=tuple(replace(mx, name=place.domain) for mx in account.receiving),
            addresses=(),
        )
        for account in accounts
    ]
    return in_order((*_receiving(place, moved), *_spf(place, moved)))


def ownership_record(
    place: Place, token: str, needed_for: tuple[Side, ...] = _BOTH
) -> DomainRecord:
    """The TXT record that proves the domain to be its adder's."""
    record = DnsRecord("TXT", f"_aexy-verification.{place.domain}", f"aexy-verify={token}")
    return DomainRecord(
        record,
        "ownership",
        "Ownership",
        place,
        "proves that the domain is yours; it is your workspace's alone",
        needed_for,
    )


def spf_record(terms: Iterable[str]) -> str:
    """One SPF record of these terms (RFC 7208). `~all`: DMARC decides about the rest, not SPF."""
    return " ".join(("v=spf1", *dict.fromkeys(terms), "~all"))


def _receiving(place: Place, accounts: Sequence[Contribution]) -> list[DomainRecord]:
    found: list[DomainRecord] = []
    for account in accounts:
        for mx in account.receiving:
            purpose = f"brings mail for {place.domain} to {account.title}"
            found.append(DomainRecord(mx, "mx", "Receive", place, purpose, _RECEIVING))
        for address in account.addresses:
            purpose = "the address of the host that the MX names"
            found.append(DomainRecord(address, "address", "Receive", place, purpose, _RECEIVING))
    return found


def _sending(place: Place, accounts: Sequence[Contribution]) -> list[DomainRecord]:
    found = _spf(place, accounts)
    for account in accounts:
        for key in account.dkim:
            purpose = f"the key by which mail sent through {account.title} is proven to be yours"
            found.append(DomainRecord(key, "dkim", "Send", place, purpose, _SENDING))
    for account in accounts:
        for bounce in account.bounces:
            kind, purpose = _bounce(bounce, account.title)
            found.append(DomainRecord(bounce, kind, "Bounces", place, purpose, _SENDING))
    return found


def _spf(place: Place, accounts: Sequence[Contribution]) -> list[DomainRecord]:
    terms = [term for account in accounts for term in account.spf]
    if not terms:
        return []
    titles = ", ".join(dict.fromkeys(account.title for account in accounts if account.spf))
    record = DnsRecord("TXT", place.domain, spf_record(terms))
    purpose = f"lets {titles} send for {place.domain}; a domain has one such record for all"
    required = any(account.spf_required for account in accounts if account.spf)
    return [DomainRecord(record, "spf", "Send", place, purpose, _SENDING if required else ())]


def _bounce(record: DnsRecord, title: str) -> tuple[Kind, str]:
    match record.type:
        case "MX":
            return "bounce_mx", f"brings bounces of mail sent through {title} back"
        case "TXT":
            return "bounce_spf", f"lets {title} send with this name as the return path"
        case _:
            return "return_path", f"makes the return path of mail sent through {title} yours"


def _dmarc(place: Place, extras: Extras, *, below: bool) -> DomainRecord:
    tags = ["v=DMARC1", f"p={extras.policy}"]
    if below:
        tags.append(f"sp={extras.policy}")
    if extras.rua:
        tags.append(f"rua=mailto:{extras.rua}")
    record = DnsRecord("TXT", f"_dmarc.{place.domain}", "; ".join(tags))
    purpose = "tells receivers what to do with mail that only pretends to be yours"
    return DomainRecord(record, "dmarc", "Policy", place, purpose, _SENDING)


def _transport_policy(place: Place, extras: Extras) -> list[DomainRecord]:
    found: list[DomainRecord] = []
    if extras.tls_rua:
        record = DnsRecord(
            "TXT", f"_smtp._tls.{place.domain}", f"v=TLSRPTv1; rua=mailto:{extras.tls_rua}"
        )
        purpose = "has senders report when TLS to your mail server fails"
        found.append(DomainRecord(record, "tls_rpt", "Policy", place, purpose, ()))
    if extras.mta_sts_id and extras.mta_sts_host:
        policy = DnsRecord("TXT", f"_mta-sts.{place.domain}", f"v=STSv1; id={extras.mta_sts_id};")
        host = DnsRecord("CNAME", f"mta-sts.{place.domain}", extras.mta_sts_host)
        purpose = "tells senders that a policy asks them for TLS"
        found.append(DomainRecord(policy, "mta_sts", "Policy", place, purpose, ()))
        purpose = "leads to the server that shows that policy"
        if host.name != host.value:
            found.append(DomainRecord(host, "mta_sts_host", "Policy", place, purpose, ()))
    return found


def _tracking(place: Place, accounts: Sequence[Contribution], extras: Extras) -> list[DomainRecord]:
    wanted = [record for account in accounts for record in account.tracking]
    if extras.tracking_host:
        wanted.append(DnsRecord("CNAME", f"track.{place.domain}", extras.tracking_host))
    purpose = "for links that count clicks; mail flows without it"
    return [
        DomainRecord(record, "tracking", "Send", place, purpose, ())
        for record in wanted
        # The host itself has addresses, which are its operator's affair.
        if record.name != record.value
    ]


def sides(mode: Mode) -> tuple[Side, ...]:
    """What a domain in this mode does."""
    match mode:
        case "send_only":
            return _SENDING
        case "receive_only":
            return _RECEIVING
        case "send_receive":
            return _BOTH
