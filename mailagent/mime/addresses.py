"""Which mailboxes does an address field name?

One parser for the whole project, so that what is shown, authorised and answered is the same. It
walks the text once (20,000 parentheses or quotes cost no more than 20,000 letters) and refuses
to guess: what is ambiguous yields no address (CVE-2023-27043), for a wrong one would be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mailagent.mail import Address
from mailagent.mime import headers

__all__ = ["MAX_ADDRESSES", "AddressList", "mailboxes", "read"]

_MAX_CHARACTERS = 64 * 1024
MAX_ADDRESSES: Final = 500
_MAX_ADDRESS = 512
"""RFC 5321 says 256 octets; return paths in the wild are longer."""

_ADDR_SPEC = re.compile(
    r"""(?: [^\s"(),:;<>@\[\]\\\x00-\x20\x7f]+      # dot-atom, obsolete dots tolerated
          | "(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*" )
        @
        (?: [^\s"(),:;<>@\[\]\\.\x00-\x20\x7f]+(?:\.[^\s"(),:;<>@\[\]\\.\x00-\x20\x7f]+)*
          | \[[0-9A-Za-z:.]{1,64}\] )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class AddressList:
    """The mailboxes of one field; `malformed` when something in it could not be read for sure."""

    mailboxes: tuple[Address, ...]
    malformed: bool = False


def mailboxes(value: str) -> tuple[Address, ...]:
    """Return the mailboxes of a raw field value (unfolded, encoded words not yet decoded).

    At most 500 of the first 64 KB; groups are flattened, display names decoded *after* the
    structure is read, so that an encoded word cannot bring in an address. Never raises.
    """
    return read(value).mailboxes


def read(value: str) -> AddressList:
    """Like `mailboxes`, and say whether anything was left out because it was ambiguous."""
    truncated = len(value) > _MAX_CHARACTERS
    items = _items(value[:_MAX_CHARACTERS])
    if items is None:
        return AddressList((), malformed=True)
    found: list[Address] = []
    malformed = truncated
    name_so_far = ""
    for item in items[:-1] if truncated else items:
        if item.is_phrase:
            # `Doe, John <j@x>` without quotes: a phrase without an address belongs to the next.
            name_so_far += f"{item.name}, " if item.name else ""
            continue
        address = item.address
        if address is None or len(found) >= MAX_ADDRESSES:
            malformed = True
        else:
            found.append(Address(address, headers.decoded(name_so_far + item.name)))
        name_so_far = ""
    return AddressList(tuple(found), malformed)


@dataclass(slots=True)
class _Item:
    """What stands between two commas."""

    bare: list[str] = field(default_factory=list)
    """Text outside angle brackets and comments, quotes kept: an addr-spec if nothing else is."""
    words: list[str] = field(default_factory=list)
    """The same with quotes removed: the display name."""
    comments: list[str] = field(default_factory=list)
    angles: list[str] = field(default_factory=list)
    broken: bool = False
    """Text after the angle address, or a colon where none may be."""

    @property
    def is_phrase(self) -> bool:
        return not self.angles and not self.broken and "@" not in "".join(self.bare)

    @property
    def address(self) -> str | None:
        if self.broken or len(self.angles) > 1:
            return None
        candidate = "".join(self.angles or self.bare).strip()
        if "@" in candidate and not candidate.startswith('"'):
            local, _, domain = candidate.rpartition("@")
            candidate = f"{local.rstrip()}@{domain.lstrip()}"
        if len(candidate) > _MAX_ADDRESS or not _ADDR_SPEC.fullmatch(candidate):
            return None
        return headers.one_line(candidate)

    @property
    def name(self) -> str:
        if self.angles or "@" not in "".join(self.bare):
            name = " ".join("".join(self.words).split())
            if name:
                return name
        return " ".join(" ".join(self.comments).split())


def _items(value: str) -> list[_Item] | None:
    """Cut a field at its commas; None when parentheses, quotes or brackets do not pair up."""
    items = [_Item()]
    for position, char in _significant(value):
        item = items[-1]
        match char:
            case "(" | '"' | "<" | "[":
                end = _closing(value, position)
                if end is None:
                    return None
                _take_enclosed(item, char, value[position + 1 : end])
            case ")" | ">":
                return None
            case "," | ";":
                items.append(_Item())
            case ":":
                if "@" in "".join(item.bare) or item.angles:
                    item.broken = True
                else:
                    items[-1] = _Item()  # the name of a group, RFC 5322 §3.4
            case _:
                if item.angles and char.strip():
                    item.broken = True
                item.bare.append(char)
                item.words.append(char)
    return [i for i in items if i.bare or i.angles or i.broken]


_PLAIN = re.compile(r'[^()"<>\[,;:]+')


def _significant(value: str) -> Iterator[tuple[int, str]]:
    """Yield runs of plain text and single special characters, jumping over what they enclose."""
    position = 0
    while position < len(value):
        if plain := _PLAIN.match(value, position):
            yield position, plain[0]
            position = plain.end()
            continue
        char = value[position]
        yield position, char
        end = _closing(value, position) if char in '("<[' else position
        position = (len(value) if end is None else end) + 1


def _closing(value: str, opening: int) -> int | None:
    """Return where the bracket, comment or quote that opens at `opening` ends; None if nowhere."""
    kind = value[opening]
    if kind == "[":
        end = value.find("]", opening)
        return None if end < 0 else end
    depth = 0
    quoted = False
    position = opening
    while position < len(value):
        char = value[position]
        if char == "\\":
            position += 1
        elif kind == "(":
            depth += {"(": 1, ")": -1}.get(char, 0)
            if not depth:
                return position
        elif kind == '"':
            if char == '"' and position > opening:
                return position
        elif char == '"':
            quoted = not quoted
        elif char == ">" and not quoted:
            return position
        elif char == "<" and position > opening and not quoted:
            return None
        position += 1
    return None


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _take_enclosed(item: _Item, opening: str, inner: str) -> None:
    if opening == "(":
        item.comments.append(_ESCAPED.sub(r"\1", inner))
    elif opening == "<":
        item.angles.append(inner)
    elif item.angles:
        item.broken = True
    elif opening == '"':
        item.bare.append(f'"{inner}"')
        item.words.append(_ESCAPED.sub(r"\1", inner))
    else:
        item.bare.append(f"[{inner}]")
        item.words.append(f"[{inner}]")
