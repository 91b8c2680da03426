"""In which forms is a set of records handed to the person or program that publishes it?

A zone file is a third form, in `backend.domains.zone_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from backend.domains.record import DomainRecord

__all__ = ["as_json", "as_text"]


def as_text(records: Sequence[DomainRecord]) -> str:
    """Plain text for a mail to a DNS administrator: grouped, each value on a line of its own."""
    blocks: list[str] = []
    for group, members in groupby(records, key=lambda each: each.group):
        blocks.append(f"{group}\n{'-' * len(group)}")
        blocks += [_block(each) for each in members]
    return "\n\n".join(blocks) + "\n" if blocks else ""


def as_json(records: Sequence[DomainRecord]) -> list[dict[str, Any]]:
    """JSON for other tools: one object a record, `ttl` in seconds."""
    return [
        {
            "type": each.record.type,
            "name": each.name,
            "name_below_apex": each.name_below_apex,
            "name_below_zone": each.name_below_zone,
            "value": each.record.value,
            "priority": each.record.priority,
            "ttl": each.ttl,
            "purpose": each.purpose,
            "required": each.required,
            "needed_for": list(each.needed_for),
            "group": each.group,
            "kind": each.kind,
        }
        for each in records
    ]


def _block(each: DomainRecord) -> str:
    lines = [
        ("Type", each.record.type),
        ("Name", _both_names(each)),
        ("Priority", "" if each.record.priority is None else str(each.record.priority)),
        ("Value", each.record.value),
        ("TTL", f"{each.ttl} seconds"),
        ("For", f"{each.purpose}{'' if each.required else ' (recommended)'}"),
    ]
    return "\n".join(f"{title + ':':<10}{value}" for title, value in lines if value)


def _both_names(each: DomainRecord) -> str:
    return f"{each.name_below_zone}   (in full: {each.name})"
