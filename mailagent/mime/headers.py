"""What do the header fields of a mail say, octet for octet and as text?

The slicer is the project's only view of where a header ends: text, verdicts and screening all
follow it. Nothing here trusts stdlib accessors, which raise on foreign fields (threats.md).
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from mailagent.errors import Malformed
from mailagent.mime import charset

__all__ = ["MAX_HEADER_OCTETS", "date", "decoded", "message_ids", "one_line", "raw_fields", "split"]

MAX_HEADER_OCTETS: Final = 1024 * 1024
_MAX_MESSAGE_IDS = 100
_MAX_MESSAGE_ID = 998
"""RFC 5322 §2.1.1: a longer one could not be sent back to its writer."""

_FIELD_NAME = re.compile(rb"([\x21-\x39\x3b-\x7e]{1,998})[ \t]*:")
_MBOX_FROM = (b"From ", b">From ")


def split(raw: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Cut a message into its fields (name, unfolded value) and its body octets.

    The header ends at the first empty line or, as RFC 5322 knows no other line there, at the
    first line that is no field. Lines end in CRLF or LF. A leading mbox `From ` line is skipped.
    Raises Malformed(`header`) when the header is larger than 1 MiB.
    """
    fields: list[tuple[bytes, list[bytes]]] = []
    position = 0
    while position < len(raw):
        if position > MAX_HEADER_OCTETS:
            raise Malformed("header", f"more than {MAX_HEADER_OCTETS} octets")
        end = raw.find(b"\n", position)
        end = len(raw) if end < 0 else end + 1
        line = raw[position : min(end, position + MAX_HEADER_OCTETS + 1)].rstrip(b"\r\n")
        if not line:
            return _joined(fields), raw[end:]
        if line[:1] in (b" ", b"\t"):
            if fields:
                fields[-1][1].append(line)
        elif match := _FIELD_NAME.match(line):
            fields.append((match[1], [line[match.end() :]]))
        elif not line.startswith(_MBOX_FROM):
            return _joined(fields), raw[position:]
        position = end
    if position > MAX_HEADER_OCTETS:
        raise Malformed("header", f"more than {MAX_HEADER_OCTETS} octets")
    return _joined(fields), b""


def raw_fields(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of the header in order: name as written, unfolded value, nothing decoded.

    Unfolding removes line ends only (RFC 5322 §2.2.3) and the white space around the value.
    Raises Malformed(`header`) when the header is larger than 1 MiB.
    """
    return split(raw)[0]


def _joined(fields: list[tuple[bytes, list[bytes]]]) -> list[tuple[bytes, bytes]]:
    return [(name, b"".join(lines).strip(b" \t\r")) for name, lines in fields]


_BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def one_line(text: str) -> str:
    """Make text fit to stand in a header: line breaks and tabs become a space, controls go."""
    return _CONTROLS.sub("", _BREAKS.sub(" ", text)).strip()


# Up to two bare question marks inside a word are illegal and common ("Is it ok??").
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*(?:\?(?!=)[^?]*){0,2})\?=")
_Q_ESCAPE = re.compile(rb"=([0-9A-Fa-f]{2})")


def decoded(value: bytes | str) -> str:
    """Decode a raw field value: 8-bit octets, then encoded words (RFC 2047). Never raises.

    Tolerates words inside quotes, with spaces, and characters cut between neighbouring words.
    The result is one line without control characters, whatever the encoded words held.
    """
    text = charset.decode(value, None)[0] if isinstance(value, bytes) else value
    if "=?" not in text:
        return one_line(text)
    pieces: list[str] = []
    pending: list[bytes] = []
    pending_label = ""
    position = 0
    for match in _ENCODED_WORD.finditer(text):
        between = text[position : match.start()]
        label = match[1].partition("*")[0].lower()  # RFC 2231 §5: charset*language
        joins = pending and not between.strip()
        if pending and not (joins and label == pending_label):
            pieces.append(charset.decode(b"".join(pending), pending_label)[0])
            pending = []
        if not joins:
            pieces.append(between)
        pending.append(_word(match[2], match[3]))
        pending_label = label
        position = match.end()
    if pending:
        pieces.append(charset.decode(b"".join(pending), pending_label)[0])
    pieces.append(text[position:])
    return one_line("".join(pieces))


def _word(encoding: str, payload: str) -> bytes:
    data = payload.encode("utf-8", "replace")
    if encoding in "qQ":
        return _Q_ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), data.replace(b"_", b" "))
    data = data.rstrip(b"=")
    data = data[: len(data) - 1] if len(data) % 4 == 1 else data
    try:
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4))
    except binascii.Error:
        return payload.encode("utf-8", "replace")


def message_ids(value: str) -> tuple[str, ...]:
    """Read Message-ID, In-Reply-To or References: ids with brackets, in order, each once.

    Tolerates comments, ids cut by folding, and ids without brackets when none has any. Of more
    than 100 the first and the last 99 are kept: the root and the nearest are what threads need.
    """
    found: list[str] = []
    outside: list[str] = []
    depth = position = 0
    while position < len(value):
        char = value[position]
        if char == "<" and not depth:
            end = value.find(">", position + 1, position + _MAX_MESSAGE_ID)
            inner = value[position + 1 : end] if end > 0 else ""
            if inner and "<" not in inner:
                found.append("".join(inner.split()))
                position = end
        elif char == "(":
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif not depth:
            outside.append(char)
        position += 1
    if not found:
        words = re.split(r"[\s,;]+", "".join(outside))
        found = [w for w in words if "@" in w.strip("@") and len(w) < _MAX_MESSAGE_ID - 1]
    unique = list(dict.fromkeys(f"<{one_line(i)}>" for i in found if one_line(i)))
    if len(unique) > _MAX_MESSAGE_IDS:
        unique = unique[:1] + unique[1 - _MAX_MESSAGE_IDS :]
    return tuple(unique)


def date(value: str) -> datetime | None:
    """Read a Date field (RFC 5322 §3.3, obsolete zones included) as aware time, else None.

    Years outside 1970-2199 are nonsense that overflows arithmetic elsewhere.
    """
    try:
        found = parsedate_to_datetime(value[:200])
        if found.tzinfo is None:  # "-0000": the time is UTC, its writer's zone unknown
            found = found.replace(tzinfo=UTC)
        found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if 1970 <= found.year < 2200 else None
