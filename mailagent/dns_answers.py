"""What may DNS be asked, and what are its three answers?

Values only, apart from the resolver that asks: sender authentication computes over them, in a
sandboxed process that must not load a network stack for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.name

__all__ = ["Absent", "Answer", "Found", "Question", "Unknown", "ascii_name"]


@dataclass(frozen=True, slots=True)
class Question:
    """A name and a record type, normalised: equal questions are equal values."""

    name: str
    """Lower case, A-labels, no final dot; a name that DNS cannot hold stays as it was given."""
    type: str
    """`A`, `TXT`, `MX`, … in upper case."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", ascii_name(self.name) or self.name)
        object.__setattr__(self, "type", self.type.upper())


@dataclass(frozen=True, slots=True)
class Found:
    """At least one record, in the order of the answer.

    TXT strings are joined (RFC 7208 §3.3); MX is `10 mx.example.com`; names are lower case without
    a final dot; all else is the presentation format.
    """

    records: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """DNS says: no such record. `nxdomain`: nor anything else at or below that name (RFC 8020)."""

    nxdomain: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """It cannot be told now; `reason` is for people."""

    reason: str


Answer = Found | Absent | Unknown


def ascii_name(name: str) -> str | None:
    """Return a DNS name in lower-case A-labels without its final dot, None if it cannot be one.

    Labels have 1-63 octets, the whole at most 253 (RFC 1035 §2.3.4). Letters beyond ASCII become
    A-labels (RFC 5891). Blanks, controls and backslashes are refused, other octets are not:
    `_dmarc` and SPF macros need them.
    """
    text = name.removesuffix(".")
    # The bound comes first: IDNA encoding costs more than linear time.
    if len(text) > 253 or any(c <= " " or c in "\\\x7f" for c in text):
        return None
    if not text.isascii():
        try:
            codec = dns.name.IDNA_2008_Practical
            text = ".".join(codec.encode(label).decode("ascii") for label in text.split("."))
        except (dns.exception.DNSException, UnicodeError):
            return None
    text = text.lower()
    if len(text) > 253 or not all(0 < len(label) < 64 for label in text.split(".")):
        return None
    return text
