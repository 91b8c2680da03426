"""DMARC: who may speak for a domain in From, by RFC 9989."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailagent.authentication import dkim
from mailagent.authentication.dmarc_record import walk_names
from mailagent.mail import DmarcVerdict
from tests.authentication.cases import NOW, Zone, judged, raw_mail

KEY = dkim.new_key("ed25519")


def zone(*, spf_at: str | None = None, dkim_at: str | None = None, **records: str) -> Zone:
    """A zone with DMARC records (`a_b_c` is `a.b.c`), and who passes SPF or has a DKIM key."""
    made: dict[str, dict[str, list[str]]] = {}
    for name, text in records.items():
        domain = name.replace("_", ".")
        made[f"_dmarc.{domain}"] = {"TXT": [text]}
        made.setdefault(domain, {})
    if spf_at is not None:
        made.setdefault(spf_at, {})["TXT"] = ["v=spf1 ip4:192.0.2.10 -all"]
    if dkim_at is not None:
        made[f"s1._domainkey.{dkim_at}"] = {"TXT": [KEY.public_record]}
    return made


def dmarc(
    at: Zone,
    from_: str,
    *,
    spf_at: str | None = None,
    dkim_at: str | None = None,
    failing: tuple[str, ...] = (),
) -> DmarcVerdict:
    """Judge a mail of `from_` whose envelope is of `spf_at` and whose signature of `dkim_at`."""
    raw = raw_mail(from_)
    if dkim_at is not None:
        raw = dkim.sign(
            raw,
            domain=dkim_at,
            selector="s1",
            private_key_pem=KEY.private_pem,
            now=NOW - timedelta(minutes=1),
        )
    envelope = f"bounce@{spf_at or 'elsewhere.example'}"
    return judged(at, raw=raw, from_=from_, mail_from=envelope, failing=failing).dmarc


REJECT = "v=DMARC1; p=reject"

ALIGNED = [
    # From, SPF passes at, DKIM passes at, records, aligned by
    ("a@example.com", "example.com", None, {"example_com": REJECT}, "spf"),
    ("a@example.com", None, "example.com", {"example_com": REJECT}, "dkim"),
    ("a@example.com", "bounce.example.com", None, {"example_com": REJECT}, "spf"),
    ("a@news.example.com", None, "example.com", {"example_com": REJECT}, "dkim"),
    ("a@x.example.com", None, "y.example.com", {"example_com": REJECT}, "dkim"),
    ("a@EXAMPLE.com", "example.com", None, {"example_com": REJECT}, "spf"),
    ("a@example.com", "example.com", None, {"example_com": REJECT + "; aspf=s; adkim=s"}, "spf"),
    ("a@x.co.uk", None, "m.x.co.uk", {"x_co_uk": REJECT}, "dkim"),
    # A psd=n in the middle makes an organisation of its own.
    (
        "a@b.x.example.com",
        None,
        "c.x.example.com",
        {"example_com": REJECT, "x_example_com": "v=DMARC1; p=none; psd=n"},
        "dkim",
    ),
    # Below a public suffix each name is an organisation, without a record of its own.
    ("a@m.bank.zz", None, "bank.zz", {"zz": "v=DMARC1; p=reject; psd=y"}, "dkim"),
]

NOT_ALIGNED = [
    ("a@company.com", "evilcompany.com", "evilcompany.com", {"company_com": REJECT}),
    ("a@a.co.uk", "b.co.uk", "b.co.uk", {"a_co_uk": REJECT, "b_co_uk": REJECT}),
    # Even when the registry publishes a record that forgets psd=y.
    ("a@a.co.uk", "b.co.uk", "b.co.uk", {"co_uk": REJECT}),
    ("a@a.co.uk", None, "co.uk", {"co_uk": REJECT}),
    ("a@a.zz", "b.zz", "b.zz", {"zz": "v=DMARC1; p=reject; psd=y"}),
    ("a@example.com", "bounce.example.com", None, {"example_com": REJECT + "; aspf=s"}),
    ("a@example.com", None, "mail.example.com", {"example_com": REJECT + "; adkim=s"}),
    (
        "a@b.x.example.com",
        None,
        "example.com",
        {"example_com": REJECT, "x_example_com": "v=DMARC1; p=none; psd=n"},
    ),
    ("a@example.com", None, None, {"example_com": REJECT}),
    ("a@example.com", "example.org", "example.org", {"example_com": REJECT}),
]


@pytest.mark.parametrize(("from_", "spf_at", "dkim_at", "records", "by"), ALIGNED)
def test_the_own_organisation_vouches_for_its_mail(
    from_: str, spf_at: str | None, dkim_at: str | None, records: dict[str, str], by: str
) -> None:
    at = zone(spf_at=spf_at, dkim_at=dkim_at, **records)
    verdict = dmarc(at, from_, spf_at=spf_at, dkim_at=dkim_at)
    assert (verdict.result, verdict.aligned_by) == ("pass", by)


@pytest.mark.parametrize(("from_", "spf_at", "dkim_at", "records"), NOT_ALIGNED)
def test_nobody_else_does(
    from_: str, spf_at: str | None, dkim_at: str | None, records: dict[str, str]
) -> None:
    at = zone(spf_at=spf_at, dkim_at=dkim_at, **records)
    verdict = dmarc(at, from_, spf_at=spf_at, dkim_at=dkim_at)
    assert (verdict.result, verdict.aligned_by) == ("fail", None)


POLICIES = [
    ("a@example.com", {"example_com": REJECT}, "reject", "example.com"),
    ("a@example.com", {"example_com": "v=DMARC1;p=Quarantine;"}, "quarantine", "example.com"),
    ("a@example.com", {"example_com": "v = DMARC1 ; t=y ; p = reject"}, "quarantine", None),
    ("a@example.com", {"example_com": "v=DMARC1; p=quarantine; t=y"}, "none", None),
    ("a@example.com", {"example_com": REJECT + "; sp=none; np=none"}, "reject", None),
    ("a@www.example.com", {"example_com": REJECT}, "reject", "example.com"),
    ("a@www.example.com", {"example_com": REJECT + "; sp=none"}, "none", None),
    ("a@www.example.com", {"example_com": "v=DMARC1; p=none; np=reject"}, "none", None),
    ("a@no.example.com", {"example_com": "v=DMARC1; p=none; np=reject"}, "reject", None),
    ("a@no.example.com", {"example_com": "v=DMARC1; p=none; sp=reject"}, "reject", None),
    ("a@no.example.com", {"example_com": REJECT + "; sp=none; np=quarantine"}, "quarantine", None),
    # The author domain's own record comes first, then the organisation's, not one between.
    (
        "a@www.example.com",
        {"example_com": REJECT, "www_example_com": "v=DMARC1; p=none"},
        "none",
        "www.example.com",
    ),
    (
        "a@a.www.example.com",
        {"example_com": REJECT, "www_example_com": "v=DMARC1; p=none"},
        "reject",
        "example.com",
    ),
    ("a@www.bank.zz", {"zz": "v=DMARC1; p=none; sp=reject; psd=y"}, "reject", "zz"),
    (
        "a@www.bank.zz",
        {"zz": REJECT + "; psd=y", "bank_zz": "v=DMARC1; p=quarantine"},
        "quarantine",
        "bank.zz",
    ),
    ("a@example.com", {"example_com": "v=DMARC1; p=no; rua=mailto:d@example.com"}, "none", None),
    ("a@example.com", {"example_com": "v=DMARC1; rua=mailto:d@example.com!10m"}, "none", None),
    ("a@example.com", {"example_com": REJECT + "; sp=x; rua=mailto:d@example.com"}, "none", None),
    ("a@example.com", {"example_com": REJECT + "; pct=0; x; =; fo=1:d"}, "reject", None),
]


@pytest.mark.parametrize(("from_", "records", "policy", "where"), POLICIES)
def test_the_policy_that_applies_is_told(
    from_: str, records: dict[str, str], policy: str, where: str | None
) -> None:
    at = {**zone(**records), "www.example.com": {"A": ["192.0.2.1"]}, "www.bank.zz": {}}
    verdict = dmarc(at, from_)
    assert (verdict.result, verdict.policy) == ("fail", policy)
    assert where in (None, verdict.record_domain)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["v=spf1 -all"],
        ["v=DMARC1; p=reject", "v=DMARC1; p=none"],
        ["v=dmarc1; p=reject"],
        ["p=reject; v=DMARC1"],
        ["v=DMARC10; p=reject"],
        ["v=DMARC1; p=reject" + " " * 5000],
        ["v=DMARC1; p=everything"],
        ["v=DMARC1"],
        ["v=DMARC1; p=reject; np=all; rua=nowhere"],
    ],
)
def test_without_one_usable_record_there_is_no_dmarc(texts: list[str]) -> None:
    at = {**zone(spf_at="example.com"), "_dmarc.example.com": {"TXT": texts}}
    verdict = dmarc(at, "a@example.com", spf_at="example.com")
    assert (verdict.result, verdict.policy) == ("none", None)


def test_without_a_policy_what_is_aligned_by_registration_is_noted_only() -> None:
    at = zone(dkim_at="mail.a.co.uk")
    verdict = dmarc(at, "a@a.co.uk", dkim_at="mail.a.co.uk")
    assert (verdict.result, verdict.aligned_by) == ("none", "dkim")
    other = dmarc(zone(dkim_at="b.co.uk"), "a@a.co.uk", dkim_at="b.co.uk")
    assert (other.result, other.aligned_by) == ("none", None)


def test_a_record_that_dns_does_not_tell_is_a_temporary_error() -> None:
    at = zone(spf_at="example.com", example_com=REJECT)
    verdict = dmarc(at, "a@example.com", spf_at="example.com", failing=("_dmarc.example.com",))
    assert (verdict.result, verdict.policy) == ("temperror", None)


def test_dns_that_fails_above_does_not_hurt_what_needs_no_more_dns() -> None:
    at = zone(spf_at="example.com", example_com=REJECT)
    verdict = dmarc(at, "a@example.com", spf_at="example.com", failing=("_dmarc.com",))
    assert verdict.result == "pass"


def test_dns_that_fails_above_never_lets_another_domain_pass() -> None:
    at = zone(spf_at="mail.example.com", example_com=REJECT)
    verdict = dmarc(at, "a@example.com", spf_at="mail.example.com", failing=("_dmarc.com",))
    assert verdict.result == "temperror"


def test_a_key_that_dns_does_not_tell_is_a_temporary_error_of_its_own_domain_only() -> None:
    failing = ("s1._domainkey.example.com", "s1._domainkey.evil.example")
    at = zone(example_com=REJECT)
    own = dmarc(at, "a@example.com", dkim_at="example.com", failing=failing)
    other = dmarc(at, "a@example.com", dkim_at="evil.example", failing=failing)
    assert (own.result, other.result) == ("temperror", "fail")


def test_a_name_whose_existence_is_unknown_gets_the_policy_of_those_that_exist() -> None:
    at = zone(example_com="v=DMARC1; p=none; np=reject")
    assert dmarc(at, "a@no.example.com", failing=("no.example.com",)).policy == "none"


@pytest.mark.parametrize("authors", [(), ("a@example.com", "b@example.com"), ("a",), ("a@com",)])
def test_a_mail_without_a_single_from_fails(authors: tuple[str, ...]) -> None:
    verdict = judged(zone(example_com=REJECT), from_=authors).dmarc
    assert (verdict.result, verdict.domain) == ("fail", None)


def test_a_second_from_field_fails_even_if_it_was_read_as_one_mailbox() -> None:
    raw = b"From: eve@evil.example\r\n" + raw_mail()
    at = zone(spf_at="example.com", example_com=REJECT)
    verdict = judged(at, raw=raw, from_="ann@example.com").dmarc
    assert (verdict.result, verdict.reason) == ("fail", "no single From")


def test_a_walk_asks_eight_names_at_most_and_skips_the_long_middle() -> None:
    assert walk_names("a.b.c.d.e.f.g.h.i.j.mail.example.com") == (
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    )
    assert walk_names("1.2.3.4.5.6.7.8")[1] == "2.3.4.5.6.7.8"
    assert walk_names("com") == ("com",)


def test_helo_aligns_for_a_mail_with_an_empty_reverse_path() -> None:
    at = zone(spf_at="mx.example.com", example_com=REJECT)
    assert judged(at, mail_from=None, helo="mx.example.com").dmarc.aligned_by == "spf"
