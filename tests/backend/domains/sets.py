"""Record sets that several tests judge."""

from __future__ import annotations

from backend.domains.contributions import Contribution, Key, answered, known, own_server
from backend.domains.managed import Delegation, managed_domain
from backend.domains.record import DomainRecord, Place
from backend.domains.records import Extras, Mode, custom_domain, default_domain
from mailagent.authentication.dkim import new_key
from mailagent.identity import DnsRecord, Identity

TOKEN = "k3f9q2"
DOMAIN = "mail.example.com"
PLACE = Place.of(DOMAIN)
DEFAULT = Place.of("aexy.email")
HOST = "mx.aexy.email"
RSA = new_key("rsa2048").public_record
RSA_NEXT = new_key("rsa2048").public_record
SHORT = new_key("rsa1024").public_record
ED25519 = new_key("ed25519").public_record
EXTRAS = Extras(
    rua="dmarc@aexy.email",
    tls_rua="tls@aexy.email",
    mta_sts_id="20261130",
    mta_sts_host="mta-sts.aexy.email",
    tracking_host="track.aexy.email",
)


def ours(domain: str = DOMAIN) -> Contribution:
    return own_server(
        domain,
        host=HOST,
        addresses=("192.0.2.25", "2001:db8::25"),
        keys=(Key("m1", RSA), Key("m2", ED25519)),
    )


def ses(domain: str = DOMAIN) -> Contribution:
    tokens = ("aaaa", "bbbb", "cccc")
    cnames = tuple(
        DnsRecord("CNAME", f"{token}._domainkey.{domain}", f"{token}.dkim.amazonses.com")
        for token in tokens
    )
    identity = Identity(domain, cnames, "pending", {"dkim": "PENDING"})
    return known("ses", domain, region="eu-west-1").joined(answered("Amazon SES", domain, identity))


def own_set(mode: Mode = "send_receive", extras: Extras | None = None) -> tuple[DomainRecord, ...]:
    return custom_domain(PLACE, mode, [ours()], token=TOKEN, extras=extras)


def ses_set(mode: Mode = "send_receive") -> tuple[DomainRecord, ...]:
    return custom_domain(PLACE, mode, [ses()], token=TOKEN)


def default_set() -> tuple[DomainRecord, ...]:
    return default_domain(DEFAULT, [ours(DEFAULT.domain)])


def managed_set(mode: Mode = "send_only") -> tuple[DomainRecord, ...]:
    delegation = Delegation(
        base="k3f9.return.aexy.email",
        mail_host=HOST,
        spf=("ip4:192.0.2.25",),
        keys=(Key("m1", RSA), Key("m2", RSA_NEXT)),
    )
    return managed_domain(PLACE, mode, delegation, [ours()])[0]


def named(records: tuple[DomainRecord, ...], kind: str) -> DomainRecord:
    """The first record of a kind."""
    return next(each for each in records if each.kind == kind)
