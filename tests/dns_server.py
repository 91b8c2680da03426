"""A small real DNS server on loopback, UDP and TCP, for tests of everything that asks DNS.

It answers for every name from a dict, with wildcards (RFC 4592), CNAMEs and empty non-terminals,
and can be told to fail (SERVFAIL), to stay silent or to be slow:

    with DnsServer({"example.com": {"TXT": ["v=spf1 -all"], "MX": ["5 mx.other."]}}) as server:
        server.silent("slow.example.com")
        resolver = Resolver(server.address)
"""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

Zone = Mapping[str, Mapping[str, Sequence[str]]]
"""Records by name and type; TXT as plain text of any length, the rest as in zone files."""


class DnsServer:
    """Authoritative for everything. All methods may be called while it runs."""

    def __init__(self, zone: Zone | None = None, *, ttl: int = 300) -> None:
        self.zone: dict[str, dict[str, list[str]]] = {}
        self.ttl = ttl
        self.asked: list[tuple[str, str]] = []
        """Every question that came, as (name, type)."""
        self._failing: set[str] = set()
        self._silent: set[str] = set()
        self._slow: dict[str, float] = {}
        self._stopping = threading.Event()
        self.add(zone or {})

    def add(self, zone: Zone) -> None:
        """Add records; the same name and type is replaced."""
        for name, types in zone.items():
            entry = self.zone.setdefault(_key(name), {})
            entry.update({type_.upper(): list(records) for type_, records in types.items()})

    def add_zone_text(self, text: str, origin: str) -> None:
        """Add the records of a zone file."""
        zone = dns.zone.from_text(
            f"$TTL {self.ttl}\n{text}", origin=origin, relativize=False, check_origin=False
        )
        for name, rdataset in zone.iterate_rdatasets():
            type_ = dns.rdatatype.to_text(rdataset.rdtype)
            records = [
                b"".join(rdata.strings).decode() if type_ == "TXT" else rdata.to_text()
                for rdata in rdataset
            ]
            self.add({name.to_text(omit_final_dot=True): {type_: records}})

    def remove(self, name: str) -> None:
        """Forget all records of a name."""
        self.zone.pop(_key(name), None)

    def failing(self, *names: str) -> None:
        """Answer SERVFAIL for these names."""
        self._failing.update(map(_key, names))

    def silent(self, *names: str) -> None:
        """Never answer for these names."""
        self._silent.update(map(_key, names))

    def slow(self, name: str, seconds: float) -> None:
        """Answer for this name only after a while."""
        self._slow[_key(name)] = seconds

    def well(self, *names: str) -> None:
        """Answer these names as if nothing had been."""
        for name in map(_key, names):
            self._failing.discard(name)
            self._silent.discard(name)
            self._slow.pop(name, None)

    @property
    def port(self) -> int:
        """The UDP and TCP port, chosen when the server starts."""
        return int(self._udp.server_address[1])

    @property
    def address(self) -> str:
        """`127.0.0.1:port`, as the setting MAILAGENT_RESOLVER takes it."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._udp, self._tcp = _bound(self)
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in (self._udp, self._tcp)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def answer(self, wire: bytes, *, limit: int | None) -> bytes | None:
        """The answer to one packet; `limit` is UDP's size, beyond which it is truncated."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        name, type_ = _key(question.name.to_text()), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, type_))
        if name in self._silent:
            return None
        if name in self._slow:
            self._stopping.wait(self._slow[name])
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if name in self._failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            self._fill(response, name, type_)
        size = None if limit is None else max(limit, query.payload if query.edns >= 0 else limit)
        packed = response.to_wire(max_size=65535)
        if size is not None and len(packed) > size:
            response.answer.clear()
            response.flags |= dns.flags.TC
            packed = response.to_wire()
        return packed

    def _fill(self, response: dns.message.Message, name: str, type_: str) -> None:
        for _ in range(9):
            entry = self._entry(name)
            if entry is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
            elif type_ in entry:
                response.answer.append(self._rrset(name, type_, entry[type_]))
                return
            elif "CNAME" in entry:
                response.answer.append(self._rrset(name, "CNAME", entry["CNAME"]))
                name = _key(entry["CNAME"][0])
                continue
            soa = f"ns.test. hostmaster.test. 1 60 60 60 {self.ttl}"
            response.authority.append(self._rrset(name.partition(".")[2], "SOA", [soa]))
            return

    def _entry(self, name: str) -> Mapping[str, Sequence[str]] | None:
        """What stands at a name: its records, none (empty non-terminal), or None (no such name)."""
        if name in self.zone:
            return self.zone[name]
        labels = name.split(".")
        for cut in range(len(labels)):
            encloser = ".".join(labels[cut:])
            if any(known == encloser or known.endswith(f".{encloser}") for known in self.zone):
                # The wildcard of the closest encloser only, RFC 4592 §3.3.1.
                return {} if cut == 0 else self.zone.get(f"*.{encloser}")
        return None

    def _rrset(self, name: str, type_: str, records: Sequence[str]) -> dns.rrset.RRset:
        owner = dns.name.Name([*(label.encode() for label in name.split(".") if label), b""])
        texts = [_quoted(record) if type_ == "TXT" else record for record in records]
        kind = dns.rdatatype.from_text(type_)
        return dns.rrset.from_text_list(
            owner, self.ttl, dns.rdataclass.IN, kind, texts, origin=dns.name.root, relativize=False
        )


def _key(name: str) -> str:
    return name.lower().removesuffix(".")


def _quoted(text: str) -> str:
    octets = text.encode()
    chunks = [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(f"\\{octet:03d}" for octet in chunk) + '"' for chunk in chunks)


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False
    dns: DnsServer


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    dns: DnsServer


class _UdpPacket(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        wire, from_ = self.request
        packed = self.server.dns.answer(wire, limit=512)
        if packed is not None:
            # The server may have been stopped while a slow answer waited.
            with contextlib.suppress(OSError):
                from_.sendto(packed, self.client_address)


class _TcpConnection(socketserver.StreamRequestHandler):
    server: _Tcp

    def handle(self) -> None:
        while len(head := self.rfile.read(2)) == 2:
            (length,) = struct.unpack("!H", head)
            packed = self.server.dns.answer(self.rfile.read(length), limit=None)
            if packed is None:
                return
            self.wfile.write(struct.pack("!H", len(packed)) + packed)


def _bound(owner: DnsServer) -> tuple[_Udp, _Tcp]:
    """Both servers on one port that was free for both."""
    for _ in range(50):
        udp = _Udp(("127.0.0.1", 0), _UdpPacket)
        try:
            tcp = _Tcp(udp.server_address, _TcpConnection)
        except OSError:
            udp.server_close()
            continue
        udp.dns = tcp.dns = owner
        return udp, tcp
    raise OSError("no port is free for both UDP and TCP")
