"""SPF: each row is a zone and what RFC 7208 says of the client 192.0.2.10."""

from __future__ import annotations

import pytest

from mailagent.authentication import Needs, judge
from mailagent.dns_answers import Found, Question
from mailagent.mail import SpfVerdict
from tests.authentication.cases import CLIENT, NOW, Zone, content, judged, raw_mail


def spf_of(record: str | list[str], more: Zone | None = None) -> dict[str, dict[str, list[str]]]:
    zone = {"example.com": {"TXT": [record] if isinstance(record, str) else record}}
    for name, types in (more or {}).items():
        entry = zone.setdefault(name, {})
        entry.update({type_: list(records) for type_, records in types.items()})
    return zone


INCLUDED: Zone = {"other.example": {"TXT": ["v=spf1 ip4:192.0.2.0/24 -all"]}}
EXCLUDED: Zone = {"other.example": {"TXT": ["v=spf1 -all"]}}

ROWS: list[tuple[str, dict[str, dict[str, list[str]]], str]] = [
    ("an address", spf_of("v=spf1 ip4:192.0.2.10 -all"), "pass"),
    ("a network", spf_of("v=spf1 ip4:192.0.2.0/28 -all"), "pass"),
    ("another network", spf_of("v=spf1 ip4:198.51.100.0/24 -all"), "fail"),
    ("the other family", spf_of("v=spf1 ip6:2001:db8::/32 ~all"), "softfail"),
    ("no opinion", spf_of("v=spf1 ?all"), "neutral"),
    ("nothing matches", spf_of("v=spf1 ip4:198.51.100.1"), "neutral"),
    ("a include that passes", spf_of("v=spf1 include:other.example -all", INCLUDED), "pass"),
    ("an include that fails", spf_of("v=spf1 include:other.example ~all", EXCLUDED), "softfail"),
    ("an include of nothing", spf_of("v=spf1 include:other.example -all"), "permerror"),
    ("a redirect", spf_of("v=spf1 redirect=other.example", INCLUDED), "pass"),
    ("a redirect to nothing", spf_of("v=spf1 redirect=other.example"), "permerror"),
    ("own address", spf_of("v=spf1 a -all", {"example.com": {"A": ["192.0.2.10"]}}), "pass"),
    ("a host", spf_of("v=spf1 a:h.example -all", {"h.example": {"A": ["192.0.2.10"]}}), "pass"),
    (
        "a host's network",
        spf_of("v=spf1 a:h.example/24 -all", {"h.example": {"A": ["192.0.2.77"]}}),
        "pass",
    ),
    (
        "mail exchangers",
        spf_of(
            "v=spf1 mx -all",
            {
                "example.com": {"MX": ["10 mx1.example.com", "20 mx2.example.com"]},
                "mx1.example.com": {"A": ["192.0.2.1"]},
                "mx2.example.com": {"A": ["192.0.2.10"]},
            },
        ),
        "pass",
    ),
    (
        "a macro",
        spf_of(
            "v=spf1 exists:%{ir}.%{v}.spf.example -all",
            {"10.2.0.192.in-addr.spf.example": {"A": ["127.0.0.2"]}},
        ),
        "pass",
    ),
    (
        "the reverse name",
        spf_of(
            "v=spf1 ptr -all",
            {
                "10.2.0.192.in-addr.arpa": {"PTR": ["h.example.com"]},
                "h.example.com": {"A": ["192.0.2.10"]},
            },
        ),
        "pass",
    ),
    ("no record", {"example.com": {"TXT": ["hello"]}}, "none"),
    ("no domain", {}, "none"),
    ("two records", spf_of(["v=spf1 -all", "v=spf1 +all"]), "permerror"),
    ("a record of two versions", spf_of("v=spf10 +all"), "none"),
    ("an unknown mechanism", spf_of("v=spf1 moo +all"), "permerror"),
    ("a broken address", spf_of("v=spf1 ip4:192.0.2.300 +all"), "permerror"),
    ("letters beyond ASCII", spf_of("v=spf1 include:ä.example +all"), "permerror"),
    ("itself", spf_of("v=spf1 include:example.com -all"), "permerror"),
    (
        "a loop",
        spf_of(
            "v=spf1 include:other.example -all",
            {"other.example": {"TXT": ["v=spf1 include:example.com -all"]}},
        ),
        "permerror",
    ),
    ("a redirect loop", spf_of("v=spf1 redirect=example.com"), "permerror"),
    (
        "ten lookups",
        spf_of(
            "v=spf1 " + " ".join(f"a:h{n}.example" for n in range(10)) + " ip4:192.0.2.10 -all",
            {f"h{n}.example": {"A": ["198.51.100.1"]} for n in range(10)},
        ),
        "pass",
    ),
    (
        "eleven lookups",
        spf_of(
            "v=spf1 " + " ".join(f"a:h{n}.example" for n in range(11)) + " ip4:192.0.2.10 -all",
            {f"h{n}.example": {"A": ["198.51.100.1"]} for n in range(11)},
        ),
        "permerror",
    ),
    ("two void lookups", spf_of("v=spf1 a:no1.example a:no2.example ip4:192.0.2.10"), "pass"),
    (
        "three void lookups",
        spf_of("v=spf1 a:no1.example a:no2.example a:no3.example ip4:192.0.2.10"),
        "permerror",
    ),
    (
        "eleven exchangers",
        spf_of("v=spf1 mx +all", {"example.com": {"MX": [f"{n} m{n}.example" for n in range(11)]}}),
        "permerror",
    ),
    ("a record beyond 4 KB", spf_of("v=spf1 " + "ip4:192.0.2.10 " * 300 + "-all"), "permerror"),
    ("a term beyond 512 octets", spf_of("v=spf1 a:" + "a" * 600 + " +all"), "permerror"),
]


@pytest.mark.parametrize(("zone", "result"), [pytest.param(z, r, id=i) for i, z, r in ROWS])
def test_a_record_gives_its_result(zone: Zone, result: str) -> None:
    assert judged(zone).spf.result == result


def test_a_client_of_the_new_protocol_matches_its_network() -> None:
    zone = spf_of("v=spf1 ip6:2001:db8::/32 -all")
    assert judged(zone, client_ip="2001:db8::7").spf.result == "pass"


def test_a_mapped_client_address_is_the_old_one() -> None:
    zone = spf_of("v=spf1 ip4:192.0.2.10 -all")
    assert judged(zone, client_ip="::ffff:192.0.2.10").spf.result == "pass"


def test_the_helo_name_is_judged_when_the_reverse_path_is_empty() -> None:
    zone = {"mx.example.com": {"TXT": ["v=spf1 ip4:192.0.2.10 -all"]}}
    assert judged(zone, mail_from=None).spf == SpfVerdict("pass", "mx.example.com", "helo")


@pytest.mark.parametrize("helo", [None, "", "[192.0.2.10]", "localhost", "a b", "x" * 5000])
def test_a_helo_that_is_no_domain_has_no_policy(helo: str | None) -> None:
    assert judged({}, mail_from=None, helo=helo).spf.result == "none"


@pytest.mark.parametrize("mail_from", ["ann", "ann@", "@", '"a@b"@', "ann@-", "ann@" + "a." * 300])
def test_a_sender_without_a_domain_has_no_policy(mail_from: str) -> None:
    assert judged({}, mail_from=mail_from).spf.result == "none"


def test_the_domain_is_what_follows_the_last_at_sign() -> None:
    zone = spf_of("v=spf1 ip4:192.0.2.10 -all")
    assert judged(zone, mail_from='"x@evil.example"@Example.COM').spf.domain == "example.com"


@pytest.mark.parametrize("client_ip", [None, "", "unknown", "list", "1.2.3", "127.1", "list6"])
def test_a_client_that_is_no_address_is_not_judged(client_ip: str | None) -> None:
    zone = spf_of("v=spf1 +all")
    assert judged(zone, client_ip=client_ip).spf.result == "not_judged"


def test_dns_that_fails_is_a_temporary_error_and_never_a_pass() -> None:
    zone = spf_of("v=spf1 include:other.example +all", INCLUDED)
    assert judged(zone, failing=["other.example"]).spf.result == "temperror"
    assert judged(zone, failing=["example.com"]).spf.result == "temperror"


def test_a_reason_is_short_whatever_the_record_says() -> None:
    reason = judged(spf_of("v=spf1 " + "moo" * 160)).spf.reason
    assert 0 < len(reason) <= 300
    assert reason.isprintable()


def test_the_senders_own_explanation_is_not_fetched() -> None:
    zone = spf_of("v=spf1 -all exp=why.example", {"why.example": {"TXT": ["Click here"]}})
    assert "Click" not in judged(zone).spf.reason


def test_the_deepest_chain_is_judged_within_twenty_rounds() -> None:
    chain = {
        f"s{n}.example": {"TXT": [f"v=spf1 include:s{n + 1}.example -all"]} for n in range(1, 9)
    }
    last = {
        "s9.example": {"TXT": ["v=spf1 mx:m.example -all"]},
        "m.example": {"MX": [f"{n} h{n}.example" for n in range(10)]},
        "h9.example": {"A": ["192.0.2.10"]},
        **{f"h{n}.example": {"A": ["198.51.100.9"]} for n in range(9)},
    }
    assert judged(spf_of("v=spf1 include:s1.example -all", {**chain, **last})).spf.result == "pass"


def test_the_longest_way_to_a_result_is_walked_within_twenty_rounds() -> None:
    """Ten exchangers behind macros that need the client's own name."""
    zone: dict[str, dict[str, list[str]]] = {
        "10.2.0.192.in-addr.arpa": {"PTR": ["h.example.com"]},
        "h.example.com": {"A": ["192.0.2.10"]},
    }
    for n in range(10):
        zone[f"m{n}.h.example.com"] = {"MX": [f"10 x{n}.example"]}
        zone[f"x{n}.example"] = {"A": ["198.51.100.1" if n < 9 else "192.0.2.10"]}
    record = "v=spf1 " + " ".join(f"mx:m{n}.%{{p}}" for n in range(10)) + " -all"
    assert judged(spf_of(record, zone)).spf.result == "pass"


def test_a_record_of_many_names_does_not_make_us_ask_for_all_of_them() -> None:
    record = "v=spf1 " + " ".join(f"a:h{n}.example" for n in range(200))
    outcome = judge.judge(
        raw_mail(),
        content("ann@example.com"),
        mail_from="ann@example.com",
        client_ip=CLIENT,
        helo=None,
        answers={Question("example.com", "TXT"): Found((record,))},
        now=NOW,
    )
    assert isinstance(outcome, Needs)
    assert sum(question.type == "A" for question in outcome.questions) == 10


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 " + "a:" + "a" * 500 + "! -all",
        "v=spf1 " + " ".join(["a:" + "%{d}" * 100] * 9),
        "v=spf1 exists:%{" + "d" * 400 + "}.example",
        "v=spf1 exists:%{d99999999999999}.example",
        "v=spf1 exists:%{l" + "9" * 450 + "}.example",
        "v=spf1 " + "a " * 2000,
        "v=spf1 " + "." * 500,
        "v=spf1 redirect=%{p}.example " + "%" * 300,
        "v=spf1 include: include:. include:.. mx: a:/ a://128 ip4: ip6::: ptr:",
    ],
)
def test_a_hostile_record_ends_in_an_error_not_in_a_pass(record: str) -> None:
    verdict = judged(spf_of(record), mail_from='"a.b-c+d@e"@example.com').spf
    assert verdict.result in ("permerror", "neutral", "fail")
