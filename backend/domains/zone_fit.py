"""May this record stand in our zone beside those that we publish there ourselves?

Ours come first: a zone in which an operator's, or a provider's, record took their place would lose
the mail of every workspace, and so would one that no name server can load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mailagent.identity import DnsRecord

__all__ = ["why_not"]

_ONE_SET = frozenset({"A", "AAAA", "SRV"})
"""Types of which ours is the whole set of its name."""
_ONE_EACH = ("v=spf1", "v=dmarc1", "v=dkim1")
"""Texts of which a name can have one: with two, receivers take neither (RFC 7208 §4.5)."""


def why_not(
    record: DnsRecord, ours: Iterable[DnsRecord], *, zone: str, workspaces: Collection[str]
) -> str:
    """Why the record cannot stand there, in words; empty for one that can.

    `ours` are the zone's other records, `workspaces` the slugs that have a name below it.
    """
    name, type_ = record.name, record.type
    if name != zone and not name.endswith(f".{zone}"):
        return f"{name} is not in the zone {zone}"
    takes_mail = name == zone or name.removesuffix(f".{zone}") in {"*", *workspaces}
    if takes_mail and type_ == "CNAME":
        return f"{name} takes mail, and a CNAME would take the place of its MX: use A and AAAA"
    if takes_mail and _begins(record, "v=spf1") and record not in ours:
        return f"{name} has the SPF record that mailagent keeps: receivers take one alone"
    for other in ours:
        if other.name == name and other != record and (reason := _collision(record, other)):
            return reason
    return ""


def _collision(record: DnsRecord, ours: DnsRecord) -> str:
    if "CNAME" in (record.type, ours.type):
        return f"{record.name} has {ours.type} {ours.value}, and a CNAME stands alone there"
    if record.type != ours.type:
        return ""
    if record.type in _ONE_SET:
        return f"{record.name} has {ours.type} {ours.value}, which mailagent keeps"
    if any(_begins(record, what) and _begins(ours, what) for what in _ONE_EACH):
        return f"{record.name} has such a record, which mailagent keeps: {ours.value[:60]}"
    return ""


def _begins(record: DnsRecord, what: str) -> bool:
    return record.type == "TXT" and record.value.lower().startswith(what)
