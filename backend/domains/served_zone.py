"""Which zone do we serve now, and under which serial?

The serial belongs to the content: whoever finds other content than the row says writes the next
serial, so that all processes serve the same, and no change can forget to raise it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from backend.domains.carriers import Installed
from backend.domains.zone import Zone
from backend.domains.zone_records import zone_of
from mailagent.errors import MailagentError
from mailagent.settings import Settings
from mailagent.store import zone_version
from mailagent.store.engine import Store
from mailagent.store.tables import zone_serials
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["ServedZone", "current_zone"]

_LOOK_EVERY = 1.0

log = structlog.get_logger()


def current_zone(
    store: Store, settings: Settings, installed: Callable[[Transaction], Installed]
) -> Zone:
    """The zone as it is now; a new serial is written where the content is new.

    `installed` tells which accounts there are (`Desk.installed`).
    Raises Misconfigured and Malformed where the settings or rows make no zone.
    """
    zone = store.read_now(None, _numbered, settings, installed)
    return zone if zone is not None else store.write_now(None, _renumbered, settings, installed)


def _numbered(
    tx: Transaction, settings: Settings, installed: Callable[[Transaction], Installed]
) -> Zone | None:
    """The zone under its serial; None while its content has none."""
    zone = zone_of(tx, settings, installed(tx))
    row = _row(tx, settings)
    return zone.under(row.serial) if row is not None and row.sha256 == _sha256(zone) else None


def _renumbered(
    tx: Transaction, settings: Settings, installed: Callable[[Transaction], Installed]
) -> Zone:
    tx.lock(f"zone {settings.default_email_domain}")
    zone, row = zone_of(tx, settings, installed(tx)), _row(tx, settings)
    sha256 = _sha256(zone)
    if row is not None and row.sha256 == sha256:
        return zone.under(row.serial)
    # The time, and not a count: secondaries take no lower serial, and a database that was restored
    # or made anew has forgotten how far it had counted.
    serial = max(row.serial + 1 if row is not None else 0, int(tx.now.timestamp()))
    made = {
        "zone": settings.default_email_domain,
        "serial": serial,
        "sha256": sha256,
        "changed_at": tx.now,
    }
    tx.insert_or_update(zone_serials, made, unique=["zone"])
    return zone.under(serial)


def _row(tx: Transaction, settings: Settings) -> AnyRow | None:
    ours = zone_serials.c.zone == settings.default_email_domain
    return tx.row(select(zone_serials).where(ours))


def _sha256(zone: Zone) -> str:
    return hashlib.sha256(zone.under(0).to_text().encode()).hexdigest()


class ServedZone:
    """The zone of a running name server, which follows the database."""

    def __init__(
        self, store: Store, settings: Settings, installed: Callable[[Transaction], Installed]
    ) -> None:
        self._store, self._settings, self._installed = store, settings, installed
        self._version: tuple[int, ...] = ()
        self._zone: Zone | None = None

    @property
    def zone(self) -> Zone:
        """The zone as last read; `refresh` has been called before."""
        assert self._zone is not None
        return self._zone

    async def refresh(self) -> bool:
        """Read the zone anew if what it is made of has changed; whether its serial has.

        Raises SQLAlchemyError, Misconfigured, Malformed.
        """
        # The version before the zone: what changes in between is read once more, never missed.
        version = await self._store.read_unscoped(zone_version.current)
        if version == self._version:
            return False
        zone = await asyncio.to_thread(current_zone, self._store, self._settings, self._installed)
        moved = self._zone is None or zone.serial != self._zone.serial
        self._zone, self._version = zone, version
        return moved

    async def keep_fresh(
        self, wake: asyncio.Event, stop: asyncio.Event, moved: Callable[[], None]
    ) -> None:
        """Follow changes until `stop`: at once when woken, else within a second."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), timeout=_LOOK_EVERY)
            wake.clear()
            try:
                if await self.refresh():
                    log.info("dns.zone_changed", serial=self.zone.serial)
                    moved()
            except (SQLAlchemyError, MailagentError) as error:
                # The last zone that was whole goes on being served.
                log.warning("dns.zone_stale", error=type(error).__name__, said=str(error)[:300])
