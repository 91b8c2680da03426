"""A forwarder that seals what it passes on: ARC sets made by dkimpy, which knows nothing of us."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

import dkim as dkimpy
from cryptography.hazmat.primitives import serialization
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import parse_pem_private_key

from mailagent.authentication.dkim_key import KeyPair
from tests.authentication.cases import NOW

__all__ = ["sealed"]

_SIGNED = (b"from", b"to", b"subject", b"date", b"message-id")


def sealed(
    raw: bytes,
    domain: str,
    results: str,
    key: KeyPair,
    *,
    instance: int | None = None,
    cv: str | None = None,
    at: datetime = NOW,
    extra: tuple[tuple[bytes, bytes], ...] = (),
    signed: tuple[bytes, ...] = _SIGNED,
) -> bytes:
    """The message with one more set on top, selector `s1`.

    `results` follow the authserv-id; `instance` and `cv` are lies where given; `extra` tags go
    into the message signature.
    """
    arc = dkimpy.ARC(raw)
    arc.hasher = hashlib.sha256
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    private = parse_pem_private_key(_pkcs1(key))
    highest, below = arc.sorted_arc_headers()
    number = str(instance or highest + 1).encode()
    covered = [field for _, field in below]
    made: list[bytes] = []

    def add(name: bytes, value: bytes) -> None:
        made.insert(0, name + b": " + value + b"\r\n")
        covered.insert(0, (name, value))
        arc.headers = policy.canonicalize_headers(covered[:1]) + arc.headers

    usual = [
        (b"a", b"rsa-sha256"),
        (b"d", domain.encode()),
        (b"s", b"s1"),
        (b"t", str(int(at.timestamp())).encode()),
    ]
    body_hash = base64.b64encode(hashlib.sha256(policy.canonicalize_body(arc.body)).digest())
    add(b"ARC-Authentication-Results", b"i=" + number + b"; mx." + f"{domain}; {results}".encode())
    tags = [
        (b"i", number),
        *usual,
        (b"c", b"relaxed/relaxed"),
        (b"h", b" : ".join(signed)),
        (b"bh", body_hash),
        *extra,
        (b"b", b"0" * 60),
    ]
    name = b"ARC-Message-Signature"
    add(name, arc.gen_header(tags, signed, policy, name, private).strip())
    chain = (cv or ("pass" if highest else "none")).encode()
    tags = [(b"i", number), (b"cv", chain), *usual, (b"b", b"0" * 60)]
    names = [name.lower() for name, _ in reversed(covered)]
    name = b"ARC-Seal"
    add(name, arc.gen_header(tags, names, policy, name, private).strip())
    return b"".join(made) + raw


def _pkcs1(key: KeyPair) -> bytes:
    return serialization.load_pem_private_key(key.private_pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
