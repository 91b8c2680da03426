"""What does a DKIM key record say, and how is a new key made? (RFC 6376 §3.6.1, 8301, 8463)"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

__all__ = ["Key", "KeyPair", "Unusable", "new_key", "parse_key", "parse_tags"]

_MAX_RECORD = 4_096
_MIN_RSA_BITS = 1_024  # RFC 8301 §3.2
# A verifier must manage 4,096 bits; above that and with large exponents one verification costs
# its sender nothing and us a second.
_MAX_RSA_BITS = 8_192
_MAX_RSA_EXPONENT = 2**32


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new signing key; `private_pem` is PKCS #8 without password."""

    private_pem: bytes
    public_record: str
    """The TXT value to publish at `<selector>._domainkey.<domain>`."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a key does not verify anything: `policy` is ours (too weak), `permerror` theirs."""

    result: Literal["policy", "permerror"]
    reason: str


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the flags of its record."""

    public: rsa.RSAPublicKey | ed25519.Ed25519PublicKey
    testing: bool
    """`t=y`: the domain is trying DKIM out."""
    exact_identity: bool
    """`t=s`: the domain of `i=` must be that of `d=`."""

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Whether `signature` was made over this SHA-256 digest."""
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                prehashed = Prehashed(hashes.SHA256())
                self.public.verify(signature, digest, padding.PKCS1v15(), prehashed)
            else:
                self.public.verify(signature, digest)  # RFC 8463 §3: PureEdDSA over the hash
        except InvalidSignature:
            return False
        return True


def parse_tags(text: str) -> dict[str, str] | None:
    """Read a tag=value list (RFC 6376 §3.2); None when malformed or a tag stands twice."""
    tags: dict[str, str] = {}
    specs = text.split(";")
    if not specs[-1].strip():
        specs.pop()
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip()
        if not equals or not name.isascii() or not name.isidentifier() or name in tags:
            return None
        tags[name] = value.strip()
    return tags


def parse_key(records: tuple[str, ...], algorithm: str) -> Key | Unusable:
    """Read the one key record of a selector for a signature's `a=`."""
    if len(records) != 1:
        return Unusable("permerror", f"{len(records)} key records, there must be one")
    if len(records[0]) > _MAX_RECORD:
        return Unusable("permerror", f"key record is longer than {_MAX_RECORD} octets")
    tags = parse_tags(records[0])
    if tags is None or "p" not in tags:
        return Unusable("permerror", "key record cannot be read")
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        return Unusable("permerror", "key record is of another version")
    if tags["p"] == "":
        return Unusable("permerror", "key is revoked")
    kind = tags.get("k", "rsa")
    if not algorithm.startswith(f"{kind}-"):
        return Unusable("permerror", f"key is for another algorithm than {algorithm}")
    if "h" in tags and "sha256" not in _listed(tags["h"]):
        return Unusable("permerror", "key does not allow sha256")
    if not {"*", "email"} & _listed(tags.get("s", "*")):
        return Unusable("permerror", "key is not for e-mail")
    public = _public_key(kind, tags["p"])
    if isinstance(public, Unusable):
        return public
    flags = _listed(tags.get("t", ""))
    return Key(public, testing="y" in flags, exact_identity="s" in flags)


def _listed(value: str) -> set[str]:
    return {item.strip() for item in value.split(":")}


def _public_key(kind: str, text: str) -> rsa.RSAPublicKey | ed25519.Ed25519PublicKey | Unusable:
    try:
        octets = base64.b64decode("".join(text.split()), validate=True)
        if kind == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(octets)
        public = serialization.load_der_public_key(octets)
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return Unusable("permerror", "public key cannot be read")
    if not isinstance(public, rsa.RSAPublicKey):
        return Unusable("permerror", "public key is not RSA")
    if public.key_size < _MIN_RSA_BITS:
        return Unusable("policy", f"RSA key of {public.key_size} bits is too weak")
    if public.key_size > _MAX_RSA_BITS or public.public_numbers().e > _MAX_RSA_EXPONENT:
        return Unusable("policy", "RSA key is too large to verify")
    return public


def new_key(kind: Literal["rsa2048", "rsa1024", "ed25519"]) -> KeyPair:
    """Make a key pair. 1,024 bits are for DNS hosts that cannot hold more than 255 octets."""
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if kind == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
        encoding, form, name = (
            serialization.Encoding.Raw,
            serialization.PublicFormat.Raw,
            "ed25519",
        )
    else:
        private = rsa.generate_private_key(65_537, int(kind.removeprefix("rsa")))
        encoding, form, name = (
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
            "rsa",
        )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = base64.b64encode(private.public_key().public_bytes(encoding, form)).decode("ascii")
    return KeyPair(pem, f"v=DKIM1; k={name}; p={public}")
