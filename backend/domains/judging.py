"""What does a verdict mean for a domain's life, and how is it kept?

A record that was not asked for when the domain was verified is new: while it is wrong it is on its
way, and takes nothing down. That is told here, so that `life` knows only four standings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Literal

from backend.domains.life import Life, Seen
from backend.domains.record import DomainRecord
from backend.domains.verify import Failure, SideVerdict, Standing, Verdict
from mailagent.identity import Identity

__all__ = ["TAKEN", "held_after", "key_of", "ownership_lost", "seen", "verdict_to_json"]

TAKEN = "domain_taken"
"""The failure of a name that another workspace was quicker to verify; no record mends it."""


def key_of(record: DomainRecord) -> str:
    """A name for a record with its value, by which it is known again."""
    text = f"{record.record.type} {record.name} {record.text}"
    return sha256(text.encode()).hexdigest()[:20]


def seen(
    verdict: Verdict, life: Life, held: frozenset[str], identities: Iterable[Identity]
) -> Seen:
    """Each side's standing, by what is asked of the domain at this point of its life."""
    failed = any(identity.sending == "failed" for identity in identities)
    was_verified = life.state == "verified" or life.failures > 0
    return Seen(
        _side(verdict, "receiving", verdict.receiving, held, was_verified, failed=False),
        _side(verdict, "sending", verdict.sending, held, was_verified, failed=failed),
    )


def _side(
    verdict: Verdict,
    side: Literal["receiving", "sending"],
    told: SideVerdict | None,
    held: frozenset[str],
    was_verified: bool,
    *,
    failed: bool,
) -> Standing | None:
    if told is None:
        return None
    if told.standing != "wrong" or not was_verified or failed:
        return told.standing
    known = any(
        each.standing == "wrong" and key_of(each.record) in held
        for each in verdict.records
        if side in each.record.needed_for
    )
    return "wrong" if known else "waiting"


def held_after(verdict: Verdict, held: frozenset[str]) -> frozenset[str]:
    """The records that a verified domain must keep: those that are right, and were before."""
    required = [each for each in verdict.records if each.record.required]
    keys = {key_of(each.record) for each in required}
    right = {key_of(each.record) for each in required if each.standing == "verified"}
    return frozenset(right | (held & keys))


def ownership_lost(verdict: Verdict) -> bool:
    """Whether the record that proves the domain to be the workspace's is wrong."""
    return any(
        each.standing == "wrong"
        for each in verdict.records
        if each.record.kind in ("ownership", "verification")
    )


def verdict_to_json(verdict: Verdict, seen_: Seen) -> dict[str, Any]:
    """The look, as it is stored and shown."""
    return {
        "records": [
            {
                "key": key_of(each.record),
                "type": each.record.record.type,
                "name": each.record.name,
                "kind": each.record.kind,
                "status": each.status,
                "code": each.code,
                "message": each.message,
                "found": list(each.found),
            }
            for each in verdict.records
        ],
        "receiving": _side_to_json(verdict.receiving, seen_.receiving),
        "sending": _side_to_json(verdict.sending, seen_.sending),
        "failure": failure_to_json(verdict.failure),
        "words": {title: dict(words) for title, words in verdict.words.items()},
        "checks": {
            "verification_txt": verdict.all_valid("ownership", "verification"),
            "mx": verdict.all_valid("mx"),
            "spf": verdict.all_valid("spf"),
            "dkim": verdict.all_valid("dkim"),
            "dmarc": verdict.all_valid("dmarc"),
            "bounce": verdict.all_valid("bounce_mx", "bounce_spf", "return_path"),
            "tracking": verdict.all_valid("tracking"),
        },
    }


def failure_to_json(failure: Failure | None) -> dict[str, str] | None:
    """The first thing that matters, or None."""
    return None if failure is None else {"code": failure.code, "message": failure.message}


def _side_to_json(told: SideVerdict | None, standing: Standing | None) -> Mapping[str, Any] | None:
    if told is None:
        return None
    return {"standing": standing, "failure": failure_to_json(told.failure)}
