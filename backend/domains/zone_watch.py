"""Do the servers of our zone have what the database says?

The running name server asks each secondary for its serial and writes down what it said, beside its
own: so that every process can tell without asking anybody, and a name server that stopped is one
that has not written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdtypes.ANY.SOA
import structlog
from dns.rdatatype import RdataType
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from backend.domains.zone import Zone
from mailagent.store.engine import Store
from mailagent.store.tables import zone_serials, zone_servers
from mailagent.store.transaction import Transaction

__all__ = ["OURSELVES", "SILENT_AFTER", "Standing", "serial_at", "standing", "watch"]

OURSELVES = ""
"""What our own name server is called among the servers."""
_EVERY_SECONDS = 30.0
_ANSWER_SECONDS = 2.0
SILENT_AFTER = timedelta(seconds=100)
"""Three rounds, and some: a name server that has not written since has stopped."""
_FOLLOWED_AFTER = timedelta(minutes=1)
"""A change is with every secondary within seconds; a lost NOTIFY is sent again meanwhile."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """How the zone stands. `serial` is the database's; None where nobody has served it yet."""

    serial: int | None
    serving: bool
    """Whether a name server of ours has written lately, with this serial."""
    behind: tuple[str, ...] = ()
    """Secondaries with an older serial, a minute after the change."""
    away: tuple[str, ...] = ()
    """Secondaries that gave none."""

    @property
    def counts(self) -> dict[str, int]:
        """As numbers, for `/health` and `/metrics`; none where there is no zone."""
        if self.serial is None:
            return {}
        return {
            "serving": int(self.serving),
            "secondaries_behind": len(self.behind),
            "secondaries_away": len(self.away),
        }


async def serial_at(zone: str, server: tuple[str, int]) -> int | str:
    """The serial that a server has of a zone, or in words why it gives none."""
    query = dns.message.make_query(zone, RdataType.SOA)
    query.flags &= ~dns.flags.RD
    address, port = server
    try:
        answer = await dns.asyncquery.udp(query, address, timeout=_ANSWER_SECONDS, port=port)
    except dns.exception.Timeout:
        return "does not answer"
    except (dns.exception.DNSException, OSError, EOFError) as error:
        return f"{type(error).__name__}: {error}"[:300]
    if answer.rcode() != dns.rcode.NOERROR:
        return f"answers {dns.rcode.to_text(answer.rcode())}"
    for rrset in answer.answer:
        for rdata in rrset:
            if isinstance(rdata, dns.rdtypes.ANY.SOA.SOA):
                return int(rdata.serial)
    return "does not have the zone"


async def watch(
    store: Store,
    secondaries: Sequence[tuple[str, int]],
    zone: Callable[[], Zone],
    stop: asyncio.Event,
) -> None:
    """Write down how the servers stand, now and every half minute until `stop`."""
    while not stop.is_set():
        name = zone().origin.to_text(omit_final_dot=True)
        said = await asyncio.gather(*(serial_at(name, one) for one in secondaries))
        found: dict[str, int | str] = {
            OURSELVES: zone().serial,
            **{
                f"{host}:{port}": told for (host, port), told in zip(secondaries, said, strict=True)
            },
        }
        try:
            await store.write_unscoped(_record, found)
        except SQLAlchemyError as error:
            log.warning("dns.watch_not_written", error=type(error).__name__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=_EVERY_SECONDS)


def _record(tx: Transaction, found: dict[str, int | str]) -> None:
    tx.execute(delete(zone_servers).where(zone_servers.c.server.not_in(list(found))))
    for server, told in found.items():
        serial, said = (told, "") if isinstance(told, int) else (None, told)
        row = {"server": server, "serial": serial, "said": said, "asked_at": tx.now}
        tx.insert_or_update(zone_servers, row, unique=["server"])


def standing(tx: Transaction) -> Standing:
    """How the zone stands, by what was written down."""
    zone = tx.row(select(zone_serials).order_by(zone_serials.c.changed_at.desc()).limit(1))
    if zone is None:
        return Standing(None, serving=False)
    rows = {row.server: row for row in tx.rows(select(zone_servers))}
    own = rows.pop(OURSELVES, None)
    followed = tx.now - zone.changed_at > _FOLLOWED_AFTER
    behind = [
        name
        for name, row in rows.items()
        if row.serial is not None and row.serial < zone.serial and followed
    ]
    return Standing(
        zone.serial,
        serving=own is not None and own.asked_at > tx.now - SILENT_AFTER,
        behind=tuple(sorted(behind)),
        away=tuple(sorted(name for name, row in rows.items() if row.serial is None)),
    )
