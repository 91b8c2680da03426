"""How does a mail come here to be read whose octets are not in the database?

What a provider keeps for us, and told us only the place of, is fetched as the first act of reading
it and takes the notification's place in the raw row: from then on it is a mail like any other. What
we have moved to storage of our own is read from there, when a mail is driven again. A place that is
away costs the mail time, no attempt.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import bindparam, select, update

from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.flow import octets
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.inbound import Origin
from mailagent.store.tables import deliveries, raw_messages
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim, Queue, finish, holds

__all__ = ["fetch", "octets_of"]

_LONGEST = timedelta(days=3)
"""Mailgun keeps a stored mail so long; S3 as long as the bucket's owner wishes."""
_SOONEST, _LATEST = timedelta(seconds=5), timedelta(minutes=30)


async def octets_of(services: Services, queue: Queue, claim: Claim, row: AnyRow) -> bytes | None:
    """The octets of a delivery with `octets.COLUMNS`; None when it must wait, or they are lost."""
    store = services.store
    try:
        found = await octets.whole(services.raw_store, row)
    except TransientFailure as error:
        await store.write(claim.workspace_id, _put_off, queue, claim, _LATEST, error.reason)
        return None
    except PermanentFailure as error:
        await store.write(claim.workspace_id, _fail, queue, claim, error.reason)
        return None
    assert found is not None, "what was removed is never driven again"
    return found


async def fetch(
    services: Services, queue: Queue, claim: Claim, row: AnyRow, origin: Origin
) -> tuple[bytes, Origin] | None:
    """The mail and its origin from now on; None when it must wait, or never comes."""
    store, workspace_id = services.store, claim.workspace_id
    try:
        raw = await services.fetch_stored(origin.stored_at)
    except TransientFailure as error:
        await store.write(workspace_id, _wait, queue, claim, row, error.reason)
        return None
    except PermanentFailure as error:
        await store.write(workspace_id, _fail, queue, claim, error.reason)
        return None
    await store.write(workspace_id, _keep, queue, claim, row.raw_id, raw)
    return raw, replace(origin, body_format="raw")


_OF_RAW = select(deliveries.c.id, deliveries.c.origin).where(
    deliveries.c.raw_id == bindparam("raw")
)


def _keep(tx: Transaction, queue: Queue, claim: Claim, raw_id: str, raw: bytes) -> None:
    holds(tx, queue, claim)
    digest = hashlib.sha256(raw).hexdigest()
    tx.execute(
        update(raw_messages)
        .where(raw_messages.c.id == raw_id)
        .values(content=raw, size_bytes=len(raw), sha256=digest)
    )
    for one in tx.rows(_OF_RAW, {"raw": raw_id}):
        tx.execute(
            update(deliveries)
            .where(deliveries.c.id == one.id)
            .values(origin={**one.origin, "body_format": "raw"})
        )
        note(tx, "read", "fetched from where the provider kept it", digest, delivery_id=one.id)


def _wait(tx: Transaction, queue: Queue, claim: Claim, row: AnyRow, reason: str) -> None:
    age = tx.now - row.received_at
    if age > _LONGEST:
        _fail(tx, queue, claim, reason)
        return
    _put_off(tx, queue, claim, min(max(age / 4, _SOONEST), _LATEST), reason)


def _put_off(tx: Transaction, queue: Queue, claim: Claim, by: timedelta, reason: str) -> None:
    finish(tx, queue, claim, attempts=claim.attempts, not_before=tx.now + by)
    note(tx, "read", "waits to be fetched", reason, delivery_id=claim.id)


def _fail(tx: Transaction, queue: Queue, claim: Claim, reason: str) -> None:
    why = f"it could not be fetched from where it is kept: {reason}"
    finish(tx, queue, claim, state=DeliveryState.FAILED, reason=why[:500])
    note(tx, "read", "failed for good", why, delivery_id=claim.id)
