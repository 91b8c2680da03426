"""What does somebody else's DNS host say that it publishes? Its export, read into records.

Zone files (RFC 1035 §5, as BIND, Cloudflare, GoDaddy and others write them) and CSV by the column
names of Cloudflare, Route 53, GoDaddy and Namecheap. It is foreign text: bounded, and nothing is
included or generated from it.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator, Mapping

import dns.exception
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.nsbase
import dns.rdtypes.txtbase
import dns.zone

from backend.domains.record import checked_domain
from mailagent.dns_answers import ascii_name
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord

__all__ = ["read_export"]

_FIELD = "export"
_MAX_CHARACTERS = 1_000_000
_MAX_LINES = 5_000
"""Of records: dnspython's time grows with the square of the records of one name."""
_TYPES = frozenset({"A", "AAAA", "CNAME", "MX", "NS", "TXT"})

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "type": ("type", "record type", "recordtype"),
    "name": ("name", "record name", "host", "hostname", "host name", "host record"),
    "value": (
        "value",
        "content",
        "data",
        "value/route traffic to",
        "target",
        "points to",
        "address",
        "answer",
        "record value",
    ),
    "priority": ("priority", "prio", "preference", "mx pref", "mx priority", "mx preference"),
}


def read_export(text: str, zone: str) -> tuple[DnsRecord, ...]:
    """The records of an export that are of types we know; names outside `zone` are left out.

    Raises Malformed, with the row of a CSV, for what is neither form, for more than a million
    characters and for more than 5,000 lines of records.
    """
    origin = checked_domain("zone", zone)
    if len(text) > _MAX_CHARACTERS:
        raise Malformed(_FIELD, f"is longer than {_MAX_CHARACTERS:,} characters")
    text = text.removeprefix("\ufeff")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(";")]
    if len(lines) > _MAX_LINES:
        raise Malformed(_FIELD, f"has more than {_MAX_LINES:,} lines of records")
    columns = _columns_of(lines[0] if lines else "")
    records = _csv(text, origin, columns) if columns is not None else _zone(text, origin)
    inside = (r for r in records if r.name == origin or r.name.endswith(f".{origin}"))
    return tuple(dict.fromkeys(inside))


def _zone(text: str, origin: str) -> Iterator[DnsRecord]:
    try:
        zone = dns.zone.from_text(
            # A file that has no TTL at all is read too: what it says of names and values counts.
            f"$TTL 300\n{text}",
            origin=origin,
            relativize=False,
            check_origin=False,
            allow_include=False,
            allow_directives=("$ORIGIN", "$TTL"),
        )
    except (dns.exception.DNSException, ValueError, KeyError) as refused:
        raise Malformed(
            _FIELD, f"is neither a zone file nor a CSV with Type, Name and Value: {refused}"
        ) from refused
    for name, rdataset in zone.iterate_rdatasets():
        type_ = dns.rdatatype.to_text(rdataset.rdtype)
        if type_ in _TYPES:
            for rdata in rdataset:
                yield _record(name.to_text(omit_final_dot=True).lower(), type_, rdata)


def _record(name: str, type_: str, rdata: dns.rdata.Rdata) -> DnsRecord:
    match rdata:
        case dns.rdtypes.txtbase.TXTBase(strings=strings):
            return _made(name, type_, b"".join(strings).decode("utf-8", "replace"))
        case dns.rdtypes.ANY.MX.MX(preference=preference, exchange=exchange):
            host = exchange.to_text(omit_final_dot=True).lower()
            return _made(name, type_, host, preference)
        case dns.rdtypes.nsbase.NSBase(target=target):
            return _made(name, type_, target.to_text(omit_final_dot=True).lower())
        case _:
            return _made(name, type_, rdata.to_text())


def _columns_of(head: str) -> dict[str, int] | None:
    """Where each column stands, None when the first line is no header that has all we need."""
    titles = [title.strip().lower() for title in _rows(head, _delimiter(head))[0]] if head else []
    found: dict[str, int] = {}
    for column, names in _COLUMNS.items():
        at = next((titles.index(name) for name in names if name in titles), None)
        if at is not None:
            found[column] = at
    return found if {"type", "name", "value"} <= found.keys() else None


def _csv(text: str, origin: str, columns: Mapping[str, int]) -> Iterator[DnsRecord]:
    lines = text.lstrip()
    rows = _rows(lines, _delimiter(lines.partition("\n")[0]))[1:]
    cells = [
        (number, {column: row[at].strip() for column, at in columns.items() if at < len(row)})
        for number, row in enumerate(rows, start=2)
        if any(cell.strip() for cell in row)
    ]
    # One relative name shows that the host appends its zone to each: a full name is a mistake then.
    appends = any(not _is_full(row.get("name", ""), origin) for _, row in cells)
    for number, row in cells:
        type_ = row.get("type", "").upper()
        if type_ not in _TYPES:
            continue
        name = _full_name(row.get("name", ""), origin, appends=appends)
        if name is None:
            raise Malformed(_FIELD, f"row {number}: {row.get('name')!r} is not a name")
        # Route 53 puts all values of a name into one cell, a line each.
        for value in filter(None, map(str.strip, row.get("value", "").splitlines())):
            yield _from_cells(number, name, type_, value, row.get("priority", ""), origin)


def _from_cells(
    number: int, name: str, type_: str, value: str, priority: str, origin: str
) -> DnsRecord:
    if type_ == "TXT":
        return _made(name, type_, _unquoted(value))
    if type_ != "MX":
        return _made(name, type_, origin if value == "@" else _host(value))
    level, _, host = value.rpartition(" ")
    level = level.strip() or priority or "0"
    if not level.isdecimal() or len(level) > 5:
        raise Malformed(_FIELD, f"row {number}: {level!r} is not the priority of an MX")
    return _made(name, type_, origin if host == "@" else _host(host), int(level))


def _made(name: str, type_: str, value: str, priority: int | None = None) -> DnsRecord:
    assert type_ in _TYPES
    return DnsRecord(type_, name, value, priority)  # type: ignore[arg-type]


def _rows(text: str, delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) or [[]]
    except csv.Error as refused:
        raise Malformed(_FIELD, f"is not CSV: {refused}") from refused


def _delimiter(head: str) -> str:
    return max(",;\t", key=head.count)


def _is_full(name: str, origin: str) -> bool:
    bare = name.lower().removesuffix(".")
    return bare == origin or bare.endswith(f".{origin}")


def _full_name(name: str, origin: str, *, appends: bool) -> str | None:
    if name in ("", "@"):
        return origin
    if name.endswith(".") or (_is_full(name, origin) and not appends):
        return ascii_name(name)
    return ascii_name(f"{name}.{origin}")


def _unquoted(value: str) -> str:
    """`"v=spf1 " "-all"` joined; a value without quotation marks around it as it is."""
    if not re.fullmatch(r'"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*', value):
        return value
    reader = shlex.shlex(re.sub(r'"\s+"', '""', value), posix=True)
    reader.whitespace_split, reader.commenters, reader.quotes = True, "", '"'
    return "".join(reader)


def _host(value: str) -> str:
    return value.lower().removesuffix(".")
