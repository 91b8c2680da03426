"""How does a mail come here that a provider keeps for us, and told us only the place of?

It is fetched as the first act of reading it and takes the notification's place in the raw row, so
that from then on it is a mail like any other. A place that is away costs the mail time, no attempt.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import bindparam, select, update

from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.inbound import Origin
from mailagent.store.tables import deliveries, raw_messages
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim, Queue, finish, holds

__all__ = ["fetch"]

_LONGEST = timedelta(days=3)
"""Mailgun keeps a stored mail so long; S3 as long as the bucket's owner wishes."""
_SOONEST, _LATEST = timedelta(seconds=5), timedelta(minutes=30)


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
    again = tx.now + min(max(age / 4, _SOONEST), _LATEST)
    finish(tx, queue, claim, attempts=claim.attempts, not_before=again)
    note(tx, "read", "waits to be fetched", reason, delivery_id=claim.id)


def _fail(tx: Transaction, queue: Queue, claim: Claim, reason: str) -> None:
    why = f"it could not be fetched from where the provider kept it: {reason}"
    finish(tx, queue, claim, state=DeliveryState.FAILED, reason=why[:500])
    note(tx, "read", "failed for good", why, delivery_id=claim.id)
