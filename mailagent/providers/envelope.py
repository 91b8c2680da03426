"""How is an envelope read that came as text, outside SMTP?"""

from __future__ import annotations

import re

from mailagent.errors import Malformed

__all__ = ["forward_paths", "reverse_path"]

_ADDRESS = re.compile(r"[^\x00-\x20\x7f<>]{1,320}")
_LISTED = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')


def reverse_path(field: str, text: str) -> str | None:
    """The sender without brackets; None for "" and `<>`. Raises Malformed for `field`."""
    text = text.strip()
    return None if text in ("", "<>") else _address(field, text)


def forward_paths(field: str, text: str) -> tuple[str, ...]:
    """The envelope's recipients, commas between them. Raises Malformed for `field`, also for none.

    A comma inside a quoted local part divides nothing.
    """
    listed = (part.strip() for part in _LISTED.findall(text))
    addresses = tuple(_address(field, part) for part in listed if part)
    if not addresses:
        raise Malformed(field, "names no recipient")
    return addresses


def _address(field: str, text: str) -> str:
    address = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    if not _ADDRESS.fullmatch(address):
        raise Malformed(field, "is no address")
    return address
