"""Somebody else's export: read in the forms of the usual DNS hosts, and marked where it differs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domains.compare import Comparison, Published, compare
from backend.domains.exports import read_export
from backend.domains.record import DomainRecord
from backend.domains.views import Needs
from backend.domains.zone_text import quoted, zone_text
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord
from tests.backend.domains import sets
from tests.backend.domains.sets import DOMAIN, HOST, RSA

Set = tuple[DomainRecord, ...]
OFFLINE = Unknown("not asked: no network")


def judged(records: Set, text: str) -> Comparison:
    outside: dict[Question, Answer] = {}
    export = read_export(text, "example.com")
    while isinstance(result := compare(records, export, outside), Needs):
        outside |= dict.fromkeys(result.recursive, OFFLINE)
    return result


def codes(result: Comparison) -> dict[str, str]:
    return {each.record.name: each.code for each in result.verdict.records if each.code is not None}


def _csv(header: list[str], rows: list[list[str]], delimiter: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([header, *rows])
    return out.getvalue()


def _cloudflare(records: Set) -> str:
    lines = [";;", ";; Domain:     example.com.", "$ORIGIN example.com.", ""]
    lines.append("example.com.\t3600\tIN\tSOA\tns1.x. dns.x. 2050 10000 2400 604800 3600")
    for each in records:
        value = quoted(each.record.value) if each.record.type == "TXT" else f"{each.text}."
        lines.append(f"{each.name}.\t1\tIN\t{each.record.type}\t{value} ; cf_tags=cf-proxied:false")
    return "\n".join(lines)


def _route53(records: Set) -> str:
    rows = [
        [
            each.name,
            each.record.type,
            "Simple",
            "-",
            quoted(each.record.value) if each.record.type == "TXT" else f"{each.text}.",
            "300",
        ]
        for each in records
    ]
    header = ["Record name", "Type", "Routing policy", "Differentiator"]
    return _csv([*header, "Value/Route traffic to", "TTL (seconds)"], rows)


def _godaddy(records: Set) -> str:
    rows = [
        [each.record.type, each.name_below_zone, each.record.value, "1 Hour",
         str(each.record.priority or "")]
        for each in records
    ]  # fmt: skip
    return _csv(["Type", "Name", "Data", "TTL", "Priority"], [["NS", "@", "ns1.x", "", ""], *rows])


def _namecheap(records: Set) -> str:
    rows = [
        [f"{each.record.type}", each.name_below_zone, each.record.value, "Automatic",
         str(each.record.priority or "")]
        for each in records
    ]  # fmt: skip
    rows.append(["URL Redirect", "@", "http://www.example.com", "", ""])
    return "\ufeff" + _csv(["Type", "Host", "Value", "TTL", "MX Pref"], rows, delimiter=";")


FORMS: dict[str, Callable[[Set], str]] = {
    "our zone file": zone_text,
    "Cloudflare": _cloudflare,
    "Route 53": _route53,
    "GoDaddy": _godaddy,
    "Namecheap": _namecheap,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_set_exported_as_it_was_given_has_no_difference(form: str) -> None:
    records = sets.own_set()

    result = judged(records, FORMS[form](records))

    assert codes(result) == {}
    assert result.verdict.failure is None
    assert result.beside == ()


@pytest.mark.parametrize("form", FORMS)
def test_each_difference_is_marked_with_the_code_of_the_live_check(form: str) -> None:
    records = list(sets.own_set())
    changed = []
    for each in records:
        match each.kind:
            case "ownership":
                continue
            case "mx":
                record = DnsRecord("MX", each.name, "aspmx.l.google.com", 1)
            case "dkim" if each.record.value == RSA:
                record = DnsRecord("TXT", each.name, RSA[:255])
            case "dmarc":
                record = DnsRecord("TXT", each.name, "v=DMARC1; p=none")
            case _:
                record = each.record
        changed.append(
            DomainRecord(record, each.kind, each.group, each.place, each.purpose, each.needed_for)
        )

    result = judged(tuple(records), FORMS[form](tuple(changed)))

    assert codes(result) == {
        f"_aexy-verification.{DOMAIN}": "ownership_missing",
        DOMAIN: "mx_foreign",
        f"m1._domainkey.{DOMAIN}": "dkim_key_truncated",
        f"_dmarc.{DOMAIN}": "dmarc_weaker",
    }
    assert DnsRecord("MX", DOMAIN, "aspmx.l.google.com", 1) in result.beside


@pytest.mark.parametrize("form", ["GoDaddy", "Namecheap"])
def test_a_full_name_at_a_host_that_appends_its_zone_is_found(form: str) -> None:
    records = sets.own_set()
    text = FORMS[form](records).replace("_dmarc.mail", f"_dmarc.{DOMAIN}")

    result = judged(records, text)

    assert codes(result) == {f"_dmarc.{DOMAIN}": "zone_appended"}


def test_all_values_of_a_name_in_one_cell_are_read() -> None:
    text = _csv(
        ["Record name", "Type", "Value/Route traffic to"],
        [[DOMAIN, "MX", f"10 {HOST}.\n20 mx2.example.net."], [DOMAIN, "TXT", '"a" "b"\n"c;\\"d"']],
    )

    assert read_export(text, "example.com") == (
        DnsRecord("MX", DOMAIN, HOST, 10),
        DnsRecord("MX", DOMAIN, "mx2.example.net", 20),
        DnsRecord("TXT", DOMAIN, "ab"),
        DnsRecord("TXT", DOMAIN, 'c;"d'),
    )


def test_names_outside_the_zone_are_left_out() -> None:
    text = "$ORIGIN example.com.\nmail 300 IN MX 10 mx\nother.test. 300 IN MX 10 mx.test.\n"

    assert read_export(text, "example.com") == (DnsRecord("MX", DOMAIN, "mx.example.com", 10),)


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ("too long", "x" * 1_000_001),
        ("too many", "\n".join(f"n{number} 300 IN A 192.0.2.1" for number in range(5_100))),
        ("neither form", "Dear Sir or Madam,\nplease find the records below.\n"),
        ("a file is included", "$INCLUDE /etc/passwd\n"),
        ("records are generated", "$GENERATE 1-1000000 n$ A 192.0.2.1\n"),
        ("a priority that is none", "Type,Name,Value,Priority\nMX,@,mx.example.net,high\n"),
        ("a name that is none", f"Type,Name,Value\nTXT,{'a' * 64},x\n"),
        ("a half zone file", 'mail 300 IN TXT "v=spf1'),
        ("a NUL", "Type,Name,Value\nTXT,a\x00b,c\n"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(about: str, text: str) -> None:
    with pytest.raises(Malformed, match="export"):
        read_export(text, "example.com")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(text: str) -> None:
    for whole in (text, f"Type,Name,Value\n{text}", f"mail 300 IN {text}"):
        try:
            records = read_export(whole, "example.com")
        except Malformed:
            continue
        assert all(each.name.endswith("example.com") for each in records)


def test_what_is_outside_the_zone_is_asked_for() -> None:
    records = sets.ses_set()

    needs = compare(records, read_export(zone_text(records), "example.com"), {})

    assert isinstance(needs, Needs)
    assert Question("amazonses.com", "TXT") in needs.recursive
    assert not any(each.name.endswith("example.com") for each in needs.recursive)


def test_an_export_answers_like_dns() -> None:
    zone = Published(
        "example.com",
        [
            DnsRecord("MX", "*.example.com", "mx.example.com", 10),
            DnsRecord("TXT", "_dmarc.beta.example.com", "x"),
            DnsRecord("CNAME", "www.example.com", "web.example.com"),
            DnsRecord("A", "web.example.com", "192.0.2.1"),
            DnsRecord("CNAME", "out.example.com", "far.example.net"),
            DnsRecord("CNAME", "loop.example.com", "loop.example.com"),
        ],
    )

    assert zone.answer(Question("acme.example.com", "MX")) == Found(("10 mx.example.com",))
    assert zone.answer(Question("acme.example.com", "TXT")) == Absent(nxdomain=False)
    assert zone.answer(Question("beta.example.com", "MX")) == Absent(nxdomain=False)
    assert zone.answer(Question("x.beta.example.com", "MX")) == Absent(nxdomain=True)
    assert zone.answer(Question("www.example.com", "A")) == Found(("192.0.2.1",))
    assert zone.answer(Question("out.example.com", "A")) == Question("far.example.net", "A")
    assert isinstance(zone.answer(Question("loop.example.com", "A")), Unknown)
    assert zone.answer(Question("_dmarc.com", "TXT")) == Absent(nxdomain=False)
