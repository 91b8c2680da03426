"""How does a program of the workspace's people know that a request is ours?

By Standard Webhooks 1.0.0 (read November 2026): `{id}.{timestamp}.{body}` under HMAC-SHA256. The
id is the same on every attempt, so that the receiver can tell a repetition.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime

from mailagent.errors import Malformed

__all__ = ["checked_secret", "new_signing_secret", "signed"]

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64


def new_signing_secret() -> str:
    """A secret as the standard writes it; shown once."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def checked_secret(name: str, secret: str) -> str:
    """A secret that `signed` can use. Raises Malformed, never showing it."""
    _key(name, secret)
    return secret


def signed(
    secret: str, *, id_: str, at: datetime, body: bytes, content_type: str = "application/json"
) -> Mapping[str, str]:
    """The header fields of one attempt; `id_` names what is told, and holds no full stop."""
    timestamp = str(int(at.timestamp()))
    signing = f"{id_}.{timestamp}.".encode() + body
    digest = hmac.new(_key("secret", secret), signing, hashlib.sha256).digest()
    return {
        "Content-Type": content_type,
        "webhook-id": id_,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _key(name: str, secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise Malformed(
            name, f"must be {_PREFIX} and {_LEAST_BYTES} to {_MOST_BYTES} bytes in Base64"
        )
    return key
