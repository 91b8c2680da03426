"""One packet in, the right messages out, whoever made the packet."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rrset
import dns.tsig
import pytest

from backend.domains.dns_dialogue import Policy, replies
from backend.domains.zone import Zone
from mailagent.identity import DnsRecord
from tests.domains.zones import DOMAIN, KEY, query, zone

SECONDARY, STRANGER = "192.0.2.53", "192.0.2.99"
POLICY = Policy(frozenset({SECONDARY}), KEY)
ORIGIN = dns.name.from_text(DOMAIN)
ZONE = zone()
BIG = zone(*(DnsRecord("TXT", f"big.{DOMAIN}", f"{n:03}{'x' * 60}") for n in range(40)))
HUGE = zone(*(DnsRecord("TXT", f"k{n}._domainkey.{DOMAIN}", "p=" + "x" * 400) for n in range(200)))

Over = Literal["udp", "tcp"]


def packets(
    packet: bytes, of: Zone | None = None, *, client: str = STRANGER, over: Over = "udp"
) -> list[bytes]:
    return list(replies(packet, of or ZONE, POLICY, client=client, over=over))


def answered(
    asked: dns.message.Message, of: Zone | None = None, *, over: Over = "udp"
) -> dns.message.Message:
    (packet,) = packets(asked.to_wire(), of, over=over)
    response = dns.message.from_wire(packet)
    assert asked.is_response(response)
    return response


def transferred(
    type_: str,
    of: Zone | None = None,
    *,
    serial: int = 1,
    client: str = SECONDARY,
    over: Over = "tcp",
    key: dns.tsig.Key | None = KEY,
    name: str = DOMAIN,
) -> list[dns.message.Message]:
    """The messages that a secondary gets, each with its signature proven."""
    asked = dns.message.make_query(name, type_)
    if type_ == "IXFR":
        asked.authority = [zone().under(serial).soa]
    if key is not None:
        asked.use_tsig(key)
    wire = asked.to_wire()
    got: list[dns.message.Message] = []
    context = None
    for packet in packets(wire, of, client=client, over=over):
        got.append(
            dns.message.from_wire(
                packet,
                keyring=key,
                request_mac=asked.mac,
                xfr=True,
                tsig_ctx=context,
                multi=True,
                one_rr_per_rrset=True,
            )
        )
        context = got[-1].tsig_ctx
    return got


def test_an_answer_is_authoritative_and_offers_no_recursion() -> None:
    response = answered(query(f"acme.{DOMAIN}"))
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert response.answer[0].to_text() == "acme.agents.example. 300 IN MX 10 mx.agents.example."


@pytest.mark.parametrize("name", ["example.", "xagents.example.", "other.example.", "."])
def test_a_name_of_another_zone_is_refused(name: str) -> None:
    response = answered(query(name))
    assert response.rcode() == dns.rcode.REFUSED
    assert not (response.answer)
    assert not (response.authority)
    assert not (response.flags & dns.flags.AA)


def test_another_class_is_refused() -> None:
    asked = dns.message.make_query("version.bind", "TXT", dns.rdataclass.CH)
    assert answered(asked).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("opcode", [dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE])
def test_another_opcode_is_not_implemented(opcode: dns.opcode.Opcode) -> None:
    wire = bytearray(query(DOMAIN).to_wire())
    wire[2] |= opcode << 3
    (packet,) = packets(bytes(wire))
    assert packet[:2] == wire[:2]
    assert (packet[2] & 0x80, packet[2] >> 3 & 0xF, packet[3] & 0xF) == (0x80, opcode, 4)


def test_an_answer_and_a_fragment_of_a_header_get_silence() -> None:
    response = dns.message.make_response(query(DOMAIN)).to_wire()
    assert packets(response) == []
    assert packets(response[:11]) == []
    assert packets(b"") == []


@pytest.mark.parametrize(
    "wire",
    [
        query(DOMAIN).to_wire()[:-1],
        query(DOMAIN).to_wire() + b"x",
        query(DOMAIN).to_wire()[:12],
        b"\0\1\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",  # a name that points to itself
        b"\0\1\0\0\0\2" + query(DOMAIN).to_wire()[6:],
        b"\0\1\0\0\0\1\xff\xff\xff\xff\xff\xff" + query(DOMAIN).to_wire()[12:],
    ],
    # Of no wire: each query has an id of its own, and test processes must see the same tests.
    ids=["cut short", "too long", "no question", "itself", "two promised", "65,535 promised"],
)
def test_what_is_malformed_is_said_to_be(wire: bytes) -> None:
    (packet,) = packets(wire)
    assert (packet[:2], packet[3] & 0xF) == (wire[:2], dns.rcode.FORMERR)


def test_another_version_of_edns_is_told_which_is_spoken() -> None:
    asked = dns.message.make_query(DOMAIN, "MX", use_edns=1)
    response = answered(asked)
    assert (response.rcode(), response.edns) == (dns.rcode.BADVERS, 0)


def test_who_speaks_no_edns_is_answered_without() -> None:
    assert answered(query(DOMAIN)).edns == -1
    assert answered(query(DOMAIN, payload=4096)).payload == 1232


@pytest.mark.parametrize(("payload", "most"), [(0, 512), (700, 700), (100, 512), (4096, 1232)])
def test_what_does_not_fit_a_datagram_is_truncated(payload: int, most: int) -> None:
    asked = query(f"big.{DOMAIN}", "TXT", payload=payload)
    (packet,) = packets(asked.to_wire(), BIG)
    assert len(packet) <= most
    assert dns.message.from_wire(packet).flags & dns.flags.TC
    whole = answered(asked, BIG, over="tcp")
    assert len(whole.answer[0]) == 40
    assert not whole.flags & dns.flags.TC


def test_a_secondary_gets_the_whole_zone_signed_message_by_message() -> None:
    got = transferred("AXFR", HUGE)
    assert len(got) > 3
    assert all(message.had_tsig for message in got)
    records = [rrset for message in got for rrset in message.answer]
    assert records[0].to_text() == records[-1].to_text() == HUGE.soa.to_text()
    assert sorted(one.to_text() for one in records[:-1]) == sorted(
        dns.rrset.from_rdata(rrset.name, rrset.ttl, rdata).to_text()
        for rrset in HUGE.rrsets()
        for rdata in rrset
    )


def test_a_secondary_that_asks_for_changes_gets_the_whole_zone() -> None:
    (got,) = transferred("IXFR", serial=1)
    assert got.answer[0] == got.answer[-1] == zone().soa
    assert len(got.answer) > 10


def test_a_secondary_that_has_the_serial_is_told_so() -> None:
    (got,) = transferred("IXFR", serial=7)
    assert got.answer == [zone().soa]


def test_a_secondary_that_asks_for_changes_by_udp_is_sent_to_tcp() -> None:
    (got,) = transferred("IXFR", serial=1, over="udp")
    assert got.answer == [zone().soa]


def _refusals() -> Iterator[tuple[str, list[dns.message.Message]]]:
    for type_ in ("AXFR", "IXFR"):
        yield f"{type_} by a stranger with the key", transferred(type_, client=STRANGER)
        yield f"{type_} without the key", transferred(type_, key=None)
        yield f"{type_} of a name in the zone", transferred(type_, name=f"beta.{DOMAIN}")
        yield f"{type_} of another zone", transferred(type_, name="other.example")
    yield "AXFR by UDP", transferred("AXFR", over="udp")


def test_nobody_else_gets_the_zone() -> None:
    for which, got in _refusals():
        assert [(one.rcode(), len(one.answer)) for one in got] == [(dns.rcode.REFUSED, 0)], which


def test_no_key_set_means_no_transfer() -> None:
    asked = dns.message.make_query(DOMAIN, "AXFR")
    open_ = Policy(frozenset({SECONDARY}))
    (packet,) = replies(asked.to_wire(), zone(), open_, client=SECONDARY, over="tcp")
    assert dns.message.from_wire(packet).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize(
    "key",
    [
        dns.tsig.Key("mailagent", b"another secret of 32 octets.....", "hmac-sha256"),
        dns.tsig.Key("mailagent", KEY.secret, "hmac-sha512"),
        dns.tsig.Key("other", KEY.secret, "hmac-sha256"),
    ],
)
def test_a_wrong_key_is_not_authentic(key: dns.tsig.Key) -> None:
    asked = dns.message.make_query(DOMAIN, "AXFR")
    asked.use_tsig(key)
    (packet,) = packets(asked.to_wire(), client=SECONDARY, over="tcp")
    assert dns.message.from_wire(packet).rcode() == dns.rcode.NOTAUTH


def random_packets(count: int) -> Iterator[bytes]:
    """Noise, and queries that were changed, cut, joined or lengthened; always the same ones."""
    chance = random.Random(4592)
    names = (DOMAIN, f"acme.{DOMAIN}", f"one.{DOMAIN}", "other.example", ".", f"x.delta.{DOMAIN}")
    types = ("MX", "TXT", "ANY", "AXFR", "IXFR", "SOA", "A", "CNAME", "OPT", "TSIG", "DNSKEY")
    for _ in range(count):
        if chance.random() < 0.2:
            yield chance.randbytes(chance.randrange(0, 600))
            continue
        asked = query(chance.choice(names), chance.choice(types), payload=chance.choice((0, 4096)))
        if chance.random() < 0.2:
            asked.use_tsig(KEY)
        wire = bytearray(asked.to_wire())
        for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
            wire[chance.randrange(len(wire))] = chance.randrange(256)
        if chance.random() < 0.2:
            del wire[chance.randrange(len(wire)) :]
        if chance.random() < 0.1:
            wire += chance.randbytes(chance.randrange(1, 400))
        yield bytes(wire)


def foreign(response: dns.message.Message) -> bool:
    """Whether a response answers for a name that is not in our zone."""
    # A chain of CNAMEs may lead out, but its last record's name is still ours.
    owners = [rrset.name for rrset in (*response.answer, *response.authority)]
    return any(not name.is_subdomain(ORIGIN) for name in owners)


def test_ten_thousand_random_packets_break_nothing_and_get_nothing_foreign() -> None:
    codes = set()
    for number, packet in enumerate(random_packets(10_000)):
        over: Over = "tcp" if number % 2 else "udp"
        for reply in packets(packet, client=SECONDARY, over=over):
            if len(reply) == 12:  # a header alone, which no question could be read for
                codes.add(reply[3] & 0xF)
                continue
            # What is signed is for who has the key, and a signature is proven elsewhere.
            response = dns.message.from_wire(reply, keyring=False)
            assert not foreign(response), packet
            codes.add(int(response.rcode()))
    assert codes >= {0, 1, 3, 4, 5, 9}
