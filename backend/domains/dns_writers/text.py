"""How is a TXT value written as character-strings, and read back?"""

from __future__ import annotations

import re

__all__ = ["joined", "quoted"]

_OCTETS = 255  # of one character-string, RFC 1035 §3.3
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\([0-7]{3}|.)")


def quoted(value: str) -> str:
    """`"first 255 octets" "the rest"`, as zone files and Route 53 have it."""
    octets = value.encode()
    parts = [octets[at : at + _OCTETS] for at in range(0, len(octets), _OCTETS)] or [b""]
    return " ".join(f'"{_escaped(part)}"' for part in parts)


def joined(content: str) -> str:
    """The string that a resolver's client sees (RFC 7208 §3.3); bare text is taken as it is."""
    if not content.startswith('"'):
        return content
    octets = b"".join(_unescaped(part) for part in _STRING.findall(content))
    return octets.decode("utf-8", "replace")


def _escaped(octets: bytes) -> str:
    return "".join(
        f"\\{chr(one)}" if one in b'"\\' else chr(one) if 0x20 <= one < 0x7F else f"\\{one:03o}"
        for one in octets
    )


def _unescaped(text: str) -> bytes:
    return _ESCAPED.sub(
        lambda found: chr(int(found[1], 8)) if len(found[1]) == 3 else found[1], text
    ).encode("latin-1", "replace")
