"""What has `mailagent doctor` to say of the zone of our own? Asks the servers, writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from backend.domains.desk import Desk
from backend.domains.zone_records import Contents, contents
from backend.domains.zone_watch import serial_at, standing
from mailagent.errors import MailagentError
from mailagent.store.tables import zone_serials
from mailagent.store.transaction import Transaction

__all__ = ["ZoneCheck", "zone_checks"]


@dataclass(frozen=True, slots=True)
class ZoneCheck:
    """One finding, as `backend.doctor.Check` has it."""

    name: str
    verdict: Literal["ok", "wrong", "not tested"]
    found: str
    mend: str = ""


async def zone_checks(desk: Desk) -> AsyncIterator[ZoneCheck]:
    """The zone's contents, our name server, and each server that is to have a copy."""
    try:
        now = await desk.store.read_unscoped(_contents, desk)
        serial, served = await desk.store.read_unscoped(_serials, desk.flow.default_domain)
    except (MailagentError, SQLAlchemyError) as error:
        yield ZoneCheck(
            "zone", "wrong", str(error).splitlines()[0], "the last whole zone is served"
        )
        return
    count = len({*now.ours, *now.added})
    yield ZoneCheck("zone", "ok", f"{count} records, serial {serial or 'none yet'}")
    for record, reason in now.left_out.items():
        mend = "remove it, or rename what it collides with: mailagent dns record list"
        yield ZoneCheck(f"record {record.name}", "wrong", f"left out: {reason}", mend)
    if serial is None or not served:
        mend = "mailagent dns serve, which must run all the time"
        yield ZoneCheck("name server", "wrong", "has not been seen for two minutes", mend)
    else:
        yield ZoneCheck("name server", "ok", "runs")
    settings = desk.settings
    public = [(one, 53) for given in settings.dns_name_servers.values() for one in given]
    servers = list(dict.fromkeys((*settings.dns_secondaries, *public)))
    async for check in _copies(now.zone, serial, servers):
        yield check


async def _copies(
    zone: str, serial: int | None, servers: Sequence[tuple[str, int]]
) -> AsyncIterator[ZoneCheck]:
    told = await asyncio.gather(*(serial_at(zone, one) for one in servers))
    for (host, port), said in zip(servers, told, strict=True):
        name = f"zone at {host}:{port}"
        if isinstance(said, str):
            mend = "check that it runs, may be asked from here, and has the zone's key"
            yield ZoneCheck(name, "wrong", said, mend)
        elif serial is not None and said < serial:
            mend = "look for dns.notify_failed in the log, and whether it may transfer the zone"
            yield ZoneCheck(name, "wrong", f"has serial {said}, behind {serial}", mend)
        else:
            yield ZoneCheck(name, "ok", f"has serial {said}")


def _contents(tx: Transaction, desk: Desk) -> Contents:
    return contents(tx, desk.settings, desk.installed(tx))


def _serials(tx: Transaction, zone: str) -> tuple[int | None, bool]:
    serial = tx.value(select(zone_serials.c.serial).where(zone_serials.c.zone == zone))
    return serial, standing(tx).serving
