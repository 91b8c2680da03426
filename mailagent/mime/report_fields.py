"""What do the fields of a machine-readable report say?

RFC 3464 §2.1 and RFC 5965 §3.1 use the syntax of mail header fields in the body of a part. Real
reports add comments, leave types out or wrap addresses; everything here takes what it can use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailagent.mime import headers

__all__ = ["Fields", "address_value", "blocks_of", "fields_of", "typed_value"]

_FIELDS = 500
_VALUE_CHARACTERS = 4_000
_BLOCKS = 200
"""A DSN for more recipients than we ever put on one mail is not about our mail."""

_NAME = re.compile(r"([!-9;-~]{1,80})[ \t]{0,20}:(.{0,4000})", re.S)
_TYPE = re.compile(r"\s{0,20}[A-Za-z0-9-]{1,40}\s{0,20};")
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"]{1,256}@[^\s<>()\[\],;:\"@]{1,255}")
_QUOTED_ADDRESS = re.compile(r"\"[^\"\\\r\n]{1,64}\"@[^\s<>()\[\],;:\"@]{1,255}")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_WITHOUT_DOMAIN = re.compile(r"<?([^\s<>@;:\"]{1,64})>?$")


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields in order: lower-case name; value on one line, without control characters."""

    pairs: tuple[tuple[str, str], ...] = ()

    def first(self, name: str) -> str | None:
        return next((value for key, value in self.pairs if key == name), None)

    def every(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self.pairs if key == name)

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.pairs)


def fields_of(block: str) -> Fields:
    """The fields of one header block; lines that are none are passed over."""
    pairs: list[tuple[str, str]] = []
    lines: list[str] = []
    length = 0

    def close() -> None:
        found = _NAME.match("".join(lines)) if lines else None
        if found:
            pairs.append((found[1].lower(), headers.one_line(found[2])))

    for line in block.split("\n"):
        if line[:1] in (" ", "\t"):
            if length < _VALUE_CHARACTERS:
                lines.append(" " + line.strip())
                length += len(line)
            continue
        close()
        lines, length = [line], len(line)
        if len(pairs) >= _FIELDS:
            return Fields(tuple(pairs))
    close()
    return Fields(tuple(pairs))


def blocks_of(text: str) -> tuple[Fields, ...]:
    """The groups of fields between empty lines, those without any field left out."""
    return tuple(fields for fields in _blocks(text) if fields.pairs)


def _blocks(text: str) -> Iterator[Fields]:
    lines: list[str] = []
    found = 0
    for line in text.split("\n"):
        if line.strip():
            lines.append(line)
        elif lines:
            yield fields_of("\n".join(lines))
            lines = []
            found += 1
            if found == _BLOCKS:
                return
    if lines:
        yield fields_of("\n".join(lines))


def typed_value(value: str) -> str:
    """`dns; mx.example` without its type (RFC 3464 §2.1.2); the type may be missing."""
    found = _TYPE.match(value)
    return (value[found.end() :] if found else value).strip()


def address_value(value: str) -> str | None:
    """The address of a `*-Recipient` field: `rfc822;`, `utf-8;` or no type, xtext decoded.

    xtext is RFC 3461 §4, the `\\x{…}` form of UTF-8 addresses RFC 6533 §3. A local part without a
    domain is returned as it stands: some systems name local mailboxes so. None when empty.
    """
    plain = _UNITEXT.sub(_code_point, typed_value(value)[:1_000])
    if _XTEXT.search(plain) and "@" not in plain:
        plain = _XTEXT.sub(lambda found: chr(int(found[1], 16)), plain)
    found = _QUOTED_ADDRESS.search(plain) or _ADDRESS.search(plain)
    if found:
        return _xtext_in_local_part(found[0].rstrip("."))
    bare = _WITHOUT_DOMAIN.match(plain.strip())
    return bare[1] if bare else None


def _xtext_in_local_part(address: str) -> str:
    """`a+2Bb@x` is xtext for `a+b@x`; only `+2B` and `+3D` are certain to be no plain tag."""
    return address.replace("+2B", "+").replace("+3D", "=")


def _code_point(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    if number < 0x20 or number > 0x10FFFF or 0xD800 <= number < 0xE000:
        return ""
    return chr(number)
