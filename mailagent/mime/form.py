"""Which fields and files does the body of a form POST hold?

`multipart/form-data` (RFC 7578) and `application/x-www-form-urlencoded` (WHATWG "URL", §5), read
from the octets that were signed. The reader of the web framework will not do: it refuses a field
over 1 MB and takes every field for UTF-8.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailagent.errors import Malformed
from mailagent.mime import charset
from mailagent.mime.parameters import parameters

__all__ = ["Field", "Form", "read"]

_MOST_FIELDS: Final = 10_000
"""Mailgun posts each header of a mail as a field; more than this nobody's mail has."""
_MOST_HEADER_OCTETS: Final = 16 * 1024
"""Of one part: its name, its file name, its type."""
_MOST_NAME_OCTETS: Final = 4 * 1024
_MOST_BOUNDARY: Final = 200
"""RFC 2046 §5.1.1 allows 70."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field, or one file, as it was posted."""

    name: str
    value: bytes
    filename: str | None = None
    """As posted, not safe to store under; None for a field that is no file."""
    content_type: str = ""
    """The part's own Content-Type, "" when it has none."""
    content_id: str = ""
    """The part's own Content-ID, as posted."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields in the order they were posted. Their names are case-sensitive."""

    fields: tuple[Field, ...]

    def all(self, name: str) -> tuple[bytes, ...]:
        """The values of every field of this name that is no file, in order."""
        return tuple(f.value for f in self.fields if f.name == name and f.filename is None)

    def last(self, name: str) -> bytes | None:
        """The value that counts where a name is repeated; None when there is no such field."""
        return next(iter(self.all(name)[::-1]), None)

    def text(self, name: str, label: str = "utf-8") -> str:
        """The last value, decoded as `charset.decode` does and free of NUL; "" when absent."""
        return charset.decode(self.last(name) or b"", label)[0]

    @property
    def files(self) -> tuple[Field, ...]:
        """The fields that were posted as files, in order."""
        return tuple(field for field in self.fields if field.filename is not None)


def read(body: bytes, content_type: str) -> Form:
    """Read a whole form. Raises Malformed, and nothing else, whatever the octets are.

    A Content-Transfer-Encoding is not undone (RFC 7578 §4.7: senders should not write one).
    """
    kind, words = parameters(content_type)
    if kind == "application/x-www-form-urlencoded":
        return Form(tuple(_urlencoded(body)))
    if kind == "multipart/form-data":
        return Form(tuple(_multipart(body, _boundary(words.get("boundary", "")))))
    raise Malformed("Content-Type", f"{kind[:100]!r} is no form")


def _urlencoded(body: bytes) -> Iterator[Field]:
    _bounded(body.count(b"&"))
    for pair in body.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            yield Field(_name(_percent_decoded(name)), _percent_decoded(value))


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _percent_decoded(value: bytes) -> bytes:
    value = value.replace(b"+", b" ")
    if b"%" not in value:
        return value
    if _BAD_ESCAPE.search(value):
        raise Malformed("body", "has a % that two hexadecimal digits do not follow")
    # Quoted-printable is the same code with another sign, and the one of the two that the standard
    # library decodes in C: its `unquote_to_bytes` needs a gigabyte for a mail of 25 MB.
    return binascii.a2b_qp(value.replace(b"=", b"=3D").replace(b"%", b"="))


def _boundary(declared: str) -> bytes:
    if not 0 < len(declared) <= _MOST_BOUNDARY or not declared.isascii():
        raise Malformed("Content-Type", "names no boundary that could be looked for")
    return declared.encode()


def _multipart(body: bytes, boundary: bytes) -> Iterator[Field]:
    delimiter = b"\r\n--" + boundary
    _bounded(body.count(delimiter))
    opening = delimiter[2:]
    at = 0 if body.startswith(opening) else body.find(delimiter) + 2
    if at == 1:
        raise Malformed("body", "does not hold the boundary that its Content-Type names")
    while True:
        at += len(opening)
        if body.startswith(b"--", at):
            return
        # RFC 2046 §5.1.1: white space may follow the boundary on its line.
        line_end = body.find(b"\r\n", at, at + _MOST_HEADER_OCTETS)
        if line_end < 0 or body[at:line_end].strip(b" \t"):
            raise Malformed("body", "a boundary does not end its line")
        end = body.find(delimiter, line_end)
        if end < 0:
            raise Malformed("body", "was cut off: its last boundary is missing")
        yield _part(body, line_end, end)
        at = end + 2


def _part(body: bytes, start: int, end: int) -> Field:
    """The part between two boundaries; `start` is at the end of the first one's line."""
    blank = body.find(b"\r\n\r\n", start, min(end + 2, start + _MOST_HEADER_OCTETS))
    if blank < 0:
        raise Malformed("body", "a part has no end of its header, or too large a one")
    header = _header(body[start:blank])
    kind, words = parameters(header.get("content-disposition", ""))
    if kind != "form-data" or "name" not in words:
        raise Malformed("body", "a part is no form-data with a name")
    return Field(
        name=_name(words["name"].encode()),
        value=body[blank + 4 : end],
        filename=words.get("filename"),
        content_type=header.get("content-type", ""),
        content_id=header.get("content-id", ""),
    )


_LINE = re.compile(r"\r\n([!-9;-~]{1,80})[ \t]*:[ \t]*((?:[^\r]|\r(?!\n)|\r\n[ \t])*)")


def _header(octets: bytes) -> dict[str, str]:
    """The fields by lower-case name; of a repeated one the first."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    found: dict[str, str] = {}
    for line in _LINE.finditer(text):
        found.setdefault(line[1].lower(), line[2].replace("\r\n", "").strip())
    return found


def _name(octets: bytes) -> str:
    if len(octets) > _MOST_NAME_OCTETS:
        raise Malformed("body", f"a field's name is longer than {_MOST_NAME_OCTETS} bytes")
    return octets.decode("utf-8", "replace")


def _bounded(separators: int) -> None:
    if separators > _MOST_FIELDS:
        raise Malformed("body", f"has more than {_MOST_FIELDS} fields")
