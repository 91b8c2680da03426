"""Who writes on this day, and how does the world know that it is they? DNS and DKIM.

Mail is signed by dkimpy, which shares no code with what verifies it.
"""

from __future__ import annotations

from collections.abc import Mapping

import dkim as dkimpy
from cryptography.hazmat.primitives import serialization

from mailagent.authentication import dkim
from tests.day.post import THERE

__all__ = [
    "ANN",
    "BOB",
    "CARA",
    "DORA",
    "EVA",
    "FRED",
    "HANS",
    "LIST",
    "MALLORY",
    "MAX",
    "NOT_EVA",
    "PEST",
    "ZONE",
    "signed",
]

ANN, DORA = "ann@customer.example", "dora@customer.example"
BOB, FRED, HANS = "bob@buyer.example", "fred@buyer.example", "hans@buyer.example"
CARA = "cara@home.example"
"""Her domain publishes SPF and no DMARC, and signs nothing."""
EVA, MAX = "eva@ours.example", "max@ours.example"
"""People of the workspace: Eva owns it, approves and hears of hand-overs. Their domain asks
receivers for nothing (`p=none`): what stops a forger is ours."""
NOT_EVA = "eva@0urs.example"
MALLORY, PEST = "mallory@evil.example", "pest@evil.example"
LIST = "news@lists.example"

_KEY = dkim.new_key("rsa2048")
_SELECTOR = "s1"
_POLICIES = {
    **dict.fromkeys(("customer.example", "buyer.example", "0urs.example"), "reject"),
    **dict.fromkeys(("evil.example", "lists.example"), "reject"),
    "ours.example": "none",
}
ZONE: Mapping[str, Mapping[str, list[str]]] = {
    name: {"TXT": [text]}
    for domain, policy in _POLICIES.items()
    for name, text in (
        (domain, f"v=spf1 ip4:{THERE} -all"),
        (f"_dmarc.{domain}", f"v=DMARC1; p={policy}; aspf=s"),
        (f"{_SELECTOR}._domainkey.{domain}", _KEY.public_record),
    )
} | {"home.example": {"TXT": [f"v=spf1 ip4:{THERE} -all"]}}


def signed(raw: bytes, domain: str) -> bytes:
    """The mail, signed by a domain that has a key."""
    if domain not in _POLICIES:
        return raw
    field: bytes = dkimpy.sign(
        raw,
        _SELECTOR.encode(),
        domain.encode(),
        _private(),
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
    )
    return field + raw


def _private() -> bytes:
    key = serialization.load_pem_private_key(_KEY.private_pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
