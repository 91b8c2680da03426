"""Which ARC sets stand in a header, and are they in order? (RFC 8617 §4.1, §5.2 steps 1 to 3)"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from mailagent.authentication.dkim_key import parse_tags
from mailagent.authentication.dkim_signature import (
    Signature,
    decoded,
    is_readable,
    signature_of,
)
from mailagent.authentication.message import Message
from mailagent.dns_answers import Question, ascii_name
from mailagent.mail import DkimVerdict

__all__ = ["MAX_SETS", "ArcSet", "Broken", "Seal", "read_sets"]

MAX_SETS = 10
"""Every set costs a verification and perhaps a DNS question. The RFC allows 50; mail that is
forwarded in earnest has one to four."""

_Field = tuple[bytes, bytes]
_NAMES = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
_INSTANCE = re.compile(r"[1-9][0-9]?")
_RESULTS = re.compile(r"\s{0,64}i\s{0,64}=\s{0,64}([0-9]{1,2})\s{0,64};(.*)", re.DOTALL)
_ALGORITHMS = ("rsa-sha256", "ed25519-sha256")


@dataclass(frozen=True, slots=True)
class Broken:
    """Why no set can be believed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Seal:
    """An ARC-Seal whose tags are in order; nothing is verified yet."""

    field: _Field
    domain: str
    selector: str
    algorithm: str
    chain: str
    """`cv=`: what its sealer found of the sets below: `none`, `pass` or `fail`."""
    signature: bytes

    @property
    def question(self) -> Question:
        """Where its key record stands."""
        return Question(f"{self.selector}._domainkey.{self.domain}", "TXT")


@dataclass(frozen=True, slots=True)
class ArcSet:
    """The three fields of one instance."""

    results: str
    """What its sealer had found: authserv-id and results (RFC 8601), unfolded."""
    signature: Signature
    seal: Seal
    fields: tuple[_Field, _Field, _Field]
    """Results, message signature and seal as received, in the order in which a seal covers them."""


def read_sets(message: Message, now: datetime) -> tuple[ArcSet, ...] | Broken:
    """The sets of a message, instance 1 first; none when it has no ARC field at all."""
    found = [message.all(name) for name in _NAMES]
    most = max(map(len, found))
    if most == 0:
        return ()
    if not message.whole:
        return Broken("the header is too large or malformed")
    if most > MAX_SETS:
        return Broken(f"more than {MAX_SETS} sets")
    if any(len(fields) != most for fields in found):
        return Broken("a set is not complete")
    by_instance: list[dict[int, _Field]] = []
    for fields in found:
        numbered = {instance: field for field in fields if (instance := _instance(field))}
        # Also when a number stands twice or cannot be read: then another one is missing.
        if numbered.keys() != set(range(1, most + 1)):
            return Broken("the instances are not 1 and up, each once")
        by_instance.append(numbered)
    sets: list[ArcSet] = []
    for instance in range(1, most + 1):
        results, signature, seal = (numbered[instance] for numbered in by_instance)
        made = _set(instance, results, signature, seal, now)
        if isinstance(made, Broken):
            return Broken(f"set {instance}: {made.reason}")
        sets.append(made)
    return tuple(sets)


def _instance(field: _Field) -> int | None:
    if not is_readable(field):
        return None
    text = field[1].decode("utf-8", "replace")
    if field[0].lower() == _NAMES[0]:
        matched = _RESULTS.match(text)
        value = matched[1] if matched else ""
    else:
        value = (parse_tags(text) or {}).get("i", "")
    return int(value) if _INSTANCE.fullmatch(value) else None


def _set(
    instance: int, results: _Field, signature: _Field, seal: _Field, now: datetime
) -> ArcSet | Broken:
    said = _RESULTS.match(results[1].decode("utf-8", "replace"))
    assert said is not None, "its instance was read"
    signed = _signature(signature, now)
    sealed = _seal(instance, seal)
    if isinstance(signed, Broken):
        return signed
    if isinstance(sealed, Broken):
        return sealed
    return ArcSet(" ".join(said[2].split()), signed, sealed, (results, signature, seal))


def _signature(field: _Field, now: datetime) -> Signature | Broken:
    tags = parse_tags(field[1].decode("utf-8", "replace")) or {}
    if "v" in tags:
        return Broken("a message signature has no v=")
    names = [name.strip().lower() for name in tags.get("h", "").split(":")]
    if "arc-seal" in names:
        return Broken("a message signature must not cover seals")
    # §4.1.2: a DKIM-Signature but for these two tags.
    alike = {"v": "1", **{name: value for name, value in tags.items() if name != "i"}}
    claim = signature_of(field, alike, now)
    if isinstance(claim, DkimVerdict):
        return Broken(f"message signature: {claim.reason}")
    return claim


def _seal(instance: int, field: _Field) -> Seal | Broken:
    tags = parse_tags(field[1].decode("utf-8", "replace")) or {}
    if "h" in tags:
        return Broken("a seal has no h=")
    domain, selector = ascii_name(tags.get("d", "")), ascii_name(tags.get("s", ""))
    if domain is None or selector is None or ascii_name(f"{selector}._domainkey.{domain}") is None:
        return Broken("d= or s= of the seal is not a domain name")
    signature = decoded(tags.get("b", ""))
    if tags.get("a") not in _ALGORITHMS or not signature:
        return Broken("the seal has no signature that we know")
    chain = tags.get("cv", "").lower()
    # §5.2 steps 2 and 3: only the first set begins a chain, and no chain goes on after a fail.
    if chain != ("none" if instance == 1 else "pass"):
        return Broken(f"its sealer says cv={chain[:20]}")
    return Seal(field, domain, selector, tags["a"], chain, signature)
