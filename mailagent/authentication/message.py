"""Where are the header fields and the body of a message, octet for octet?

Authentication works on the octets that were received, not on what a parser makes of them. Line
ends are read as CRLF, whatever they were: mail that came by a webhook may have lost its CR.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

__all__ = ["MAX_FIELDS", "Message", "relaxed_body", "simple_body"]

MAX_FIELDS = 1_000
"""More fields than any real mail has; each signature costs time for every one of them."""
_MAX_HEADER_BYTES = 1_048_576

# Linear: a run of blanks is entered at its start only and never given back. With the plain
# `[\t ]+\r\n` one line of 200,000 blanks costs 50 seconds.
_TRAILING_BLANKS = re.compile(rb"(?<![\t ])[\t ]++\r\n")
# Not a single space, which stays as it is: most runs of most mails.
_BLANKS = re.compile(rb"[\t ]{2,}|\t")
_FIELD = re.compile(rb"([\x21-\x39\x3b-\x7e]{1,998})[ \t]*:")
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_MANY_EMPTY_LINES = b"\r\n" * 4_096


@dataclass(frozen=True)
class Message:
    """Header fields as (name, value with its final CRLF), in CRLF line ends, and the body."""

    fields: tuple[tuple[bytes, bytes], ...]
    raw_body: bytes
    """As received."""
    whole: bool = True
    """False when the header was too large or odd: then no signature can be judged."""

    @classmethod
    def of(cls, raw: bytes) -> Message:
        """Cut a message of any size in linear time; never raises."""
        if raw.startswith((b"\r\n", b"\n")):
            return cls((), raw.partition(b"\n")[2])
        end = _END_OF_HEADER.search(raw)
        header, body = (raw[: end.start()], raw[end.end() :]) if end else (raw, b"")
        if len(header) > _MAX_HEADER_BYTES:
            return cls((), body, whole=False)
        fields: list[tuple[bytes, list[bytes]]] = []
        whole = True
        for number, line in enumerate(_crlf(header).removesuffix(b"\r\n").split(b"\r\n")):
            if line[:1] in (b" ", b"\t") and fields:
                fields[-1][1].append(line)
            elif (field := _FIELD.match(line)) is not None:
                fields.append((field[1], [line[field.end() :]]))
            elif not (number == 0 and line.startswith(b"From ")):
                # mbox writes an envelope line first; anything else that is no field is a trick.
                whole = False
        folded = tuple((name, b"\r\n".join(parts) + b"\r\n") for name, parts in fields)
        return cls(folded, body, whole and len(folded) <= MAX_FIELDS)

    @property
    def body(self) -> bytes:
        """The body in CRLF line ends."""
        return _crlf(self.raw_body)

    def all(self, name: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of a lower-case name, topmost first."""
        return [field for field in self.fields if field[0].lower() == name]

    # Once a message: ten signatures must not cost ten passes over a large body.

    @cached_property
    def simple_body_hash(self) -> bytes:
        """SHA-256 of the body in simple canonicalisation (RFC 6376 §3.4.3)."""
        return hashlib.sha256(simple_body(self.body)).digest()

    @cached_property
    def relaxed_body_hash(self) -> bytes:
        """SHA-256 of the body in relaxed canonicalisation (RFC 6376 §3.4.4)."""
        return hashlib.sha256(relaxed_body(self.body)).digest()


def _crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def simple_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.3: without the empty lines at the end; an empty body is one CRLF."""
    end = len(body)
    while body.endswith(_MANY_EMPTY_LINES, 0, end):
        end -= len(_MANY_EMPTY_LINES)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end] + b"\r\n"


def relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4: runs of blanks are one, none at line ends; an empty body stays empty."""
    canonical = simple_body(_BLANKS.sub(b" ", _TRAILING_BLANKS.sub(b"\r\n", body)))
    return b"" if canonical == b"\r\n" else canonical
