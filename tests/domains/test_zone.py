"""The zone answers as RFC 1034, 2308, 4592 and 8482 have it, and refuses what no server could."""

from __future__ import annotations

import dns.name
import dns.rcode
import dns.zone
import pytest
from dns.rdatatype import RdataType

from backend.domains.zone import NameServer, Zone
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord
from tests.domains.zones import DOMAIN, LONG_KEY, SERVERS, zone

_SPF, _MX = '"v=spf1 -all"', "10 mx.agents.example."


def asked(name: str, type_: str, of: Zone | None = None) -> tuple[str, list[str], bool]:
    """The code, the records of the answer, and whether the SOA says that there is no more."""
    full = dns.name.from_text(f"{name}.{DOMAIN}" if name else DOMAIN)
    found = (of or zone()).answer(full, RdataType[type_])
    records = [rdata.to_text() for rrset in found.answer for rdata in rrset]
    return dns.rcode.to_text(found.rcode), records, bool(found.authority)


@pytest.mark.parametrize(
    ("name", "type_", "records"),
    [
        ("", "MX", [_MX]),
        ("acme", "MX", [_MX]),
        ("a.b.acme", "MX", [_MX]),
        ("acme", "TXT", [_SPF]),
        ("_dmarc.acme", "TXT", [_SPF]),
        ("s1._domainkey.acme", "TXT", [_SPF]),
        ("*", "MX", [_MX]),
        ("delta", "TXT", ['"aexy-verify=1"']),
        ("_submission._tcp", "SRV", ["0 1 587 mx.agents.example."]),
        ("one", "A", ["two.agents.example.", "mx.agents.example.", "192.0.2.25"]),
        ("one", "CNAME", ["two.agents.example."]),
        ("one", "ANY", ["two.agents.example."]),
        ("wild", "MX", ["any.thing.agents.example.", _MX]),
        ("away", "MX", ["elsewhere.example."]),
    ],
)
def test_what_is_there_or_covered_by_the_wildcard_is_answered(
    name: str, type_: str, records: list[str]
) -> None:
    assert asked(name, type_) == ("NOERROR", records, False)


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("acme", "A"),
        ("beta", "MX"),
        ("beta", "TXT"),
        ("gamma", "MX"),
        ("_domainkey.gamma", "TXT"),
        ("delta", "MX"),
        ("bounce", "TXT"),
        ("_domainkey", "MX"),
        ("_tcp", "A"),
    ],
)
def test_a_name_that_exists_hides_the_wildcard(name: str, type_: str) -> None:
    assert asked(name, type_) == ("NOERROR", [], True)


@pytest.mark.parametrize("name", ["_dmarc.gamma", "x.delta", "x._dmarc", "x.abc._domainkey", "x.*"])
def test_below_a_name_that_exists_is_nothing(name: str) -> None:
    assert asked(name, "TXT") == ("NXDOMAIN", [], True)


def test_a_chain_ends_with_the_code_of_its_last_name() -> None:
    assert asked("lost", "TXT") == ("NXDOMAIN", [f"nothing._dmarc.{DOMAIN}."], True)
    assert asked("one", "TXT")[::2] == ("NOERROR", True)


def test_a_ring_of_cnames_ends() -> None:
    code, records, _ = asked("ring", "MX")
    assert code == "NOERROR"
    assert len(records) < 20


def test_an_absence_holds_a_minute_by_the_soa() -> None:
    (soa,) = zone().answer(dns.name.from_text(f"x.delta.{DOMAIN}"), RdataType.MX).authority
    assert soa.name == dns.name.from_text(DOMAIN)
    assert (soa.ttl, soa[0].minimum, zone().soa.ttl) == (60, 60, 300)


def test_any_gets_one_of_the_sets() -> None:
    (only,) = zone().answer(dns.name.from_text(f"mx.{DOMAIN}"), RdataType.ANY).answer
    assert only.rdtype == RdataType.A


def test_an_answer_keeps_the_case_of_the_question() -> None:
    (found,) = zone().answer(dns.name.from_text("AcMe.Agents.Example"), RdataType.MX).answer
    assert found.name.to_text() == "AcMe.Agents.Example."


def test_the_text_is_a_master_file_that_holds_the_same() -> None:
    read = dns.zone.from_text(zone().to_text(), relativize=False)
    assert read.origin == dns.name.from_text(DOMAIN)
    assert {rrset.to_text() for rrset in zone().rrsets()} == {
        dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset)).to_text()
        for name, rdataset in read.iterate_rdatasets()
    }
    key = read.get_rdataset(f"abc._domainkey.{DOMAIN}.", "TXT")
    assert key is not None
    assert b"".join(key[0].strings).decode() == LONG_KEY
    assert max(map(len, key[0].strings)) == 255


def test_only_the_soa_differs_under_another_serial() -> None:
    ours, theirs = (one.to_text().splitlines() for one in (zone(), zone().under(8)))
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == [
        (ours[1], theirs[1])
    ]
    assert zone().under(8).soa[0].serial == 8


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (DnsRecord("TXT", "example", "x"), "example: is not in the zone"),
        (DnsRecord("TXT", "xagents.example", "x"), "xagents.example: is not in the zone"),
        (DnsRecord("A", f"a.{DOMAIN}", "192.0.2.256"), "A a.agents.example: '192.0.2.256'"),
        (DnsRecord("MX", f"a.{DOMAIN}", "mx.example"), "MX a.agents.example: has no priority"),
        (DnsRecord("MX", f"a.{DOMAIN}", "mx .example", 1), "MX a.agents.example: "),
        (DnsRecord("CNAME", f"a.{DOMAIN}", "a..b"), "CNAME a.agents.example: 'a..b'"),
        (DnsRecord("NS", f"a.{DOMAIN}", "ns.example"), "we delegate nothing"),
        (DnsRecord("CNAME", f"delta.{DOMAIN}", "a.example"), "delta.agents.example: has a CNAME"),
        (DnsRecord("CNAME", DOMAIN, "a.example"), "agents.example: has a CNAME beside"),
        (DnsRecord("CNAME", f"one.{DOMAIN}", "a.example"), "one.agents.example: has two CNAME"),
        (DnsRecord("TXT", f"{'a' * 64}.{DOMAIN}", "x"), "is not a domain name"),
    ],
)
def test_what_no_server_would_load_is_refused_by_name(record: DnsRecord, complaint: str) -> None:
    with pytest.raises(Malformed) as refused:
        zone(record)
    assert complaint in str(refused.value)


def test_a_name_server_in_the_zone_must_say_where_it_is() -> None:
    nowhere = (*SERVERS, NameServer("ns3.agents.example"))
    with pytest.raises(Malformed, match=r"^ns3.agents.example: is in its own zone"):
        Zone.of(DOMAIN, (), name_servers=nowhere, serial=1)


def test_the_same_record_twice_stands_once() -> None:
    twice = zone(DnsRecord("MX", DOMAIN, "MX.agents.example.", 10))
    assert asked("", "MX", twice)[1] == [_MX]
