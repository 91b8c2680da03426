"""Which records a domain is told to publish, by mode, provider and place."""

from __future__ import annotations

from dataclasses import replace

import dns.zone
import pytest

from backend.domains.contributions import Key, answered, known, own_server
from backend.domains.managed import Delegation, managed_domain
from backend.domains.record import DomainRecord, Place
from backend.domains.record_forms import as_json, as_text
from backend.domains.records import (
    Extras,
    custom_domain,
    default_domain,
    wildcard_set,
    workspace_domain,
)
from backend.domains.zone_text import txt_strings, zone_text
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord, Identity
from tests.backend.domains import sets
from tests.backend.domains.sets import DEFAULT, DOMAIN, ED25519, HOST, PLACE, RSA, SHORT, ours, ses

MAILGUN = Identity(
    DOMAIN,
    (
        DnsRecord("TXT", DOMAIN, "v=spf1 include:mailgun.org ~all"),
        DnsRecord("TXT", f"mx._domainkey.{DOMAIN}", "k=rsa; p=MIGf"),
        DnsRecord("CNAME", f"email.{DOMAIN}", "mailgun.org"),
    ),
    "pending",
)
SENDGRID = Identity(
    DOMAIN,
    (
        DnsRecord("CNAME", f"em77.{DOMAIN}", "u1.wl.sendgrid.net"),
        DnsRecord("CNAME", f"s1._domainkey.{DOMAIN}", "s1.domainkey.u1.wl.sendgrid.net"),
        DnsRecord("CNAME", f"s2._domainkey.{DOMAIN}", "s2.domainkey.u1.wl.sendgrid.net"),
    ),
    "pending",
)
POSTMARK = Identity(
    DOMAIN,
    (
        DnsRecord("TXT", f"2026pm._domainkey.{DOMAIN}", "k=rsa;p=MIGf"),
        DnsRecord("CNAME", f"pm-bounces.{DOMAIN}", "pm.mtasv.net"),
    ),
    "pending",
)


def lines(records: tuple[DomainRecord, ...]) -> list[str]:
    return [f"{each.record.type} {each.name} {each.text}" for each in records]


def of_kind(records: tuple[DomainRecord, ...], kind: str) -> list[str]:
    return [f"{each.name} {each.text}" for each in records if each.kind == kind]


def test_the_whole_set_of_a_domain_on_our_own_server() -> None:
    assert lines(sets.own_set()) == [
        f"TXT _aexy-verification.{DOMAIN} aexy-verify={sets.TOKEN}",
        f"MX {DOMAIN} 10 {HOST}",
        f"TXT {DOMAIN} v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all",
        f"TXT m1._domainkey.{DOMAIN} {RSA}",
        f"TXT m2._domainkey.{DOMAIN} {ED25519}",
        f"MX return.{DOMAIN} 10 {HOST}",
        f"TXT return.{DOMAIN} v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all",
        f"TXT _dmarc.{DOMAIN} v=DMARC1; p=quarantine",
    ]


def test_the_whole_set_of_a_domain_at_ses() -> None:
    assert lines(sets.ses_set()) == [
        f"TXT _aexy-verification.{DOMAIN} aexy-verify={sets.TOKEN}",
        f"MX {DOMAIN} 10 inbound-smtp.eu-west-1.amazonaws.com",
        f"TXT {DOMAIN} v=spf1 include:amazonses.com ~all",
        f"CNAME aaaa._domainkey.{DOMAIN} aaaa.dkim.amazonses.com",
        f"CNAME bbbb._domainkey.{DOMAIN} bbbb.dkim.amazonses.com",
        f"CNAME cccc._domainkey.{DOMAIN} cccc.dkim.amazonses.com",
        f"MX bounce.{DOMAIN} 10 feedback-smtp.eu-west-1.amazonses.com",
        f"TXT bounce.{DOMAIN} v=spf1 include:amazonses.com ~all",
        f"TXT _dmarc.{DOMAIN} v=DMARC1; p=quarantine",
    ]


def test_several_providers_are_one_set_with_one_spf_and_one_dmarc() -> None:
    accounts = [
        ses(),
        known("sendgrid", DOMAIN).joined(answered("SendGrid", DOMAIN, SENDGRID)).sending_only(),
        known("mailgun", DOMAIN, region="eu").joined(answered("Mailgun", DOMAIN, MAILGUN)),
        known("postmark", DOMAIN).joined(answered("Postmark", DOMAIN, POSTMARK)),
    ]

    records = custom_domain(PLACE, "send_receive", accounts, token="t")

    names = ("amazonses.com", "sendgrid.net", "mailgun.org", "spf.mtasv.net")
    includes = " ".join(f"include:{name}" for name in names)
    assert of_kind(records, "spf") == [f"{DOMAIN} v=spf1 {includes} ~all"]
    assert of_kind(records, "dmarc") == [f"_dmarc.{DOMAIN} v=DMARC1; p=quarantine"]
    assert len(of_kind(records, "dkim")) == 3 + 2 + 1 + 1
    assert of_kind(records, "mx") == [
        f"{DOMAIN} 10 inbound-smtp.eu-west-1.amazonaws.com",
        f"{DOMAIN} 10 mxa.eu.mailgun.org",
        f"{DOMAIN} 10 mxb.eu.mailgun.org",
        f"{DOMAIN} 10 inbound.postmarkapp.com",
    ]
    assert of_kind(records, "return_path") == [
        f"em77.{DOMAIN} u1.wl.sendgrid.net",
        f"pm-bounces.{DOMAIN} pm.mtasv.net",
    ]


def test_spf_is_only_advised_where_the_return_path_is_the_providers() -> None:
    for name in ("sendgrid", "postmark"):
        records = custom_domain(PLACE, "send_only", [known(name, DOMAIN)], token="t")
        assert [each.required for each in records if each.kind == "spf"] == [False]
    records = custom_domain(PLACE, "send_only", [ses(), known("postmark", DOMAIN)], token="t")
    assert [each.required for each in records if each.kind == "spf"] == [True]


def test_mailguns_tracking_host_is_never_required() -> None:
    account = known("mailgun", DOMAIN).joined(answered("Mailgun", DOMAIN, MAILGUN))

    records = custom_domain(PLACE, "send_only", [account], token="t")

    assert [(each.name, each.required) for each in records if each.kind == "tracking"] == [
        (f"email.{DOMAIN}", False)
    ]


def test_a_domain_that_only_sends_has_no_mx_and_one_that_only_receives_no_keys() -> None:
    sends, receives = sets.own_set("send_only"), sets.own_set("receive_only")

    assert of_kind(sends, "mx") == []
    assert {each.kind for each in receives} == {"ownership", "mx"}
    assert {side for each in sends for side in each.needed_for} == {"sending"}
    assert {side for each in receives for side in each.needed_for} == {"receiving"}


def test_extras_are_advised_and_the_policy_is_the_operators() -> None:
    extras = replace(sets.EXTRAS, policy="reject")

    records = sets.own_set(extras=extras)

    assert of_kind(records, "dmarc") == [
        f"_dmarc.{DOMAIN} v=DMARC1; p=reject; rua=mailto:dmarc@aexy.email"
    ]
    assert [f"{each.name} {each.text}" for each in records if not each.required] == [
        f"track.{DOMAIN} track.aexy.email",
        f"_smtp._tls.{DOMAIN} v=TLSRPTv1; rua=mailto:tls@aexy.email",
        f"_mta-sts.{DOMAIN} v=STSv1; id=20261130;",
        f"mta-sts.{DOMAIN} mta-sts.aexy.email",
    ]


def test_the_default_domain_has_mx_and_spf_at_its_wildcard_and_the_rest_once() -> None:
    records = sets.default_set()

    assert of_kind(records, "mx") == [f"aexy.email 10 {HOST}", f"*.aexy.email 10 {HOST}"]
    assert [line.split()[0] for line in of_kind(records, "spf")] == ["aexy.email", "*.aexy.email"]
    assert of_kind(records, "dmarc") == ["_dmarc.aexy.email v=DMARC1; p=quarantine; sp=quarantine"]
    assert of_kind(records, "address") == [f"{HOST} 192.0.2.25", f"{HOST} 2001:db8::25"]
    wild = [each.name for each in records if each.name.startswith("*")]
    assert len(wild) == 2
    tags = {tag.partition("=")[0].strip() for each in records for tag in each.text.split(";")}
    assert not tags & {"psd", "pct"}


@pytest.mark.parametrize("policy", ["none", "quarantine", "reject"])
def test_the_default_domains_policy_covers_the_workspaces(policy: str) -> None:
    extras = Extras(policy=policy)  # type: ignore[arg-type]
    records = default_domain(DEFAULT, [ours("aexy.email")], extras=extras)

    assert of_kind(records, "dmarc") == [f"_dmarc.aexy.email v=DMARC1; p={policy}; sp={policy}"]


def test_a_host_of_ours_is_never_an_alias_of_itself() -> None:
    records = default_domain(DEFAULT, [ours("aexy.email")], extras=sets.EXTRAS)

    assert [each.name for each in records if each.record.type == "CNAME"] == []
    assert "mta_sts" in {each.kind for each in records}


def test_a_workspace_needs_no_records_while_the_wildcard_reaches_it() -> None:
    assert workspace_domain(DEFAULT, "acme", [ours("aexy.email")]) == ()


@pytest.mark.parametrize("name", ["acme.aexy.email", "_dmarc.acme.aexy.email"])
def test_any_record_at_or_below_a_workspace_brings_the_whole_set_with_it(name: str) -> None:
    beside = DnsRecord("TXT", name, "x")

    records = workspace_domain(DEFAULT, "acme", [ours("aexy.email")], beside=[beside])

    assert of_kind(records, "mx") == [f"acme.aexy.email 10 {HOST}"]
    assert [line.split()[0] for line in of_kind(records, "spf")] == ["acme.aexy.email"]
    assert beside in [each.record for each in records]
    assert {each.record for each in wildcard_set(DEFAULT, "acme", [ours("aexy.email")])} < {
        each.record for each in records
    }


def test_a_record_of_another_workspace_is_refused() -> None:
    beside = DnsRecord("TXT", "notacme.aexy.email", "x")

    with pytest.raises(Malformed, match="not at or below acme"):
        workspace_domain(DEFAULT, "acme", [ours("aexy.email")], beside=[beside])


def test_a_managed_domain_publishes_three_cnames_and_we_the_rest() -> None:
    delegation = Delegation("k3.return.aexy.email", HOST, ("ip4:192.0.2.25",), _two_keys())

    records, zone = managed_domain(PLACE, "send_only", delegation)

    assert [each.record.type for each in records if each.required] == ["CNAME"] * 3
    assert of_kind(records, "verification") == [f"aexy.{DOMAIN} k3.return.aexy.email"]
    assert of_kind(records, "dkim") == [
        f"m1._domainkey.{DOMAIN} m1._domainkey.k3.return.aexy.email",
        f"m2._domainkey.{DOMAIN} m2._domainkey.k3.return.aexy.email",
    ]
    assert zone == (
        DnsRecord("MX", "k3.return.aexy.email", HOST, 10),
        DnsRecord("TXT", "k3.return.aexy.email", "v=spf1 ip4:192.0.2.25 ~all"),
        DnsRecord("TXT", "m1._domainkey.k3.return.aexy.email", RSA),
        DnsRecord("TXT", "m2._domainkey.k3.return.aexy.email", sets.RSA_NEXT),
    )


def test_a_managed_domain_that_receives_keeps_a_plain_mx_and_no_cname_at_itself() -> None:
    records = sets.managed_set("send_receive")

    assert of_kind(records, "mx") == [f"{DOMAIN} 10 {HOST}"]
    assert [each.name for each in records if each.record.type == "CNAME"].count(DOMAIN) == 0


def test_a_managed_domain_needs_a_second_key_for_rotation() -> None:
    one = Delegation("k3.return.aexy.email", HOST, (), _two_keys()[:1])

    with pytest.raises(Malformed, match="keys"):
        managed_domain(PLACE, "send_only", one)


def test_names_are_given_in_full_and_below_apex_and_zone_cut() -> None:
    place = Place.of("mail.example.co.uk", "mail.example.co.uk")

    record = next(
        each
        for each in custom_domain(place, "send_only", [ours(place.domain)], token="t")
        if each.kind == "dmarc"
    )

    assert record.name == "_dmarc.mail.example.co.uk"
    assert record.name_below_apex == "_dmarc.mail"
    assert record.name_below_zone == "_dmarc"


@pytest.mark.parametrize(
    ("domain", "zone"), [("localhost", None), ("a b.example", None), ("a.example", "b.example")]
)
def test_what_is_no_domain_or_not_above_it_is_refused(domain: str, zone: str | None) -> None:
    with pytest.raises(Malformed):
        Place.of(domain, zone)


def test_a_domain_in_other_letters_is_published_in_a_labels() -> None:
    assert Place.of("Müller.example").domain == "xn--mller-kva.example"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: known("ses", DOMAIN), "region"),
        (lambda: known("smtp", DOMAIN), "provider"),
        (lambda: own_server(DOMAIN, host=HOST, addresses=["mx"], keys=[]), "not an IP address"),
    ],
)
def test_what_cannot_be_known_is_refused_with_the_field(call: object, says: str) -> None:
    assert callable(call)
    with pytest.raises(Malformed, match=says):
        call()


def test_a_server_without_known_addresses_is_named_in_spf() -> None:
    account = own_server(DOMAIN, host=HOST, addresses=[], keys=[], spf=["include:relay.example"])

    assert account.spf == (f"a:{HOST}", "include:relay.example")


@pytest.mark.parametrize("record", [RSA, SHORT, ED25519], ids=["RSA", "short RSA", "Ed25519"])
def test_a_value_of_any_length_survives_the_zone_file(record: str) -> None:
    account = own_server(DOMAIN, host=HOST, addresses=["192.0.2.1"], keys=[Key("k", record)])
    records = custom_domain(PLACE, "send_receive", [account], token='with "quotes" \\ and ü')

    zone = dns.zone.from_text(
        zone_text(records), origin="example.com", relativize=False, check_origin=False
    )

    assert all(len(each) <= 255 for each in txt_strings(record))
    for each in records:
        rdataset = zone.get_rdataset(f"{each.name}.", each.record.type)
        assert rdataset is not None
        texts = [
            b"".join(rdata.strings).decode()
            if each.record.type == "TXT"
            else rdata.to_text().removesuffix(".")
            for rdata in rdataset
        ]
        assert each.text in texts


def test_the_text_for_an_administrator_has_every_name_value_and_purpose() -> None:
    records = sets.own_set(extras=sets.EXTRAS)

    text = as_text(records)

    for each in records:
        assert each.name in text
        assert each.record.value in text
        assert each.purpose in text
    assert [line for line in text.splitlines() if line in {each.group for each in records}] == [
        "Ownership",
        "Receive",
        "Send",
        "Bounces",
        "Policy",
    ]


def test_the_json_has_all_that_a_tool_needs() -> None:
    entry = as_json(sets.own_set())[1]

    assert entry == {
        "type": "MX",
        "name": DOMAIN,
        "name_below_apex": "mail",
        "name_below_zone": "mail",
        "value": HOST,
        "priority": 10,
        "ttl": 300,
        "purpose": f"brings mail for {DOMAIN} to {HOST}",
        "required": True,
        "needed_for": ["receiving"],
        "group": "Receive",
        "kind": "mx",
    }


def test_nothing_is_an_empty_text() -> None:
    assert (as_text(()), zone_text(()), as_json(())) == ("", "", [])


def _two_keys() -> tuple[Key, Key]:
    return Key("m1", RSA), Key("m2", sets.RSA_NEXT)
