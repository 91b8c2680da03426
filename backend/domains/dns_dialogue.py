"""What does our name server answer to one packet?

A pure function but for the time in a TSIG (RFC 8945): octets in, messages out. It answers for one
zone and hands it over to the listed secondaries; all else is refused in the words of RFC 1035
§4.1.1, and what is no question gets silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rrset
import dns.tsig
from dns.rdataclass import IN
from dns.rdatatype import RdataType

from backend.domains.zone import Zone

__all__ = ["Policy", "replies"]

_HEADER = 12
_PLAIN_UDP = 512  # RFC 1035 §4.2.1
_UDP_BYTES = 1_232
"""What we send by UDP at most: no IPv6 path fragments it (RFC 9715 §3.1)."""
_TRANSFER_BYTES = 16_000
"""Octets in one message of a transfer, about: a name is compressed to one in the first 16 KB."""
_UNSIGNED = (
    dns.message.UnknownTSIGKey,
    dns.tsig.BadAlgorithm,
    dns.tsig.BadKey,
    dns.tsig.BadSignature,
    dns.tsig.BadTime,
    dns.tsig.PeerError,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may have the whole zone: a listed address that signs with the key. Both are needed."""

    secondaries: frozenset[str] = frozenset()
    key: dns.tsig.Key | None = None


def replies(
    packet: bytes, zone: Zone, policy: Policy, *, client: str, over: Literal["udp", "tcp"]
) -> Iterator[bytes]:
    """The messages that answer a packet: none, one, or those of a transfer. Never raises."""
    if len(packet) < _HEADER or packet[2] & 0x80:
        return  # no question; to answer an answer could go on for ever
    opcode = dns.opcode.from_flags(int.from_bytes(packet[2:4], "big"))
    if opcode != dns.opcode.QUERY:
        yield _bare(packet, dns.rcode.NOTIMP)
        return
    if not _modest(packet):
        yield _bare(packet, dns.rcode.FORMERR)
        return
    ring = {policy.key.name: policy.key} if policy.key else {}
    try:
        query = dns.message.from_wire(packet, keyring=ring)
    except _UNSIGNED:
        yield _bare(packet, dns.rcode.NOTAUTH)  # RFC 8945 §5.2
        return
    except Exception:  # noqa: BLE001 - the top of a door: whatever a stranger's octets break is theirs
        yield _bare(packet, dns.rcode.FORMERR)
        return
    question = query.question[0]
    if question.rdtype in (RdataType.AXFR, RdataType.IXFR) and not query.edns > 0:
        yield from _transfer(query, zone, policy, client=client, over=over)
        return
    response = _answered(query, zone)
    largest = 65_535
    if over == "udp":
        largest = min(max(query.payload, _PLAIN_UDP), _UDP_BYTES)
    yield response.to_wire(max_size=largest, prefer_truncation=True)


def _modest(packet: bytes) -> bool:
    """Whether the counts are a query's: then hostile octets cannot make parsing long."""
    counts = [int.from_bytes(packet[at : at + 2], "big") for at in (4, 6, 8, 10)]
    # An IXFR names the serial it has in the authority section; EDNS and TSIG are additional.
    return counts[0] == 1 and counts[1] == 0 and counts[2] <= 1 and counts[3] <= 2


def _bare(packet: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """A header alone: id, opcode and RD of the query, and the code."""
    flags = int.from_bytes(packet[2:4], "big") & 0x7900 | 0x8000 | rcode
    return packet[:2] + flags.to_bytes(2, "big") + bytes(8)


def _response(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query, our_payload=_UDP_BYTES, pad=0)
    response.set_rcode(rcode)
    return response


def _answered(query: dns.message.Message, zone: Zone) -> dns.message.Message:
    question = query.question[0]
    if query.edns > 0:
        return _response(query, dns.rcode.BADVERS)  # RFC 6891 §6.1.3
    if question.rdclass != IN or not question.name.is_subdomain(zone.origin):
        return _response(query, dns.rcode.REFUSED)
    if dns.rdatatype.is_metatype(question.rdtype) and question.rdtype != RdataType.ANY:
        return _response(query, dns.rcode.NOTIMP)
    found = zone.answer(question.name, question.rdtype)
    response = _response(query, found.rcode)
    response.flags |= dns.flags.AA
    response.answer = list(found.answer)
    response.authority = list(found.authority)
    return response


def _transfer(
    query: dns.message.Message,
    zone: Zone,
    policy: Policy,
    *,
    client: str,
    over: Literal["udp", "tcp"],
) -> Iterator[bytes]:
    question = query.question[0]
    if (
        question.rdclass != IN
        or question.name != zone.origin
        or not query.had_tsig
        or client not in policy.secondaries
        or (over == "udp" and question.rdtype == RdataType.AXFR)  # RFC 5936 §4.2
    ):
        yield _response(query, dns.rcode.REFUSED).to_wire()
        return
    incremental = question.rdtype == RdataType.IXFR
    # RFC 1995 §2 and §4: who has this serial, or asks by UDP for more than that can carry, is told
    # the SOA alone; all others get the whole zone as an AXFR would give it.
    if incremental and (over == "udp" or _serial_of(query) == zone.serial):
        response = _response(query, dns.rcode.NOERROR)
        response.flags |= dns.flags.AA
        response.answer = [zone.soa]
        yield response.to_wire(max_size=65_535)
        return
    yield from _whole(query, zone)


def _serial_of(query: dns.message.Message) -> int | None:
    for rrset in query.authority:
        for rdata in rrset:
            if isinstance(rdata, dns.rdtypes.ANY.SOA.SOA):
                return int(rdata.serial)
    return None


def _whole(query: dns.message.Message, zone: Zone) -> Iterator[bytes]:
    """The messages of a transfer (RFC 5936 §2.2), each signed in the chain of RFC 8945 §5.3.1."""
    context = None
    for number, batch in enumerate(_batches(zone)):
        response = _response(query, dns.rcode.NOERROR)
        response.flags |= dns.flags.AA
        if number:
            response.question = []
        response.answer = batch
        yield response.to_wire(max_size=65_535, multi=True, tsig_ctx=context)
        context = response.tsig_ctx


def _batches(zone: Zone) -> Iterator[list[dns.rrset.RRset]]:
    batch: list[dns.rrset.RRset] = []
    size = 0
    for rrset in (*zone.rrsets(), zone.soa):
        length = len(rrset.to_text())  # as text a set is longer than on the wire
        if batch and size + length > _TRANSFER_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(rrset)
        size += length
    yield batch
