"""Is a domain set up right, and if not: what is wrong, where, and what is to be typed?

A pure function of DNS answers and the providers' words. Three answers are kept apart (found,
absent, unknown): what is unknown on either side never makes a record missing or wrong. The zone's
own servers are asked beside a resolver, so that a change on its way is told from a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from backend.domains.finding import Asked, Finding, Status
from backend.domains.reasons import CODES, Code, say
from backend.domains.record import GROUPS, DomainRecord, Kind, Side
from backend.domains.verify_hosts import address, alias, exchange
from backend.domains.verify_key import key
from backend.domains.verify_texts import exact, ownership, policy, sender_policy, versioned
from backend.domains.views import Evidence, Look, Needs, Views
from mailagent.dns_answers import Found
from mailagent.identity import Identity

__all__ = ["Failure", "RecordVerdict", "SideVerdict", "Standing", "Verdict", "verify"]

Standing = Literal["verified", "waiting", "wrong", "unknown"]
"""`waiting`: nothing to mend, it is on its way. Only `wrong` may take a verified domain down."""

_SLOWEST_HOURS = 48
_URGENT: tuple[Standing, ...] = ("wrong", "unknown", "waiting")
"""What can be mended by hand is told before what only takes time."""


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """One expected record and what became of it."""

    record: DomainRecord
    status: Status
    code: Code | None
    message: str
    """What is wrong and the mend, in one sentence; empty when nothing is to be said."""
    found: tuple[str, ...]
    """What DNS has now, sorted."""

    @property
    def standing(self) -> Standing:
        """What this record means for what waits for it."""
        if self.code == "propagating":
            return "waiting"
        if self.status in ("valid", "extra"):
            return "verified"
        return "unknown" if self.status == "unknown" else "wrong"


@dataclass(frozen=True, slots=True)
class Failure:
    """The first thing that matters, of all that is not right."""

    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class SideVerdict:
    """Whether receiving, or sending, works as far as DNS and the providers tell."""

    standing: Standing
    failure: Failure | None
    """None when it is verified."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole domain."""

    records: tuple[RecordVerdict, ...]
    receiving: SideVerdict | None
    """None when the domain's mode does not receive."""
    sending: SideVerdict | None
    """None when the domain's mode does not send."""
    failure: Failure | None
    """`verification_failure`: what can be mended first, and sending's before receiving's."""
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Each provider's own words, as they are."""

    @property
    def tracking(self) -> Literal["disabled", "pending", "verified"]:
        """The tracking sub-domain's own status; it never blocks mail."""
        valid = self.all_valid("tracking")
        if valid is None:
            return "disabled"
        return "verified" if valid else "pending"

    def all_valid(self, *kinds: Kind) -> bool | None:
        """Whether the records of these kinds are right; None when there are none of them."""
        judged = [each for each in self.records if each.record.kind in kinds]
        if not judged:
            return None
        return all(each.status in ("valid", "extra") for each in judged)


def verify(
    records: Sequence[DomainRecord],
    evidence: Evidence,
    providers: Mapping[str, Identity] | None = None,
) -> Verdict | Needs:
    """Judge what is published against what must be, or name the answers that are still needed.

    `records` are a set of `backend.domains.records`, of one place; `providers` are the accounts'
    words by the title shown to people. Rounds end, because each asks below the names found before.
    """
    if not records:
        return Verdict((), None, None, None)
    views = Views(evidence, records[0].place.zone)
    whole = tuple(records)
    judged = [_judged(each, whole, evidence, views) for each in whole]
    if (needs := views.needs) is not None:
        return needs
    words = providers or {}
    receiving = _side("receiving", judged, {})
    sending = _side("sending", judged, words)
    sides = [side for side in (sending, receiving) if side is not None and side.failure is not None]
    # Stable: of equals sending comes first, which providers want verified before receiving.
    sides.sort(key=lambda side: _URGENT.index(side.standing))
    return Verdict(
        tuple(judged),
        receiving,
        sending,
        sides[0].failure if sides else None,
        {title: identity.words for title, identity in words.items()},
    )


def _judged(
    record: DomainRecord, whole: tuple[DomainRecord, ...], evidence: Evidence, views: Views
) -> RecordVerdict:
    if record.name in evidence.bogus:
        asked = Asked(record, views.recursive, whole)
        finding = asked.wrong("dnssec_bogus", "unknown", detail=evidence.bogus[record.name])
    else:
        told = _checked(record, whole, views.recursive)
        if evidence.authoritative is None:
            finding = told
        else:
            finding = _combined(record, told, _checked(record, whole, views.authoritative))
    return RecordVerdict(record, finding.status, finding.code, finding.message, finding.found)


def _combined(record: DomainRecord, told: Finding, own: Finding) -> Finding:
    """Join what a resolver is told with what the zone's own servers say, who know first."""
    if told.right and (own.right or own.status == "unknown"):
        # Where our packets do not reach the zone's servers, what every receiver is told counts.
        return own if own.right else told
    if "unknown" in (told.status, own.status):
        return told if told.status == "unknown" else own
    if own.right:
        message = say("propagating", name=record.name, detail=f"{_SLOWEST_HOURS} hours")
        return Finding(own.status, "propagating", message, own.found)
    return own


def _checked(record: DomainRecord, whole: tuple[DomainRecord, ...], look: Look) -> Finding:
    asked = Asked(record, look, whole)
    if record.name == record.place.domain and record.record.type != "CNAME":
        at_apex = look(record.name, "CNAME")
        if isinstance(at_apex, Found):
            return asked.wrong("cname_at_apex", found=at_apex.records, at=at_apex.records[0])
    match record.record.type:
        case "MX":
            return exchange(asked)
        case "CNAME":
            return alias(asked)
        case "A" | "AAAA":
            return address(asked)
        case "TXT":
            return _text(asked)
        case "NS" | "SRV":
            return exact(asked)


def _text(asked: Asked) -> Finding:
    match asked.record.kind:
        case "ownership":
            return ownership(asked)
        case "spf" | "bounce_spf":
            return sender_policy(asked)
        case "dkim":
            return key(asked)
        case "dmarc":
            return policy(asked)
        case "tls_rpt" | "mta_sts":
            return versioned(asked)
        case _:
            return exact(asked)


def _side(
    side: Side, judged: Sequence[RecordVerdict], providers: Mapping[str, Identity]
) -> SideVerdict | None:
    awaited = [each for each in judged if side in each.record.needed_for]
    if not awaited:
        return None
    open_: list[tuple[Standing, tuple[int, int, str], Failure]] = []
    for each in awaited:
        if each.standing != "verified":
            assert each.code is not None, "what is not right has a code"
            place = (
                GROUPS.index(each.record.group),
                CODES.index(each.code),
                f"{each.record.name} {each.record.text}",
            )
            open_.append((each.standing, place, Failure(each.code, each.message)))
    for title in sorted(providers):
        said = _provider(title, providers[title])
        if said is not None:
            open_.append((said[0], (len(GROUPS), CODES.index(said[1].code), title), said[1]))
    if not open_:
        return SideVerdict("verified", None)
    standing, _, failure = min(open_, key=lambda each: (_URGENT.index(each[0]), each[1]))
    return SideVerdict(standing, failure)


def _provider(title: str, identity: Identity) -> tuple[Standing, Failure] | None:
    said = ", ".join(f"{about} {word}" for about, word in sorted(identity.words.items()))
    detail = "; ".join(filter(None, (said, identity.detail))) or identity.sending
    match identity.sending:
        case "verified":
            return None
        case "failed":
            failed = Failure("provider_failed", say("provider_failed", name=title, detail=detail))
            return "wrong", failed
        case "pending":
            pending = say("provider_pending", name=title, detail=detail)
            return "waiting", Failure("provider_pending", pending)
        case "unknown":
            return "unknown", Failure("dns_unknown", say("dns_unknown", name=title, detail=detail))
