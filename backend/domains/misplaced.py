"""Where was a record put that is missing at its place?

Four mistakes are made over and over: the DNS host appended the zone to a full name, the beginning
of the name was left out, the sub-domain was left out, or a record nearby hides a wildcard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backend.domains.reasons import Code
from backend.domains.record import DomainRecord
from backend.domains.views import Look
from mailagent.dns_answers import Found

__all__ = ["Misplaced", "misplaced"]

Holds = Callable[[tuple[str, ...]], bool]
"""Whether these records of one name have the value that is missing."""


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A record found at another name."""

    code: Code
    at: str
    detail: str = ""


def misplaced(
    record: DomainRecord, look: Look, holds: Holds, whole: Sequence[DomainRecord]
) -> Misplaced | None:
    """Look at the names where a missing record may have ended; None if it is at none of them.

    `whole` is the set it belongs to: what must hold at another name anyway is not misplaced there.
    """
    found: Misplaced | None = None
    for candidate in _candidates(record):
        type_ = record.record.type
        expected = (each for each in whole if each.name == candidate.at)
        if holds(tuple(each.text for each in expected if each.record.type == type_)):
            continue
        answer = look(candidate.at, type_)
        # All are asked in one round, though the first that holds decides.
        if found is None and isinstance(answer, Found) and holds(answer.records):
            found = candidate
    return found


def _candidates(record: DomainRecord) -> Iterator[Misplaced]:
    name, domain, place = record.name, record.place.domain, record.place
    # First, because a wildcard answers for most of the other names too.
    for parent in _parents(name, place.apex):
        if name != f"*.{parent}":
            yield Misplaced("wildcard_hidden", f"*.{parent}")
    for zone in dict.fromkeys((place.zone, domain)):
        typed = f"enter {record.name_below_zone} as its name, not the full name"
        yield Misplaced("zone_appended", f"{name}.{zone}", typed)
    prefix = name.removesuffix(f".{domain}") if name != domain else ""
    if prefix and not prefix.startswith("*"):
        for shorter in _shorter(prefix):
            yield Misplaced("prefix_missing", f"{shorter}{domain}")
    if record.kind != "dmarc":  # which counts above the domain, and is judged there
        for parent in _parents(domain, place.apex):
            yield Misplaced("at_parent", f"{prefix}.{parent}" if prefix else parent)


def _shorter(prefix: str) -> Iterator[str]:
    """What is left when the beginning or, of a DKIM key, `_domainkey` was not typed."""
    selector, _, rest = prefix.partition(".")
    if rest:
        yield f"{selector}."
        yield f"{rest}."
    yield ""


def _parents(name: str, apex: str) -> Iterator[str]:
    while name != apex and "." in name:
        name = name.partition(".")[2]
        yield name
