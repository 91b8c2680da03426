"""What does each account that carries a domain's mail ask to be published for it?

Two sources: what a provider answers when it is asked (`answered`), and what is known of it without
asking (`known`), so that the whole set can be shown before the first call. Sources: SES "Using a
custom MAIL FROM domain" and "Publishing an MX record", SendGrid "Inbound Parse", Mailgun "Domain
verification", Postmark "Custom Return-Path" and "Inbound domain forwarding".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from mailagent.errors import Malformed
from mailagent.identity import DnsRecord, Identity

__all__ = ["Contribution", "Key", "answered", "known", "own_server"]


@dataclass(frozen=True, slots=True)
class Key:
    """A public DKIM key of ours."""

    selector: str
    public_record: str
    """The TXT value, as `mailagent.authentication.dkim.new_key` makes it."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """The records that one account adds to a domain's set. Names are full, of that domain."""

    title: str
    """The account in words, for the purpose of its records: `Amazon SES`, `mx.aexy.email`."""
    spf: tuple[str, ...] = ()
    """Terms for the domain's SPF record: `include:amazonses.com`, `ip4:192.0.2.1`."""
    spf_required: bool = True
    """False where the reverse-path is the provider's, so that nobody reads the domain's SPF."""
    dkim: tuple[DnsRecord, ...] = ()
    receiving: tuple[DnsRecord, ...] = ()
    """MX at the domain."""
    addresses: tuple[DnsRecord, ...] = ()
    """A and AAAA of an MX host of ours that is named below the domain."""
    bounces: tuple[DnsRecord, ...] = ()
    """MX, SPF or CNAME of the reverse-path, at names below the domain."""
    tracking: tuple[DnsRecord, ...] = ()

    def joined(self, asked: Contribution) -> Contribution:
        """This, known beforehand, with what the provider answered, which wins group by group."""
        return replace(
            self,
            spf=asked.spf or self.spf,
            spf_required=asked.spf_required or self.spf_required,
            dkim=asked.dkim or self.dkim,
            receiving=asked.receiving or self.receiving,
            bounces=asked.bounces or self.bounces,
            tracking=asked.tracking or self.tracking,
        )

    def sending_only(self) -> Contribution:
        """Without its MX: where another account receives for the domain."""
        return replace(self, receiving=(), addresses=())


def own_server(
    domain: str,
    *,
    host: str,
    addresses: Sequence[str],
    keys: Sequence[Key],
    spf: Sequence[str] = (),
) -> Contribution:
    """Our own SMTP: MX and SPF of `host`, DKIM keys of ours, VERP at `return.<domain>`.

    `addresses` are the public ones; without any, SPF names the host and costs a lookup. `spf` has
    further terms, such as the relay's include. Raises Malformed for what is no address.
    """
    terms = tuple(dict.fromkeys((*_address_terms(addresses, host), *spf)))
    return Contribution(
        title=host,
        spf=terms,
        dkim=tuple(
            DnsRecord("TXT", f"{key.selector}._domainkey.{domain}", key.public_record)
            for key in keys
        ),
        receiving=(DnsRecord("MX", domain, host, 10),),
        addresses=tuple(_addresses_of(host, domain, addresses)),
        bounces=(
            DnsRecord("MX", f"return.{domain}", host, 10),
            DnsRecord("TXT", f"return.{domain}", f"v=spf1 {' '.join(terms)} -all"),
        ),
    )


def known(provider: str, domain: str, *, region: str = "", mail_from: bool = True) -> Contribution:
    """What a provider asks of every domain, before it is asked about this one.

    `region` is SES's (`eu-west-1`) or Mailgun's (`us`, `eu`). `mail_from`: SES uses
    `bounce.<domain>`, which belongs to one account alone. Raises Malformed for another provider,
    and for SES without a region.
    """
    match provider:
        case "ses":
            return _ses(domain, region, mail_from=mail_from)
        case "sendgrid":
            return Contribution(
                "SendGrid",
                spf=("include:sendgrid.net",),
                spf_required=False,
                receiving=(DnsRecord("MX", domain, "mx.sendgrid.net", 10),),
            )
        case "mailgun":
            hosts = "eu.mailgun.org" if region == "eu" else "mailgun.org"
            return Contribution(
                "Mailgun",
                spf=("include:mailgun.org",),
                receiving=tuple(
                    DnsRecord("MX", domain, f"{mx}.{hosts}", 10) for mx in ("mxa", "mxb")
                ),
            )
        case "postmark":
            return Contribution(
                "Postmark",
                spf=("include:spf.mtasv.net",),
                spf_required=False,
                receiving=(DnsRecord("MX", domain, "inbound.postmarkapp.com", 10),),
                bounces=(DnsRecord("CNAME", f"pm-bounces.{domain}", "pm.mtasv.net"),),
            )
        case _:
            raise Malformed(
                "provider", f"{provider!r} verifies no domains: ses, sendgrid, mailgun or postmark"
            )


def answered(
    title: str, domain: str, identity: Identity, receiving: Iterable[DnsRecord] = ()
) -> Contribution:
    """Sort what a provider wants published by what each record is for."""
    found = Contribution(title, receiving=tuple(receiving), spf_required=False)
    for record in identity.records:
        found = _sorted_in(found, domain, record)
    return found


def _sorted_in(found: Contribution, domain: str, record: DnsRecord) -> Contribution:
    is_spf = record.type == "TXT" and record.value.lower().startswith("v=spf1")
    if record.name.endswith(f"._domainkey.{domain}"):
        return replace(found, dkim=(*found.dkim, record))
    if record.type == "MX" and record.name == domain:
        return replace(found, receiving=(*found.receiving, record))
    if is_spf and record.name == domain:
        terms = (term for term in record.value.split()[1:] if term.lstrip("+-~?").lower() != "all")
        return replace(found, spf=tuple(dict.fromkeys((*found.spf, *terms))), spf_required=True)
    # Mailgun lists its tracking host among the records for sending and sends without it.
    if record.type == "CNAME" and record.value.endswith("mailgun.org"):
        return replace(found, tracking=(*found.tracking, record))
    return replace(found, bounces=(*found.bounces, record))


def _ses(domain: str, region: str, *, mail_from: bool) -> Contribution:
    if not region:
        raise Malformed("region", "is empty: SES names its hosts by it, as in eu-west-1")
    bounce = f"bounce.{domain}"
    return Contribution(
        "Amazon SES",
        spf=("include:amazonses.com",),
        receiving=(DnsRecord("MX", domain, f"inbound-smtp.{region}.amazonaws.com", 10),),
        bounces=(
            DnsRecord("MX", bounce, f"feedback-smtp.{region}.amazonses.com", 10),
            DnsRecord("TXT", bounce, "v=spf1 include:amazonses.com ~all"),
        )
        if mail_from
        else (),
    )


def _address_terms(addresses: Sequence[str], host: str) -> tuple[str, ...]:
    if not addresses:
        return (f"a:{host}",)
    return tuple(f"ip{_ip_version(address)}:{address}" for address in addresses)


def _addresses_of(host: str, domain: str, addresses: Sequence[str]) -> Iterable[DnsRecord]:
    if host.endswith(f".{domain}"):
        for address in addresses:
            yield DnsRecord("A" if _ip_version(address) == 4 else "AAAA", host, address)


def _ip_version(address: str) -> int:
    try:
        return ip_address(address).version
    except ValueError as refused:
        raise Malformed("addresses", f"{address!r} is not an IP address") from refused
