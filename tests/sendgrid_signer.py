"""Signs requests as SendGrid does: ECDSA with P-256 and SHA-256 over timestamp and body."""

from __future__ import annotations

import base64
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["KEY", "PUBLIC_KEY", "public_key", "signed"]

KEY: Final = ec.generate_private_key(ec.SECP256R1())


def public_key(key: ec.EllipticCurvePrivateKey) -> str:
    """As SendGrid shows it."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(spki).decode()


PUBLIC_KEY: Final = public_key(KEY)


def signed(
    body: bytes, timestamp: int | str, *, key: ec.EllipticCurvePrivateKey = KEY
) -> dict[str, str]:
    """The headers of a signed request."""
    signature = key.sign(str(timestamp).encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": str(timestamp),
    }
