"""How do records stand in a zone file? (RFC 1035 §5)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backend.domains.record import TTL, DomainRecord
from mailagent.identity import DnsRecord

__all__ = ["line", "quoted", "txt_strings", "zone_text"]

_STRING_OCTETS = 255


def zone_text(records: Sequence[DomainRecord]) -> str:
    """A zone file of a set, with names that are full and with the purpose above each record.

    It has no SOA and no NS: to be imported into a zone that is there, not to be served alone.
    """
    if not records:
        return ""
    text = [f"$ORIGIN {records[0].place.zone}."]
    group = ""
    for each in records:
        if each.group != group:
            group = each.group
            text += ["", f"; {group}"]
        advice = "" if each.required else " (recommended)"
        text += [f"; {each.purpose}{advice}", line(each.record, each.ttl)]
    return "\n".join(text) + "\n"


def line(record: DnsRecord, ttl: int = TTL) -> str:
    """One record, all names with their final dot; `ttl` in seconds."""
    match record.type:
        case "TXT":
            value = quoted(record.value)
        case "MX" | "SRV":
            value = f"{record.priority} {record.value}."
        case "CNAME" | "NS":
            value = f"{record.value}."
        case "A" | "AAAA":
            value = record.value
    return f"{record.name}. {ttl} IN {record.type} {value}"


def quoted(text: str) -> str:
    """A TXT value as its character-strings, each in quotation marks, with spaces between."""
    return " ".join(f'"{_escaped(each)}"' for each in txt_strings(text))


def txt_strings(text: str) -> tuple[bytes, ...]:
    """A TXT value cut into character-strings of at most 255 octets (RFC 1035 §3.3)."""
    octets = text.encode()
    cuts = range(0, len(octets), _STRING_OCTETS)
    return tuple(octets[at : at + _STRING_OCTETS] for at in cuts) or (b"",)


def _escaped(octets: Iterable[int]) -> str:
    # RFC 1035 §5.1: \DDD for what is not printable, a backslash before what means something.
    return "".join(
        f"\\{chr(octet)}"
        if octet in b'"\\'
        else chr(octet)
        if 32 <= octet < 127
        else f"\\{octet:03d}"
        for octet in octets
    )
