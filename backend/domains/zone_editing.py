"""What may an operator put into our zone beside what mailagent publishes there?

A web site's addresses, another service's proof: whatever takes nothing of ours away. What collides
when it is added is refused; what collides later, with a workspace or an account that came, is left
out of the zone and listed so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from backend.domains.carriers import Installed
from backend.domains.zone import checked_record
from backend.domains.zone_fit import why_not
from backend.domains.zone_records import contents
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.identity import DnsRecord
from mailagent.settings import Settings
from mailagent.store import own_records
from mailagent.store.transaction import Transaction

__all__ = ["OwnRecord", "Type", "add", "listed", "remove"]

Type = Literal["A", "AAAA", "CNAME", "SRV", "TXT"]
_TYPES: tuple[str, ...] = get_args(Type)
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class OwnRecord:
    """A record of the operator's; `left_out` says why it is not in the zone, empty when it is."""

    id: str
    type: str
    name: str
    value: str
    priority: int | None
    left_out: str


def listed(tx: Transaction, settings: Settings, installed: Installed) -> Sequence[OwnRecord]:
    """The operator's records by name. Raises Misconfigured where the settings make no zone."""
    left_out = contents(tx, settings, installed).left_out
    return tuple(_shown(one, left_out.get(one.record, "")) for one in own_records.stored(tx))


def add(tx: Transaction, settings: Settings, installed: Installed, record: DnsRecord) -> OwnRecord:
    """Put a record into the zone. A name outside it is taken as one below, `@` as the zone itself.

    Raises Malformed for what is no record of its type, Conflict for one that takes the place of
    another, Misconfigured.
    """
    zone = settings.default_email_domain
    name = record.name.rstrip(".").lower()
    if name in ("@", ""):
        name = zone
    elif name != zone and not name.endswith(f".{zone}"):
        name = f"{name}.{zone}"
    value = record.value if record.type == "TXT" else record.value.rstrip(".").lower()
    record = replace(record, name=name, value=value)
    if record.type not in _TYPES:
        raise Malformed("type", f"{record.type[:20]!r} cannot be added: {', '.join(_TYPES)} can")
    if f".{name}".endswith(f".return.{zone}"):
        raise Conflict(f"below return.{zone} lead managed domains and return paths: take another")
    checked_record(record)
    tx.lock("zone records")
    mine = [one.record for one in own_records.stored(tx)]
    if record in mine:
        raise Conflict(f"{name} has this {record.type} record already")
    if len(mine) >= _MOST:
        raise Conflict(f"the zone has {_MOST:,} records of yours, which is the most")
    now = contents(tx, settings, installed)
    reason = now.why_not(record) or _beside_mine(record, mine, zone)
    if reason:
        raise Conflict(reason)
    return _shown(own_records.keep(tx, record), "")


def remove(tx: Transaction, record_id: str) -> None:
    """Take a record of the operator's out of the zone. Raises NotFound."""
    if not own_records.remove(tx, record_id):
        raise NotFound(f"there is no record {record_id[:80]!r}: mailagent dns record list")


def _beside_mine(record: DnsRecord, mine: Sequence[DnsRecord], zone: str) -> str:
    """Several addresses and texts of a name are the operator's to give; a CNAME stands alone."""
    alone = [one for one in mine if "CNAME" in (one.type, record.type)]
    return why_not(record, alone, zone=zone, workspaces=())


def _shown(one: own_records.StoredRecord, left_out: str) -> OwnRecord:
    record = one.record
    return OwnRecord(one.id, record.type, record.name, record.value, record.priority, left_out)
