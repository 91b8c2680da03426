"""Who has failed to log in too often, over all processes and nodes?

Rows that end by themselves, under a hash of what they count: what strangers type is not kept. Each
login costs one read; a failure, and the first success of a client in a month, one write.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from mailagent.doors.login_throttle import ThrottleLimits
from mailagent.doors.smtp_census import counted_as
from mailagent.store.engine import Store
from mailagent.store.tables import login_counts
from mailagent.store.transaction import Transaction

__all__ = ["StoreThrottle"]

_WELCOME = timedelta(days=30)
"""So long a client that logged in under a name is not held up by others' guesses."""

log = structlog.get_logger()


class StoreThrottle:
    """The `Throttle` of an installation. While the database is away it holds nobody back: then
    nobody can be logged in either.
    """

    def __init__(self, store: Store, limits: ThrottleLimits | None = None) -> None:
        self._store, self._limits = store, limits or ThrottleLimits()

    async def wait(self, client_ip: str, name: str | None = None) -> timedelta | None:
        """See `login_throttle.Throttle`."""
        address = counted_as(client_ip)
        try:
            return await self._store.read_unscoped(_wait, self._limits, address, name)
        except SQLAlchemyError as error:
            log.warning("submission_failures_unread", error=type(error).__name__)
            return None

    async def failed(self, client_ip: str, name: str) -> None:
        """See `login_throttle.Throttle`."""
        counted = sorted((_of_address(counted_as(client_ip)), _of_name(name)))
        try:
            await self._store.write_unscoped(_count, counted, self._limits.within)
        except SQLAlchemyError as error:
            log.warning("submission_failures_unwritten", error=type(error).__name__)

    async def succeeded(self, client_ip: str, name: str) -> None:
        """See `login_throttle.Throttle`."""
        what = _of_welcome(counted_as(client_ip), name)
        try:
            if not await self._store.read_unscoped(_is_welcome, what):
                await self._store.write_unscoped(_welcome, what)
        except SQLAlchemyError as error:
            log.warning("submission_failures_unwritten", error=type(error).__name__)


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _of_address(address: str) -> str:
    return _hashed("address", address)


def _of_name(name: str) -> str:
    return _hashed("name", name)


def _of_welcome(address: str, name: str) -> str:
    return _hashed("welcome", address, name)


def _wait(
    tx: Transaction, limits: ThrottleLimits, address: str, name: str | None
) -> timedelta | None:
    asked = [_of_address(address)]
    if name is not None:
        asked += [_of_name(name), _of_welcome(address, name)]
    table = login_counts.c
    rows = tx.rows(select(login_counts).where(table.what.in_(asked), table.ends_at > tx.now))
    found = {row.what: row for row in rows}
    by_address = found.get(asked[0])
    if by_address is not None and by_address.failures >= limits.per_address:
        return timedelta(seconds=(by_address.ends_at - tx.now).total_seconds())
    if name is None or asked[2] in found:
        return None
    by_name = found.get(asked[1])
    if by_name is not None and by_name.failures >= limits.per_name:
        return timedelta(seconds=(by_name.ends_at - tx.now).total_seconds())
    return None


def _count(tx: Transaction, counted: list[str], within: timedelta) -> None:
    for what in counted:  # in order, so that two who count the same wait and do not block
        tx.lock(f"login {what}")
        row = tx.row(select(login_counts).where(login_counts.c.what == what))
        failures, ends_at = (1, tx.now + within)
        if row is not None and row.ends_at > tx.now:
            failures, ends_at = row.failures + 1, row.ends_at
        line = {"what": what, "failures": failures, "ends_at": ends_at}
        tx.insert_or_update(login_counts, line, unique=["what"])


def _is_welcome(tx: Transaction, what: str) -> bool:
    until = tx.value(select(login_counts.c.ends_at).where(login_counts.c.what == what))
    return until is not None and until > tx.now + _WELCOME / 2


def _welcome(tx: Transaction, what: str) -> None:
    line = {"what": what, "failures": 0, "ends_at": tx.now + _WELCOME}
    tx.insert_or_update(login_counts, line, unique=["what"])
