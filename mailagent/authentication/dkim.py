"""Which domains signed this mail, and how do we sign ours? DKIM (RFC 6376, 8301, 8463)

dkimpy does what is intricate, the choice, canonicalisation and hashing of header fields.
Around it stands what it lacks: a clock that is handed in, a body hash in linear time, `l=`
refused, weak keys refused; keys and signatures are `cryptography`'s.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

import dkim
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from dkim.canonicalization import CanonicalizationPolicy

from mailagent.authentication.answers import Inquiry
from mailagent.authentication.dkim_key import KeyPair, Unusable, new_key, parse_key
from mailagent.authentication.dkim_signature import Signature, parse_signature
from mailagent.authentication.message import Message
from mailagent.dns_answers import Absent, Found, Unknown, ascii_name
from mailagent.errors import Malformed
from mailagent.mail import DkimVerdict

__all__ = ["MAX_SIGNATURES", "KeyPair", "new_key", "sign", "signatures", "verify"]

MAX_SIGNATURES = 10
"""Judged from the top; the rest is not looked at."""

# What a person sees or answers to, and what decides how the body is read. Each is signed once
# more than it stands there, so that none can be added.
_OVERSIGNED = (
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
# Signed where they stand. RFC 8058 §4 asks for the List-Unsubscribe fields.
_SIGNED = (b"auto-submitted", b"list-id", b"list-unsubscribe", b"list-unsubscribe-post")


def signatures(message: Message, now: datetime) -> tuple[Signature | DkimVerdict, ...]:
    """Read the DKIM-Signature fields, at most ten; a verdict stands for one that cannot pass."""
    fields = message.all(b"dkim-signature")[:MAX_SIGNATURES]
    if fields and not message.whole:
        return (DkimVerdict("permerror", reason="the header is too large or malformed"),)
    read = tuple(parse_signature(field, now) for field in fields)
    if len(message.all(b"from")) == 1:
        return read
    # RFC 6376 §8.15: which From was signed and which is shown would be the sender's choice.
    return tuple(
        claim.verdict("fail", "there is not exactly one From field")
        if isinstance(claim, Signature)
        else claim
        for claim in read
    )


def verify(claim: Signature | DkimVerdict, message: Message, inquiry: Inquiry) -> DkimVerdict:
    """Judge one signature whose key answer `inquiry` has. Unknown DNS is `temperror`."""
    if isinstance(claim, DkimVerdict):
        return claim
    match inquiry.ask(claim.question.name, claim.question.type):
        case None | Unknown():
            return claim.verdict("temperror", "DNS did not tell the key")
        case Absent():
            return claim.verdict("permerror", "no key for this signature")
        case Found(records=records):
            key = parse_key(records, claim.algorithm)
    if isinstance(key, Unusable):
        return claim.verdict(key.result, key.reason)
    if key.exact_identity and claim.identity_domain != claim.domain:
        return claim.verdict("permerror", "key does not allow a subdomain in i=")
    relaxed = claim.body_canonicalisation == b"relaxed"
    body_hash = message.relaxed_body_hash if relaxed else message.simple_body_hash
    if body_hash != claim.body_hash:
        return claim.verdict("fail", "the body was changed")
    if not key.verifies(claim.signature, _header_digest(claim, message)):
        return claim.verdict("fail", "the signature does not match")
    return claim.verdict("pass", "key is in testing mode (t=y)" if key.testing else "")


def _header_digest(claim: Signature, message: Message) -> bytes:
    policy = CanonicalizationPolicy.from_c_value(
        claim.header_canonicalisation + b"/" + claim.body_canonicalisation
    )
    return _digest(policy, message, claim.signed_fields, claim.field)


def _digest(
    policy: CanonicalizationPolicy,
    message: Message,
    signed_fields: tuple[bytes, ...],
    field: tuple[bytes, bytes],
) -> bytes:
    hasher = hashlib.sha256()
    fields = policy.canonicalize_headers(list(message.fields))
    dkim.hash_headers(hasher, policy, fields, list(signed_fields), field, {})
    return hasher.digest()


def sign(
    message: bytes, *, domain: str, selector: str, private_key_pem: bytes, now: datetime
) -> bytes:
    """Return the whole message with our DKIM-Signature on top, relaxed/relaxed.

    The key is PEM (PKCS #1 or #8, RSA of at least 1,024 bits or Ed25519); the message has CRLF
    line ends and exactly one From. Raises Malformed, naming the argument.
    """
    cut = Message.of(message)
    if not cut.whole or len(cut.all(b"from")) != 1:
        raise Malformed("message", "it needs a readable header with exactly one From")
    name, label = ascii_name(domain), ascii_name(selector)
    if name is None or label is None:
        raise Malformed("domain", "domain and selector must be domain names")
    key = _private_key(private_key_pem)
    signed_fields = tuple(
        signed
        for signed in (*_OVERSIGNED, *_SIGNED)
        for _ in range(len(cut.all(signed)) + (signed in _OVERSIGNED))
    )
    algorithm = "rsa-sha256" if isinstance(key, rsa.RSAPrivateKey) else "ed25519-sha256"
    body_hash = base64.b64encode(cut.relaxed_body_hash).decode("ascii")
    value = (
        f" v=1; a={algorithm}; c=relaxed/relaxed; d={name};\r\n"
        f"\ts={label}; t={int(now.timestamp())};\r\n"
        f"\th={_folded_names(signed_fields)};\r\n"
        f"\tbh={body_hash};\r\n"
        "\tb="
    ).encode("ascii")
    policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
    digest = _digest(policy, cut, signed_fields, (b"DKIM-Signature", value))
    if isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    else:
        made = key.sign(digest)
    return b"DKIM-Signature:" + value + _folded(base64.b64encode(made)) + b"\r\n" + message


def _private_key(pem: bytes) -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    try:
        # Validating an RSA key costs 35 ms, forty times the signature; `new_key` made this one.
        key = serialization.load_pem_private_key(
            pem, password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as unreadable:
        raise Malformed("private_key_pem", "it is not a PEM key without password") from unreadable
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 1_024:
        return key
    raise Malformed("private_key_pem", "it must be RSA of at least 1,024 bits or Ed25519")


def _folded_names(names: tuple[bytes, ...]) -> str:
    """`h=` in lines of at most 78 characters; blanks may stand around its colons."""
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > 68:
            lines.append("")
        lines[-1] += name.decode("ascii") + ":"
    return "\r\n\t ".join(lines).removesuffix(":")


def _folded(encoded: bytes) -> bytes:
    return b"\r\n\t ".join(encoded[at : at + 72] for at in range(0, len(encoded), 72))
