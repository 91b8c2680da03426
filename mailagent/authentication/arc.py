"""Who says, sealed, how this mail looked before it was forwarded? ARC (RFC 8617)

A forwarder or list breaks SPF and DKIM honestly; a sealer whose word is taken may say what it saw
before. The chain is judged whenever somebody is listed, and counts only if a listed domain sealed
it last: anyone may seal.

Hashing and keys are those of `dkim`. Not judged: the message signatures below the last one, which
§5.2 leaves to the validator and which a list breaks as it breaks DKIM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

import dkim as dkimpy
from dkim.canonicalization import CanonicalizationPolicy

from mailagent.authentication import dkim
from mailagent.authentication.answers import Inquiry
from mailagent.authentication.arc_results import vouches
from mailagent.authentication.arc_set import ArcSet, Broken, Seal, read_sets
from mailagent.authentication.dkim_key import Unusable, parse_key
from mailagent.authentication.message import Message
from mailagent.dns_answers import Absent, Found, Question, Unknown
from mailagent.mail import ArcResult, ArcVerdict, DmarcVerdict

__all__ = ["Chain", "apply", "read_chain", "verify"]

_MAX_SAID = 500
_RELAXED = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")


@dataclass(frozen=True, slots=True)
class Chain:
    """The ARC sets of a mail, instance 1 first, in order as far as DNS need not be asked."""

    sets: tuple[ArcSet, ...]
    trusted: str | None
    """The listed domain that sealed last, if it is one."""

    @property
    def questions(self) -> frozenset[Question]:
        """Where the keys stand that `verify` needs."""
        return frozenset(
            (self.sets[-1].signature.question, *(each.seal.question for each in self.sets))
        )

    def verdict(self, result: ArcResult, reason: str = "") -> ArcVerdict:
        """A verdict about this chain."""
        sealers = tuple(each.seal.domain for each in self.sets)
        said = self.sets[-1].results[:_MAX_SAID] if self.trusted is not None else ""
        return ArcVerdict(result, sealers, self.trusted, said, reason)


def read_chain(
    message: Message, *, sealers: Collection[str], now: datetime
) -> Chain | ArcVerdict | None:
    """Read the sets of a mail; a verdict when they cannot pass, None when there are none.

    `sealers` are lower-case domains, each compared with `d=` of the last seal as it stands.
    """
    sets = read_sets(message, now)
    match sets:
        case Broken(reason):
            return ArcVerdict("fail", reason=reason)
        case ():
            return None
        case _:
            last = sets[-1].seal.domain
            return Chain(sets, last if last in sealers else None)


def verify(
    chain: Chain | ArcVerdict | None, message: Message, inquiry: Inquiry
) -> ArcVerdict | None:
    """Judge a chain whose key answers `inquiry` has (§5.2). Unknown DNS is `temperror`."""
    if not isinstance(chain, Chain):
        return chain
    signed = dkim.verify(chain.sets[-1].signature, message, inquiry)
    if signed.result != "pass":
        return chain.verdict(
            "temperror" if signed.result == "temperror" else "fail",
            f"message signature of {signed.domain}: {signed.reason}",
        )
    for count in range(len(chain.sets), 0, -1):
        seal = chain.sets[count - 1].seal
        match inquiry.ask(seal.question.name, seal.question.type):
            case None | Unknown():
                return chain.verdict("temperror", f"DNS did not tell the key of seal {count}")
            case Absent():
                return chain.verdict("fail", f"no key for seal {count}")
            case Found(records=records):
                key = parse_key(records, seal.algorithm)
        if isinstance(key, Unusable):
            return chain.verdict("fail", f"seal {count}: {key.reason}")
        if not key.verifies(seal.signature, _seal_digest(chain.sets[:count], seal)):
            return chain.verdict("fail", f"seal {count} of {seal.domain} does not match")
    return chain.verdict("pass")


def _seal_digest(sets: tuple[ArcSet, ...], seal: Seal) -> bytes:
    """§5.1.1: all sets in the order in which they were made, this seal last and without `b=`."""
    fields = [field for each in sets for field in each.fields]
    hasher = hashlib.sha256()
    for name, value in _RELAXED.canonicalize_headers(fields[:-1]):
        hasher.update(name + b":" + value)
    dkimpy.hash_headers(hasher, _RELAXED, [], [], seal.field, {})
    return hasher.digest()


def apply(
    verdict: DmarcVerdict, chain: Chain | ArcVerdict | None, arc: ArcVerdict | None
) -> DmarcVerdict:
    """DMARC's verdict with what ARC changes of it: a fail may become a pass, nothing else.

    That needs a chain that holds, a listed domain as its last sealer, and this sealer's own word
    that the very domain in From had passed.
    """
    if verdict.result != "fail" or verdict.domain is None:
        return verdict
    if not isinstance(chain, Chain) or chain.trusted is None:
        return verdict
    if arc is None or arc.result != "pass":
        return verdict
    evidence = vouches(chain.sets[-1].results, verdict.domain)
    if evidence is None:
        return verdict
    reason = f"by ARC of {chain.trusted}, which saw {evidence}; here {verdict.reason}"
    return replace(verdict, result="pass", aligned_by="arc", reason=reason)
