"""How does a domain get other DKIM keys while its mail flows?

Publish the new key beside the one that signs; sign with it as soon as a look has found it in DNS; a
week later, when nobody verifies mail signed by the old one any more, retire that. Where it stands
is in `signing_keys`, and each look takes the next step, so that it may be interrupted anywhere.

Behind CNAMEs we publish it ourselves, at the other of two selectors, and revoke the old one. Where
the owner has the records, both keys get new selectors, whose records the owner publishes whenever
they wish, and the old ones are forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import update

from backend.domains import steps, stored
from backend.domains.desk import Desk
from backend.domains.publishing import expected
from backend.domains.record import TTL
from backend.domains.stored import CHECKS, Domain
from backend.domains.verify import Verdict
from mailagent.authentication import dkim
from mailagent.authentication.dkim_key import KeyPair
from mailagent.errors import Conflict
from mailagent.flow.ledger import note
from mailagent.store import signing_keys
from mailagent.store.signing_keys import PublishedKey, StoredKey
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction

__all__ = ["advance", "cancel", "rotate", "rotating"]

_PROPAGATION = timedelta(seconds=2 * TTL)
"""An answer of just before the change lives for one TTL; a cache before that cache for another."""
_STILL_VERIFIED = timedelta(days=7)
"""Mail may wait in queues for five days (RFC 5321 §4.5.4.1) and be verified after that."""
_LONGEST_WAIT = timedelta(hours=6)
"""Between two looks for a new key that its owner has not published: the cycle's own time."""


async def rotate(desk: Desk, workspace_id: str, reference: str, *, actor: str) -> Domain:
    """Begin to rotate. Raises NotFound; Conflict while a rotation is under way, and for a domain
    whose owner keeps the records and which may not send yet, or not by a key of ours.
    """
    pairs = await asyncio.gather(
        asyncio.to_thread(dkim.new_key, "rsa2048"), asyncio.to_thread(dkim.new_key, "ed25519")
    )
    return await desk.store.write(workspace_id, _begin, desk, reference, *pairs, actor)


def cancel(tx: Transaction, reference: str, *, actor: str) -> Domain:
    """Forget new keys that wait for their owner to publish them. Raises NotFound; Conflict where
    none does.
    """
    domain = stored.find(tx, reference)
    tx.lock(f"dkim {domain.name}")
    keys = signing_keys.published(tx, domain.name)
    waiting = [key for key in keys if key.due_at is not None and _is_next(key, keys)]
    if domain.delegation == "cname" or not waiting:
        raise Conflict(
            f"no new key of {domain.name} waits for its record: what is under way ends by itself"
        )
    for key in waiting:
        signing_keys.remove(tx, domain.name, key.selector)
        note(tx, "domain", f"{domain.name}: the new key at {key.selector} is dropped", actor=actor)
    return stored.find(tx, domain.id)


def _begin(
    tx: Transaction, desk: Desk, reference: str, rsa: KeyPair, ed25519: KeyPair, actor: str
) -> Domain:
    domain = stored.find(tx, reference)
    tx.lock(f"dkim {domain.name}")
    keys = signing_keys.published(tx, domain.name)
    if (under_way := _due(keys)) is not None:
        waits = domain.delegation != "cname" and any(
            key.due_at is not None and _is_next(key, keys) for key in keys
        )
        raise Conflict(
            f"a rotation of {domain.name} is under way: "
            + (
                "publish the records of its new keys, or drop them with cancel (--cancel)"
                if waits
                else f"its next step is at {under_way:%Y-%m-%d %H:%M} UTC"
            )
        )
    if domain.delegation == "cname":
        due_at = tx.now + _PROPAGATION
        idle = next(key for key in keys if key.status != "signing")
        fresh = StoredKey(domain.name, idle.selector, rsa.private_pem, rsa.public_record)
        signing_keys.replace(tx, desk.secrets, fresh, due_at=due_at)
        note(tx, "domain", f"{domain.name}: a new DKIM key at {idle.selector}", actor=actor)
    else:
        due_at = tx.now
        _demand_ours(tx, desk, domain)
        selectors = _free(keys)
        for pair in (rsa, ed25519) if any(key.is_ed25519 for key in keys) else (rsa,):
            fresh = StoredKey(domain.name, next(selectors), pair.private_pem, pair.public_record)
            signing_keys.add(tx, desk.secrets, fresh, status="published", due_at=due_at)
            what = f"{domain.name}: a new DKIM key for {fresh.selector}, to be published"
            note(tx, "domain", what, actor=actor)
    tx.execute(
        update(domains)
        .where(domains.c.id == domain.id, domains.c.not_before > due_at)
        .values(not_before=due_at)
    )
    tx.wake(CHECKS.name)
    return stored.find(tx, domain.id)


def _demand_ours(tx: Transaction, desk: Desk, domain: Domain) -> None:
    """Pass a domain whose owner publishes keys of ours, and has. Raises Conflict."""
    if domain.life.sending_since is None:
        raise Conflict(f"{domain.name} is not verified for sending yet: publish its records first")
    names = {each.name for each in expected(tx, desk.installed(tx), domain).records}
    keys = signing_keys.published(tx, domain.name)
    if not any(f"{key.selector}._domainkey.{domain.name}" in names for key in keys):
        raise Conflict(
            f"no mail of {domain.name} is signed by a key of ours: its providers sign, and change "
            "their keys themselves"
        )


def _free(keys: list[PublishedKey]) -> Iterator[str]:
    """Selectors that no key of the domain has: an old record in DNS must not be taken for a new."""
    tails = [key.selector.removeprefix("mailagent") for key in keys]
    number = max((int(tail) for tail in tails if tail.isdigit()), default=0)
    while True:
        number += 1
        yield f"mailagent{number}"


def rotating(tx: Transaction, domain: Domain) -> frozenset[str]:
    """The names of the records whose key comes or goes: they may be wrong for a while."""
    return frozenset(
        f"{key.selector}._domainkey.{domain.name}"
        for key in signing_keys.published(tx, domain.name)
        if key.due_at is not None and key.status == "published"
    )


def advance(tx: Transaction, domain: Domain, verdict: Verdict) -> datetime | None:
    """Take each step that is due, if DNS shows what it needs; returns when the next one is."""
    for key in signing_keys.published(tx, domain.name):
        # Anew each time: the step before may have changed which key signs.
        keys = signing_keys.published(tx, domain.name)
        if key.due_at is None or key.due_at > tx.now or (old := _current(key, keys)) is None:
            continue
        if _is_next(key, keys):
            _switch(tx, domain, key, old, verdict)
        elif domain.delegation == "cname":
            signing_keys.set_status(tx, domain.name, key.selector, "retired")
            note(tx, "domain", f"{domain.name}: the DKIM key at {key.selector} is revoked")
        else:
            signing_keys.remove(tx, domain.name, key.selector)
            what = f"{domain.name}: the DKIM key at {key.selector} is gone"
            note(tx, "domain", what, "its record may be removed from DNS")
    return _due(signing_keys.published(tx, domain.name))


def _switch(
    tx: Transaction, domain: Domain, key: PublishedKey, old: PublishedKey, verdict: Verdict
) -> None:
    name = f"{key.selector}._domainkey.{domain.name}"
    right = any(each.record.name == name and each.standing == "verified"
                for each in verdict.records)  # fmt: skip
    if not right:
        # Its owner may take days: the longer it has been, the rarer the looks.
        wait = min(max(_PROPAGATION, (tx.now - key.created_at) / 4), _LONGEST_WAIT)
        again = tx.now + (wait if domain.delegation != "cname" else _PROPAGATION)
        signing_keys.set_status(tx, domain.name, key.selector, "published", due_at=again)
        if domain.delegation == "cname":
            note(tx, "domain", f"{domain.name}: its new DKIM key is not seen in DNS yet")
        return
    retires = tx.now + _STILL_VERIFIED
    signing_keys.set_status(tx, domain.name, key.selector, old.status)
    signing_keys.set_status(tx, domain.name, old.selector, "published", due_at=retires)
    if domain.delegation == "cname":
        steps.plan_again(tx, domain)
    note(tx, "domain", f"{domain.name}: {key.selector} signs, {old.selector} does no more")


def _current(key: PublishedKey, keys: list[PublishedKey]) -> PublishedKey | None:
    """The key of the same kind that signs; an Ed25519 one does beside the RSA one."""
    if key.is_ed25519:
        return next((one for one in keys if one.is_ed25519 and one.due_at is None), None)
    return next((one for one in keys if one.status == "signing"), None)


def _is_next(key: PublishedKey, keys: list[PublishedKey]) -> bool:
    """Whether it is to sign, and has not signed yet."""
    current = _current(key, keys)
    return current is not None and current.created_at < key.created_at


def _due(keys: list[PublishedKey]) -> datetime | None:
    return min((key.due_at for key in keys if key.due_at is not None), default=None)
