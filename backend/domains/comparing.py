"""What differs between what must be published and what somebody's DNS host exports?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from backend.domains.compare import Comparison, compare
from backend.domains.desk import Desk
from backend.domains.exports import read_export
from backend.domains.record import DomainRecord
from mailagent.dns_answers import Answer, Question
from mailagent.errors import Malformed

__all__ = ["Difference", "compared"]

_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One record: expected and judged, or `beside` those that are."""

    status: str
    type: str
    name: str
    value: str
    found: tuple[str, ...]
    message: str


async def compared(desk: Desk, records: Sequence[DomainRecord], export: str) -> list[Difference]:
    """Judge an export; names outside the zone are asked of DNS. Raises Malformed."""
    if not records:
        raise Malformed("domain", "publishes no records")
    # In a thread: a long one takes a second to read.
    published = await asyncio.to_thread(read_export, export, records[0].place.zone)
    outside: dict[Question, Answer] = {}
    for _ in range(_ROUNDS):
        told = compare(records, published, outside)
        if isinstance(told, Comparison):
            return _differences(told)
        outside.update(await desk.resolver.ask_all(told.recursive))
    raise AssertionError(f"no comparison after {_ROUNDS} rounds of questions")


def _differences(told: Comparison) -> list[Difference]:
    found = [
        Difference(
            each.status,
            each.record.record.type,
            each.record.name,
            each.record.text,
            each.found,
            each.message,
        )
        for each in told.verdict.records
    ]
    beside = [
        Difference("beside", each.type, each.name, each.value, (), "is not asked for by us")
        for each in told.beside
    ]
    return found + beside
