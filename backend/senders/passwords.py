"""How are passwords kept that people may choose? By scrypt (RFC 7914), each with its own salt.

An API key has 256 random bits and needs no slow hash; 5 characters do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from mailagent.errors import Malformed

__all__ = ["checked", "generated", "hashed", "holds"]

_SHORTEST, _LONGEST = 5, 32
_KEY_PREFIX = "ma_"
_COST, _BLOCK, _LANES = 2**14, 8, 1  # 16 MiB and about 50 ms: OWASP's least is near it
_MEMORY = 64 * 1024 * 1024
_NOBODYS = "c2FsdCBvZiBub2JvZHk=$" + base64.b64encode(bytes(32)).decode()
"""Stands in where nobody has the name: an unknown one takes as long as a wrong password."""


def generated() -> str:
    """24 characters with 144 random bits."""
    while (made := secrets.token_urlsafe(18)).startswith(_KEY_PREFIX):
        pass
    return made


def checked(password: str) -> str:
    """A password that somebody chose. Raises Malformed."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise Malformed("password", f"must have {_SHORTEST} to {_LONGEST} characters")
    if not password.isprintable() or not password.isascii():
        raise Malformed("password", "holds more than printable ASCII: mail programs differ in it")
    if password.startswith(_KEY_PREFIX):
        raise Malformed("password", f"begins with {_KEY_PREFIX}, as API keys do: choose another")
    return password


def hashed(password: str) -> str:
    """What is kept: salt and hash in base64. Takes about 50 ms."""
    salt = secrets.token_bytes(16)
    return "$".join(base64.b64encode(one).decode() for one in (salt, _scrypt(password, salt)))


def holds(password: str, kept: str | None) -> bool:
    """Whether it is the password of what `hashed` made; as slow for None, which is nobody's."""
    salt, right = (base64.b64decode(part) for part in (kept or _NOBODYS).split("$"))
    return hmac.compare_digest(_scrypt(password, salt), right) and kept is not None


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_LANES, maxmem=_MEMORY, dklen=32
    )
