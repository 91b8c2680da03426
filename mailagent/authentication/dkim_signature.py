"""What does a DKIM-Signature field claim? (RFC 6376 §3.5, checked as §6.1.1 asks)"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

from mailagent.authentication.dkim_key import parse_tags
from mailagent.dns_answers import Question, ascii_name
from mailagent.mail import DkimResult, DkimVerdict

__all__ = ["Signature", "decoded", "is_readable", "parse_signature", "signature_of"]

_MAX_FIELD_BYTES = 16_384
_MAX_SIGNED_FIELDS = 250
# dkimpy's expression that empties b= is quadratic in a run of blanks; a folded tag has few.
_LONG_BLANKS = re.compile(rb"[\t\n\v\f\r ]{65}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_CANONICALISATIONS = frozenset({"simple", "relaxed"})
_REQUIRED = ("v", "a", "b", "bh", "d", "h", "s")
# A clock may be wrong; a signature from tomorrow is not a matter of clocks.
_CLOCK_SKEW_SECONDS = 36_000


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature whose tags are in order; nothing is verified yet."""

    field: tuple[bytes, bytes]
    """Name and value as received: the hash covers them."""
    domain: str
    selector: str
    algorithm: str
    identity_domain: str
    signed_fields: tuple[bytes, ...]
    """Lower case, in the order of `h=`."""
    header_canonicalisation: bytes
    body_canonicalisation: bytes
    body_hash: bytes
    signature: bytes

    @property
    def question(self) -> Question:
        """Where its key record stands (§3.6.2.1)."""
        return Question(f"{self.selector}._domainkey.{self.domain}", "TXT")

    def verdict(self, result: DkimResult, reason: str = "") -> DkimVerdict:
        """A verdict about this signature."""
        return DkimVerdict(result, self.domain, self.selector, self.algorithm, reason)


def parse_signature(field: tuple[bytes, bytes], now: datetime) -> Signature | DkimVerdict:
    """Read one field; a verdict when it cannot pass whatever its key says."""
    if not is_readable(field):
        return DkimVerdict("permerror", reason="the field is too large")
    tags = parse_tags(field[1].decode("utf-8", "replace"))
    if tags is None:
        return DkimVerdict("permerror", reason="the field cannot be read")
    return signature_of(field, tags, now)


def is_readable(field: tuple[bytes, bytes]) -> bool:
    """Whether a field is small enough to be parsed and hashed in a time that nobody notices."""
    return len(field[1]) <= _MAX_FIELD_BYTES and not _LONG_BLANKS.search(field[1])


def signature_of(
    field: tuple[bytes, bytes], tags: dict[str, str], now: datetime
) -> Signature | DkimVerdict:
    """The signature that these tags of a field describe; a verdict as `parse_signature` gives."""
    missing = [name for name in _REQUIRED if not tags.get(name)]
    if missing:
        return DkimVerdict("permerror", reason=f"tag {missing[0]}= is missing")
    domain, selector = ascii_name(tags["d"]), ascii_name(tags["s"])
    if domain is None or selector is None or not _is_question(selector, domain):
        return DkimVerdict("permerror", reason="d= or s= is not a domain name")
    problem = _problem(tags, domain, now)
    if problem is not None:
        result, reason = problem
        return DkimVerdict(result, domain, selector, _known(tags["a"]), reason)
    header, _, body = tags.get("c", "simple").partition("/")
    return Signature(
        field=field,
        domain=domain,
        selector=selector,
        algorithm=tags["a"],
        identity_domain=_identity_domain(tags, domain) or domain,
        signed_fields=_signed_fields(tags),
        header_canonicalisation=header.encode("ascii"),
        body_canonicalisation=(body or "simple").encode("ascii"),
        body_hash=decoded(tags["bh"]) or b"",
        signature=decoded(tags["b"]) or b"",
    )


def _problem(tags: dict[str, str], domain: str, now: datetime) -> tuple[DkimResult, str] | None:
    """The first reason for which a signature cannot pass."""
    signed = _signed_fields(tags)
    canonicalisations = tags.get("c", "simple").split("/")
    identity = _identity_domain(tags, domain)
    checks: tuple[tuple[bool, DkimResult, str], ...] = (
        (tags["v"] != "1", "permerror", "v= is not 1"),
        # RFC 8301 §3.1: must not be verified.
        (tags["a"] == "rsa-sha1", "policy", "rsa-sha1 is too weak"),
        (tags["a"] not in ("rsa-sha1", "rsa-sha256", "ed25519-sha256"), "permerror", "unknown a="),
        (
            len(canonicalisations) > 2 or not _CANONICALISATIONS.issuperset(canonicalisations),
            "permerror",
            "unknown c=",
        ),
        ("dns/txt" not in tags.get("q", "dns/txt").split(":"), "permerror", "unknown q="),
        (
            identity is None or not (identity == domain or identity.endswith(f".{domain}")),
            "permerror",
            "i= is not of the domain d=",
        ),
        (len(signed) > _MAX_SIGNED_FIELDS, "permerror", "h= is too long"),
        # §5.4: the From field must be signed, else anyone may put another one there.
        (b"from" not in signed, "fail", "From is not signed"),
        # The rest of the body may be anybody's.
        ("l" in tags, "policy", "l= leaves the end of the body unsigned"),
        (decoded(tags["b"]) is None or decoded(tags["bh"]) is None, "permerror", "not base64"),
    )
    for wrong, result, reason in checks:
        if wrong:
            return result, reason
    return _time_problem(tags, now)


def _time_problem(tags: dict[str, str], now: datetime) -> tuple[DkimResult, str] | None:
    times = [tags.get("t", "0"), tags.get("x", "9" * 12)]
    if not all(_SECONDS.fullmatch(seconds) for seconds in times):
        return "permerror", "t= or x= is not a time"
    signed_at, expires_at = map(int, times)
    if expires_at < signed_at:
        return "permerror", "x= is before t="
    if now.timestamp() >= expires_at:
        return "fail", "signature has expired"
    if signed_at > now.timestamp() + _CLOCK_SKEW_SECONDS:
        return "fail", "signature is from the future"
    return None


def _is_question(selector: str, domain: str) -> bool:
    return ascii_name(f"{selector}._domainkey.{domain}") is not None


def _identity_domain(tags: dict[str, str], domain: str) -> str | None:
    if "i" not in tags:
        return domain
    return ascii_name(tags["i"].rpartition("@")[2])


def _signed_fields(tags: dict[str, str]) -> tuple[bytes, ...]:
    names = tags["h"].lower().split(":")
    return tuple(name.strip().encode("utf-8", "replace") for name in names)


def decoded(text: str) -> bytes | None:
    """The octets of a base64 tag, which may be folded; None when it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _known(algorithm: str) -> str | None:
    return algorithm if algorithm in ("rsa-sha1", "rsa-sha256", "ed25519-sha256") else None
