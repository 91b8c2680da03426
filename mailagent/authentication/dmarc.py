"""Does the domain in From vouch for this mail? DMARC (RFC 9989)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mailagent.authentication.answers import Inquiry
from mailagent.authentication.dmarc_record import Record, Walk, registrable_domain, walk
from mailagent.dns_answers import Absent, Unknown
from mailagent.mail import DkimVerdict, DmarcPolicy, DmarcVerdict, SpfVerdict

__all__ = ["Author", "foresee", "judge"]


@dataclass(frozen=True, slots=True)
class Author:
    """The author domain of a mail (§3.2.2), or why it has none."""

    domain: str | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Identifier:
    """A domain that SPF or DKIM spoke about (§3.2.1)."""

    by: Literal["spf", "dkim"]
    domain: str
    result: str


def foresee(author: Author, domains: Iterable[str | None], inquiry: Inquiry) -> None:
    """Ask all that `judge` may need, before it is known which identifier passes."""
    if author.domain is None:
        return
    above = walk(author.domain, inquiry)
    if above is not None and (record := above.applying) is not None:
        _policy(author.domain, record, inquiry)
    for domain in domains:
        if domain is not None and domain != author.domain and _may_align(domain, author.domain):
            walk(domain, inquiry)


def judge(
    author: Author, spf: SpfVerdict, dkim: Sequence[DkimVerdict], inquiry: Inquiry
) -> DmarcVerdict | None:
    """Judge alignment; None while `inquiry` lacks answers.

    What DNS could not tell is `temperror`, unless an identifier that needs no more DNS passes.
    """
    if author.domain is None:
        return DmarcVerdict("fail", reason=author.problem)
    above = walk(author.domain, inquiry)
    if above is None:
        return None
    if above.unknown is not None and above.own is None:
        return _temperror(author.domain, above.unknown)
    identifiers = _identifiers(spf, dkim)
    record = above.applying
    if record is None or record.p is None:
        return _without_policy(author.domain, above, record, identifiers)
    policy = _policy(author.domain, record, inquiry)
    if policy is None:
        return None
    unknown = ""
    for identifier in identifiers:
        aligned = _aligned(identifier, author.domain, above, record, inquiry)
        match aligned:
            case None:
                return None
            case Unknown(reason=reason):
                unknown = unknown or reason
            case True if identifier.result == "pass":
                return DmarcVerdict("pass", author.domain, policy, identifier.by, record.domain, "")
            case True if identifier.result == "temperror":
                unknown = unknown or f"{identifier.by} of {identifier.domain} could not be judged"
    if unknown:
        return _temperror(author.domain, unknown, policy, record.domain)
    reason = "neither SPF nor DKIM passed for a domain of From's organisation"
    return DmarcVerdict("fail", author.domain, policy, None, record.domain, reason)


def _identifiers(spf: SpfVerdict, dkim: Sequence[DkimVerdict]) -> list[_Identifier]:
    """DKIM first: it survives forwarding and is the stronger evidence."""
    found = [_Identifier("dkim", v.domain, v.result) for v in dkim if v.domain is not None]
    if spf.domain is not None:
        found.append(_Identifier("spf", spf.domain, spf.result))
    return [each for each in found if each.result in ("pass", "temperror")]


def _aligned(
    identifier: _Identifier, author: str, above: Walk, record: Record, inquiry: Inquiry
) -> bool | Unknown | None:
    """§4.4: equal, or in relaxed mode of the same organisational domain."""
    if identifier.domain == author:
        return True
    strict = record.strict_dkim if identifier.by == "dkim" else record.strict_spf
    if strict or not _may_align(identifier.domain, author):
        return False
    other = walk(identifier.domain, inquiry)
    if other is None:
        return None
    if (reason := above.unknown or other.unknown) is not None:
        return Unknown(reason)
    return other.organisation == above.organisation


def _may_align(domain: str, author: str) -> bool:
    """Whether both can be of one organisation at all: else its DNS need not be asked.

    Compares whole labels; a shared public suffix is not a shared organisation.
    """
    shared: list[str] = []
    for ours, theirs in zip(reversed(domain.split(".")), reversed(author.split(".")), strict=False):
        if ours != theirs:
            break
        shared.insert(0, ours)
    return bool(shared) and registrable_domain(domain).count(".") < len(shared)


def _policy(author: str, record: Record, inquiry: Inquiry) -> DmarcPolicy | None:
    """The policy that applies; None while it is not known whether the domain exists."""
    if author == record.domain or record.np is None:
        return record.policy_for(author, exists=True)
    match inquiry.ask(author, "A"):
        case None:
            return None
        case Absent(nxdomain=True):
            # §3.2.13, RFC 8020: NXDOMAIN for one type is NXDOMAIN for the name.
            return record.policy_for(author, exists=False)
        case _:
            # Unknown does not demote: as long as DNS does not deny the name, it exists.
            return record.policy_for(author, exists=True)


def _without_policy(
    author: str, above: Walk, record: Record | None, identifiers: Sequence[_Identifier]
) -> DmarcVerdict:
    """No policy: `none`, with what is aligned by the public suffix list noted as evidence."""
    aligned = next(
        (
            each
            for each in identifiers
            if each.result == "pass"
            and registrable_domain(each.domain) == registrable_domain(above.start)
        ),
        None,
    )
    reason = "no DMARC record" if record is None else "the DMARC record has no usable policy"
    if aligned is not None:
        reason += f"; {aligned.by} passed for {aligned.domain} of the same registered domain"
    where = record.domain if record is not None else None
    return DmarcVerdict("none", author, None, aligned.by if aligned else None, where, reason)


def _temperror(
    author: str, reason: str, policy: DmarcPolicy | None = None, where: str | None = None
) -> DmarcVerdict:
    return DmarcVerdict("temperror", author, policy, None, where, reason)
