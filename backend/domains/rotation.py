"""How does a managed domain get another DKIM key while its mail flows?

Publish the new key at the selector that does not sign; wait out the TTL; sign with it as soon as a
look has found it in DNS; a week later, when nobody verifies mail signed by the old one any more,
revoke that. Where it stands is in `signing_keys`, and each look takes the next step, so that a
rotation may be interrupted anywhere.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import update

from backend.domains import steps, stored
from backend.domains.desk import Desk
from backend.domains.record import TTL
from backend.domains.stored import CHECKS, Domain
from backend.domains.verify import Verdict
from mailagent.authentication import dkim
from mailagent.errors import Conflict
from mailagent.flow.ledger import note
from mailagent.store import signing_keys
from mailagent.store.signing_keys import PublishedKey, StoredKey
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction

__all__ = ["advance", "rotate", "rotating"]

_PROPAGATION = timedelta(seconds=2 * TTL)
"""An answer of just before the change lives for one TTL; a cache before that cache for another."""
_STILL_VERIFIED = timedelta(days=7)
"""Mail may wait in queues for five days (RFC 5321 §4.5.4.1) and be verified after that."""


async def rotate(desk: Desk, workspace_id: str, reference: str, *, actor: str) -> Domain:
    """Begin to rotate. Raises NotFound; Conflict for a domain whose records its owner keeps, and
    while a rotation is under way.
    """
    pair = await asyncio.to_thread(dkim.new_key, "rsa2048")
    return await desk.store.write(
        workspace_id, _begin, desk, reference, pair.private_pem, pair.public_record, actor
    )


def _begin(
    tx: Transaction, desk: Desk, reference: str, private_pem: bytes, public: str, actor: str
) -> Domain:
    domain = stored.find(tx, reference)
    if domain.delegation != "cname":
        raise Conflict(
            f"the records of {domain.name} are in its owner's own DNS: a new key needs a new TXT "
            "record there; only a CNAME-managed domain is rotated by us"
        )
    tx.lock(f"dkim {domain.name}")
    keys = signing_keys.published(tx, domain.name)
    if (under_way := _due(keys)) is not None:
        raise Conflict(
            f"a rotation of {domain.name} is under way: its next step is at "
            f"{under_way:%Y-%m-%d %H:%M} UTC"
        )
    idle = next(key for key in keys if key.status != "signing")
    due_at = tx.now + _PROPAGATION
    signing_keys.replace(
        tx,
        desk.secrets,
        StoredKey(domain.name, idle.selector, private_pem, public),
        due_at=due_at,
    )
    tx.execute(
        update(domains)
        .where(domains.c.id == domain.id, domains.c.not_before > due_at)
        .values(not_before=due_at)
    )
    tx.wake(CHECKS.name)
    note(tx, "domain", f"{domain.name}: a new DKIM key at {idle.selector}", actor=actor)
    return stored.find(tx, domain.id)


def rotating(tx: Transaction, domain: Domain) -> frozenset[str]:
    """The names of the records whose key is on its way: they may be wrong for a while."""
    return frozenset(
        f"{key.selector}._domainkey.{domain.name}"
        for key in signing_keys.published(tx, domain.name)
        if key.due_at is not None and key.status == "published"
    )


def advance(tx: Transaction, domain: Domain, verdict: Verdict) -> datetime | None:
    """Take the step that is due, if DNS shows what it needs; returns when the next one is."""
    if domain.delegation != "cname":
        return None
    keys = signing_keys.published(tx, domain.name)
    signing = next((key for key in keys if key.status == "signing"), None)
    for key in keys:
        if key.due_at is None or key.due_at > tx.now or signing is None:
            continue
        if _is_newer(key, signing):
            _switch(tx, domain, key, signing, verdict)
        else:
            signing_keys.set_status(tx, domain.name, key.selector, "retired")
            note(tx, "domain", f"{domain.name}: the DKIM key at {key.selector} is revoked")
    return _due(signing_keys.published(tx, domain.name))


def _switch(
    tx: Transaction, domain: Domain, key: PublishedKey, signing: PublishedKey, verdict: Verdict
) -> None:
    name = f"{key.selector}._domainkey.{domain.name}"
    right = any(each.record.name == name and each.standing == "verified"
                for each in verdict.records)  # fmt: skip
    if not right:
        signing_keys.set_status(
            tx, domain.name, key.selector, "published", due_at=tx.now + _PROPAGATION
        )
        note(tx, "domain", f"{domain.name}: its new DKIM key is not seen in DNS yet")
        return
    retires = tx.now + _STILL_VERIFIED
    signing_keys.set_status(tx, domain.name, key.selector, "signing")
    signing_keys.set_status(tx, domain.name, signing.selector, "published", due_at=retires)
    steps.plan_again(tx, domain)
    note(tx, "domain", f"{domain.name}: {key.selector} signs, {signing.selector} does no more")


def _is_newer(key: PublishedKey, signing: PublishedKey) -> bool:
    return key.created_at > signing.created_at


def _due(keys: list[PublishedKey]) -> datetime | None:
    return min((key.due_at for key in keys if key.due_at is not None), default=None)
