"""What does our zone answer to a question?

A zone is a value: a name, its authority and records. `answer` follows RFC 1034 §4.3.2 with the
wildcards of RFC 4592; nothing is delegated out of it. No clock, network or database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Self

import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rrset
from dns.rdataclass import IN
from dns.rdatatype import RdataType

from mailagent.errors import Malformed
from mailagent.identity import DnsRecord

__all__ = ["Answer", "NameServer", "Zone", "checked_record", "of_servers"]

_TTL = 300
"""Seconds; short, because whoever moves to another MX or key waits for it."""
_REFRESH, _RETRY, _EXPIRE, _NEGATIVE = 300, 60, 1_209_600, 60
"""Seconds of the SOA. NOTIFY brings a change at once; the refresh is for one that was lost. A
secondary answers two weeks without us (RFC 1912 §2.2). `_NEGATIVE` lets "I have added the record"
come true within the minute (RFC 2308 §4)."""
_LONGEST_CHAIN = 8
_CHARACTER_STRING = 255  # RFC 1035 §3.3

_Node = Mapping[RdataType, dns.rdataset.Rdataset]


@dataclass(frozen=True, slots=True)
class NameServer:
    """A host that answers for the zone in public."""

    name: str
    addresses: tuple[str, ...] = ()
    """Needed when the name lies in the zone itself, which must say where it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes into a response. The records of `answer` may belong to names of a CNAME's chain."""

    rcode: dns.rcode.Rcode
    answer: tuple[dns.rrset.RRset, ...] = ()
    authority: tuple[dns.rrset.RRset, ...] = ()


@dataclass(frozen=True)
class Zone:
    """The records of one zone under one serial; made by `of`."""

    origin: dns.name.Name
    serial: int
    _nodes: Mapping[dns.name.Name, _Node] = field(repr=False)
    _existing: frozenset[dns.name.Name] = field(repr=False)
    """Names with records, and those above them that have none (RFC 4592 §2.2.2)."""

    @classmethod
    def of(
        cls,
        name: str,
        records: Iterable[DnsRecord],
        *,
        name_servers: Sequence[NameServer],
        serial: int,
    ) -> Self:
        """The zone `name` with these records, each once, and what is made of the name servers.

        The SOA names `hostmaster@` the zone. Raises Malformed that names the record: outside the
        zone, of a form that its type does not have, a CNAME beside other records (RFC 1034
        §3.6.2), an NS below the zone's own name, a name server in the zone without an address.
        """
        origin = _name(name)
        nodes: dict[dns.name.Name, dict[RdataType, dns.rdataset.Rdataset]] = {}
        soa = dns.rdtypes.ANY.SOA.SOA(  # type: ignore[no-untyped-call]
            IN,
            RdataType.SOA,
            _name(name_servers[0].name) if name_servers else origin,
            dns.name.Name([b"hostmaster", *origin.labels]),
            serial,
            _REFRESH,
            _RETRY,
            _EXPIRE,
            _NEGATIVE,
        )
        _add(nodes, origin, soa)
        for record in (*of_servers(name, name_servers), *records):
            owner = _name(record.name)
            if not owner.is_subdomain(origin):
                raise Malformed(record.name, f"is not in the zone {name}")
            if record.type == "NS" and owner != origin:
                raise Malformed(record.name, "is delegated by an NS record: we delegate nothing")
            _add(nodes, owner, _rdata(record))
        _check(nodes, origin, name_servers)
        existing = {above for owner in nodes for above in _up_to(owner, origin)}
        return cls(origin, serial, nodes, frozenset(existing))

    def under(self, serial: int) -> Self:
        """The same zone with another serial."""
        rdata = self.soa[0].replace(serial=serial)
        soa = dns.rdataset.from_rdata(_TTL, rdata)
        apex = {**self._nodes[self.origin], RdataType.SOA: soa}
        return replace(self, serial=serial, _nodes={**self._nodes, self.origin: apex})

    def answer(self, name: dns.name.Name, type_: RdataType) -> Answer:
        """Answer a question of class IN for a name at or below the zone's.

        A chain of CNAMEs is followed as long as it stays in the zone; the code is that of its last
        name (RFC 6604 §3). ANY gets one of the sets (RFC 8482 §4.1).
        """
        chain: list[dns.rrset.RRset] = []
        for _ in range(_LONGEST_CHAIN):
            node = self._node(name)
            if node is None:
                return Answer(dns.rcode.NXDOMAIN, tuple(chain), (self._negative,))
            found = next(iter(node.values()), None) if type_ == RdataType.ANY else node.get(type_)
            alias = node.get(RdataType.CNAME)
            if (chosen := found or alias) is None:
                return Answer(dns.rcode.NOERROR, tuple(chain), (self._negative,))
            chain.append(dns.rrset.from_rdata_list(name, chosen.ttl, list(chosen)))
            if found or alias is None:
                break
            name = _target(alias)
            if not name.is_subdomain(self.origin):
                break
        return Answer(dns.rcode.NOERROR, tuple(chain))

    def rrsets(self) -> Iterator[dns.rrset.RRset]:
        """All sets in canonical order of their names, the SOA first: as a transfer begins."""
        for name in sorted(self._nodes):
            for rdataset in self._nodes[name].values():
                yield dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))

    @property
    def soa(self) -> dns.rrset.RRset:
        """The SOA as it stands in the zone."""
        return self._soa(_TTL)

    def to_text(self) -> str:
        """The zone as a master file (RFC 1035 §5), every name in full."""
        lines = [f"$ORIGIN {self.origin}", *(rrset.to_text() for rrset in self.rrsets())]
        return "\n".join(lines) + "\n"

    @property
    def _negative(self) -> dns.rrset.RRset:
        """The SOA as it says how long an absence holds (RFC 2308 §3)."""
        return self._soa(min(_TTL, _NEGATIVE))

    def _soa(self, ttl: int) -> dns.rrset.RRset:
        rdataset = self._nodes[self.origin][RdataType.SOA]
        return dns.rrset.from_rdata_list(self.origin, ttl, list(rdataset))

    def _node(self, name: dns.name.Name) -> _Node | None:
        """The records at a name, by themselves or by a wildcard; None where there is no name."""
        if name in self._existing:
            return self._nodes.get(name, {})
        # RFC 4592 §3.3.1: only the wildcard of the closest encloser counts.
        encloser = name.parent()
        while encloser not in self._existing:
            encloser = encloser.parent()
        source = dns.name.Name([b"*", *encloser.labels])
        return self._nodes.get(source, {}) if source in self._existing else None


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text.lower())
    except (dns.exception.DNSException, UnicodeError) as error:
        raise Malformed(text[:253], f"is not a domain name: {error}") from error


def checked_record(record: DnsRecord) -> None:
    """Pass a record that a zone can hold. Raises Malformed that names it."""
    _name(record.name)
    _rdata(record)


def of_servers(zone: str, servers: Sequence[NameServer]) -> Iterator[DnsRecord]:
    """What makes these hosts the zone's servers: NS, and addresses where they were given."""
    for server in servers:
        yield DnsRecord("NS", zone, server.name)
        for address in server.addresses:
            yield DnsRecord("AAAA" if ":" in address else "A", server.name, address)


def _rdata(record: DnsRecord) -> dns.rdata.Rdata:
    if record.type == "TXT":
        octets = record.value.encode()
        at = range(0, len(octets), _CHARACTER_STRING)
        strings = [octets[first : first + _CHARACTER_STRING] for first in at] or [b""]
        return dns.rdtypes.ANY.TXT.TXT(IN, RdataType.TXT, strings)
    value = record.value
    if record.type in ("MX", "SRV"):
        if record.priority is None:
            raise Malformed(f"{record.type} {record.name}", "has no priority")
        value = f"{record.priority} {value}"
    try:
        if record.type in ("A", "AAAA"):
            value = str(ip_address(value))
        rdata = dns.rdata.from_text(IN, record.type, value, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise Malformed(f"{record.type} {record.name}", f"{value[:253]!r}: {error}") from error
    return rdata


def _add(
    nodes: dict[dns.name.Name, dict[RdataType, dns.rdataset.Rdataset]],
    owner: dns.name.Name,
    rdata: dns.rdata.Rdata,
) -> None:
    node = nodes.setdefault(owner, {})
    if rdata.rdtype not in node:
        node[rdata.rdtype] = dns.rdataset.Rdataset(IN, rdata.rdtype, ttl=_TTL)
    if rdata.rdtype == RdataType.CNAME and node[rdata.rdtype] and rdata not in node[rdata.rdtype]:
        raise Malformed(_shown(owner), "has two CNAME records: one is all that a name can have")
    node[rdata.rdtype].add(rdata)


def _check(
    nodes: Mapping[dns.name.Name, _Node], origin: dns.name.Name, servers: Sequence[NameServer]
) -> None:
    for owner, node in nodes.items():
        if RdataType.CNAME in node and len(node) > 1:
            others = ", ".join(type_.name for type_ in node if type_ != RdataType.CNAME)
            raise Malformed(_shown(owner), f"has a CNAME beside {others}: only one can stand there")
    for server in servers:
        host = _name(server.name)
        if host.is_subdomain(origin) and not nodes.get(host, {}).keys() & {
            RdataType.A,
            RdataType.AAAA,
        }:
            raise Malformed(server.name, "is in its own zone: say its address as well")


def _target(alias: dns.rdataset.Rdataset) -> dns.name.Name:
    rdata = alias[0]
    assert isinstance(rdata, dns.rdtypes.ANY.CNAME.CNAME)
    return rdata.target


def _up_to(owner: dns.name.Name, origin: dns.name.Name) -> Iterator[dns.name.Name]:
    while owner != origin:
        yield owner
        owner = owner.parent()
    yield origin


def _shown(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
