"""Which parts does a report have, as fields and as text?

A report is read as far as it can be: its MIME tree is that of any mail, and everything in it that
is not a multipart becomes text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailagent.errors import Malformed
from mailagent.mime import charset, headers, tree
from mailagent.mime.report_fields import Fields

__all__ = ["Part", "parts_of"]

_OCTETS = 1_048_576
"""Status fields come before the returned mail: what lies behind the first MiB is its content."""
_PART_OCTETS = 131_072
_PARTS = 40


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the MIME tree. A returned mail is a leaf too: its text is its octets."""

    content_type: str
    """Lower case, without parameters."""
    text: str
    """Decoded, lines end with LF, made of the first 128 KiB."""


def parts_of(raw: bytes) -> tuple[Fields, tuple[Part, ...]]:
    """Header fields of a mail, decoded, and its leaves in order of appearance (at most 40).

    Both are empty for a mail that no reader takes (more than 1 MiB of header, nested too deeply).
    """
    try:
        named = headers.raw_fields(raw[:_OCTETS])
        root = tree.read(raw[:_OCTETS])
    except Malformed:
        return Fields(), ()
    fields = Fields(
        tuple((name.decode("ascii").lower(), headers.decoded(value)) for name, value in named)
    )
    parts: list[Part] = []
    for leaf, content in _leaves(root):
        text, _ = charset.decode(content[:_PART_OCTETS], leaf.parameters.get("charset"))
        parts.append(Part(leaf.content_type, text.replace("\r\n", "\n").replace("\r", "\n")))
        if len(parts) == _PARTS:
            break
    return fields, tuple(parts)


def _leaves(part: tree.Part) -> Iterator[tuple[tree.Part, bytes]]:
    if part.content is not None:
        yield part, part.content
        return
    for child in part.children:
        yield from _leaves(child)
