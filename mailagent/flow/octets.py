"""Where are a mail's octets, and how do they move out of the database without ever being lost?

A raw row holds its `content`, or where an object in S3-compatible storage holds it (`kept_at`);
while it moves, both. The place is written before the object, and the content goes only when the
object was read back: a kill at any point leaves the content, or a whole object that the row names.
What is removed goes by a row of `removed_objects`, in the transaction that let go of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, func, select, update

from mailagent.errors import Delivery
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.providers.raw_store import RawStore
from mailagent.store.tables import deliveries, raw_messages, removed_objects, rounds
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["COLUMNS", "drop", "keep_outside", "whole"]

log = structlog.get_logger()

COLUMNS = (
    raw_messages.c.content,
    raw_messages.c.kept_at,
    raw_messages.c.sha256,
    raw_messages.c.size_bytes,
)
"""What `whole` needs of a row."""

_ROUND = "raw_store"
_FRESH = timedelta(hours=1)
"""So long a mail is read, answered and looked at most."""
_LANDED = timedelta(minutes=15)
"""After that no request that writes an object is under way any more."""
_AT_ONCE = 100
_MOST = 2_000
"""In one start of the schedule; the next goes on behind them."""


async def whole(raw_store: RawStore, row: AnyRow) -> bytes | None:
    """The octets of a row with `COLUMNS`; None when they were removed.

    Raises TransientFailure, and PermanentFailure when the storage has lost them.
    """
    if row.content is None and row.kept_at is not None:
        return await raw_store.get(row.kept_at, row.sha256, row.size_bytes)
    content: bytes | None = row.content
    return content


def drop(tx: Transaction, raw_ids: Iterable[str]) -> None:
    """Let go of octets for good, wherever they are, in the transaction of whoever wants that."""
    mine = raw_messages.c.id.in_(list(raw_ids))
    # Locked first: a row that begins to move now would leave an object that nobody knows of.
    rows = tx.rows(
        select(raw_messages.c.kept_at).where(mine).order_by(raw_messages.c.id).with_for_update()
    )
    tx.execute(update(raw_messages).where(mine).values(content=None, kept_at=None))
    for row in rows:
        if row.kept_at is not None:
            _remove(tx, row.kept_at, tx.now + _LANDED)


async def keep_outside(services: Services) -> None:
    """The chore: delete objects that were let go, then move what is old enough."""
    try:
        await _delete_removed(services)
        if services.raw_store.root:
            await _move_all(services)
    except Delivery as error:
        log.warning("raw_store.away", reason=error.reason)


async def _delete_removed(services: Services) -> None:
    while rows := await services.store.read_unscoped(_removed):
        for row in rows:
            await services.raw_store.delete(row.place)
            await services.store.write_unscoped(_deleted, row.place, row.not_before)


async def _move_all(services: Services) -> None:
    store = services.store
    before = store.now() - _FRESH
    after = await store.write_unscoped(_begun)
    for _ in range(_MOST // _AT_ONCE):
        rows = await store.read_unscoped(_movable, after, before)
        for one in rows:
            await _move(services, one.workspace_id, one.id)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1].id


async def _move(services: Services, workspace_id: str, raw_id: str) -> None:
    store, raw_store = services.store, services.raw_store
    place = raw_store.place(f"{workspace_id}/{raw_id}")
    content = await store.write(workspace_id, _moving, raw_id, place)
    if content is not None:
        await raw_store.put(place, content)
        await store.write(workspace_id, _moved, raw_id, place)


# --- rows -------------------------------------------------------------------------------------


def _begun(tx: Transaction) -> str:
    """The id up to which all has moved: the one before the first that has not."""
    tx.insert_new(rounds, {"name": _ROUND, "since": tx.now}, unique=["name"])
    mine, of = rounds.c.name == _ROUND, raw_messages.c
    known: str = tx.value(select(rounds.c.after).where(mine))
    still = select(of.id).where(of.id > known, of.content.is_not(None)).order_by(of.id).limit(1)
    first: str | None = tx.value(still)
    before = select(func.max(of.id)).where(of.id > known, of.id < first) if first else None
    after: str = (tx.value(before) if before is not None else None) or known
    tx.execute(update(rounds).where(mine).values(after=after))
    return after


def _movable(tx: Transaction, after: str, before: datetime) -> Sequence[AnyRow]:
    """What is read, and old enough, in the order of ids."""
    of = raw_messages.c
    unread = select(deliveries.c.id).where(
        deliveries.c.raw_id == of.id, deliveries.c.state == DeliveryState.ACCEPTED
    )
    return tx.rows(
        select(of.id, of.workspace_id)
        .where(of.id > after, of.received_at < before, of.content.is_not(None), ~unread.exists())
        .order_by(of.id)
        .limit(_AT_ONCE)
    )


def _moving(tx: Transaction, raw_id: str, place: str) -> bytes | None:
    """Name the object before it is there; the octets, None when they were removed meanwhile."""
    of = raw_messages.c
    mine = select(of.content, of.kept_at).where(of.id == raw_id).with_for_update()
    row = tx.row(mine)
    if row is None or row.content is None:
        return None
    if row.kept_at not in (None, place):
        _remove(
            tx, row.kept_at, tx.now + _LANDED
        )  # it was to move elsewhere, and may have begun to
    tx.execute(update(raw_messages).where(of.id == raw_id).values(kept_at=place))
    content: bytes = row.content
    return content


def _moved(tx: Transaction, raw_id: str, place: str) -> None:
    of = raw_messages.c
    still = update(raw_messages).where(of.id == raw_id, of.kept_at == place)
    if tx.execute(still.values(content=None)).rowcount == 0:
        # Removed while the object was written, which may have come after its deletion.
        _remove(tx, place, tx.now)


def _remove(tx: Transaction, place: str, at: datetime) -> None:
    row = {"place": place, "not_before": at}
    tx.insert_or_update(removed_objects, row, unique=["place"])


def _removed(tx: Transaction) -> Sequence[AnyRow]:
    of = removed_objects.c
    due = select(of.place, of.not_before).where(of.not_before <= tx.now)
    return tx.rows(due.order_by(of.not_before).limit(_AT_ONCE))


def _deleted(tx: Transaction, place: str, due: datetime) -> None:
    # Not where it was put off since: an object may have come after its deletion.
    of = removed_objects.c
    tx.execute(delete(removed_objects).where(of.place == place, of.not_before == due))
