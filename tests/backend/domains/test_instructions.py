"""What to type in which field, by the DNS host that the name servers show."""

from __future__ import annotations

import pytest

from backend.domains.instructions import HOSTS, Step, dns_host, instructions
from tests.backend.domains import sets
from tests.backend.domains.sets import DOMAIN, HOST, RSA

SEEN = [
    (("ada.ns.cloudflare.com", "bob.ns.cloudflare.com."), "Cloudflare"),
    (("ns-1.awsdns-01.org", "NS-2.AWSDNS-02.co.uk"), "Amazon Route 53"),
    (("ns01.domaincontrol.com",), "GoDaddy"),
    (("dns1.registrar-servers.com",), "Namecheap"),
    (("ns-cloud-a1.googledomains.com",), "Google Cloud DNS"),
    (("ns1.example.net",), "your DNS host"),
    (("ada.ns.cloudflare.com", "ns1.example.net"), "your DNS host"),
    (("notns.cloudflare.com.evil.example",), "your DNS host"),
    ((), "your DNS host"),
]


def step(server: str, kind: str, name: str | None = None) -> Step:
    steps = instructions(dns_host([server]), sets.own_set())
    return next(
        each
        for each in steps
        if each.record.kind == kind and (name is None or each.record.name == name)
    )


@pytest.mark.parametrize(("servers", "title"), SEEN)
def test_a_host_is_known_by_its_name_servers(servers: tuple[str, ...], title: str) -> None:
    assert dns_host(servers).title == title


def test_cloudflare_is_told_the_short_name_and_dns_only() -> None:
    mx = step("ada.ns.cloudflare.com", "mx")
    cnames = instructions(dns_host(["ada.ns.cloudflare.com"]), sets.ses_set())

    assert mx.fields == (
        ("Type", "MX"),
        ("Name", "mail"),
        ("Priority", "10"),
        ("Mail server", HOST),
        ("TTL", "Auto"),
    )
    assert all(
        any("DNS only" in note for note in each.notes) == (each.record.record.type == "CNAME")
        for each in cnames
    )


def test_route_53_is_told_quoted_strings_of_255_and_the_priority_in_the_value() -> None:
    key = step("ns-1.awsdns-01.org", "dkim", f"m1._domainkey.{DOMAIN}")
    mx = step("ns-1.awsdns-01.org", "mx")

    assert dict(key.fields)["Value"] == f'"{RSA[:255]}" "{RSA[255:]}"'
    assert dict(mx.fields) == {
        "Record type": "MX",
        "Record name": "mail",
        "Value": f"10 {HOST}",
        "TTL (seconds)": "300",
    }


@pytest.mark.parametrize("server", ["ns01.domaincontrol.com", "dns1.registrar-servers.com"])
def test_hosts_that_append_the_zone_say_so(server: str) -> None:
    own = step(server, "ownership")

    assert "_aexy-verification.mail" in dict(own.fields).values()
    assert any("appends example.com" in note for note in own.notes)


def test_google_is_told_final_dots() -> None:
    assert ("Preference and server", f"10 {HOST}.") in step(
        "ns-cloud-a1.googledomains.com", "mx"
    ).fields


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.title)
def test_every_host_gets_every_record_whole(host: object) -> None:
    chosen = next(each for each in HOSTS if each is host)
    records = sets.own_set(extras=sets.EXTRAS)

    steps = instructions(chosen, records)

    assert [each.record for each in steps] == list(records)
    for each in steps:
        typed = dict(each.fields)
        assert typed[chosen.type_title] == each.record.record.type
        bare = "".join(typed.values()).replace('" "', "").replace('"', "")
        assert each.record.record.value in bare
        assert "{" not in " ".join((*typed.values(), *each.notes))
