"""What may be changed of a domain that is there: its mode, its choices, a pause, another's word?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from sqlalchemy import update

from backend.domains import carriers, checking, life, steps, stored
from backend.domains.adding import checked_until_verified, checked_while_pending
from backend.domains.carriers import identity_to_json
from backend.domains.desk import Desk
from backend.domains.records import Mode
from backend.domains.stored import CHECKS, Domain, life_columns
from mailagent.errors import Conflict, Malformed
from mailagent.flow.directory import changed
from mailagent.flow.ledger import note
from mailagent.identity import Identity
from mailagent.providers import identifier
from mailagent.store.tables import domain_identities, domains
from mailagent.store.transaction import Transaction

__all__ = ["Resubmitted", "change", "pause", "resubmit"]

_MODES: tuple[str, ...] = get_args(Mode)
_USUAL = (
    "it mostly takes 1 to 12 hours, at most 72; a change of DNS takes up to 48 hours to be seen"
)


@dataclass(frozen=True, slots=True)
class Resubmitted:
    """What asking a provider to look again has come to."""

    domain: Domain
    asked: tuple[str, ...]
    """Accounts that look again."""
    warnings: tuple[str, ...]


def change(
    tx: Transaction, desk: Desk, reference: str, changes: Mapping[str, Any], *, actor: str
) -> Domain:
    """Change `mode`, `while_pending` or `until_verified`. Raises NotFound, Malformed, Conflict.

    A mode with a side more sets the domain back to pending: what works goes on, and the new side
    waits for its records.
    """
    domain = _standing(tx, reference)
    for name in changes:
        if name not in ("mode", "while_pending", "until_verified"):
            raise Malformed(name[:80], "cannot be changed: mode, while_pending or until_verified")
    choices = domain.choices
    if "while_pending" in changes:
        choices = replace(
            choices, while_pending=checked_while_pending(str(changes["while_pending"]))
        )
    if "until_verified" in changes:
        choices = replace(
            choices, until_verified=checked_until_verified(str(changes["until_verified"]))
        )
    mode = str(changes.get("mode", domain.mode))
    if mode not in _MODES:
        raise Malformed("mode", f"must be one of {', '.join(_MODES)}")
    if mode != domain.mode:
        domain = _change_mode(tx, desk, domain, mode)
        if not choices.receive_by and mode != "send_only":
            _, receive_by = carriers.chosen(desk.installed(tx), mode, choices.carried_by, None)
            choices = replace(choices, receive_by=receive_by)
        elif mode == "send_only":
            choices = replace(choices, receive_by="")
    tx.execute(update(domains).where(domains.c.id == domain.id).values(settings=choices.stored()))
    domain = stored.find(tx, domain.id)
    if "mode" in changes:
        steps.plan(tx, desk.installed(tx), domain)
        steps.plan_leaving(tx, domain)
    said = ", ".join(f"{name} {value}" for name, value in changes.items())
    note(tx, "domain", f"{domain.name} changed: {said}", actor=actor)
    return domain


def _change_mode(tx: Transaction, desk: Desk, domain: Domain, mode: str) -> Domain:
    now = domain.life
    lost_receiving, lost_sending = mode == "send_only", mode == "receive_only"
    next_ = replace(
        life.asked_again(now, tx.now),
        state="pending",
        pending_since=tx.now,
        failures=0,
        told_slow=False,
        receiving_since=None if lost_receiving else now.receiving_since,
        sending_since=None if lost_sending else now.sending_since,
        sending="pending" if lost_sending else now.sending,
    )
    tx.execute(
        update(domains)
        .where(domains.c.id == domain.id)
        .values(**life_columns(next_), mode=mode, not_before=tx.now)
    )
    tx.wake(CHECKS.name)
    changed(tx)
    return stored.find(tx, domain.id)


def pause(tx: Transaction, reference: str, *, actor: str) -> Domain:
    """Take a domain out of the schedule; its mail waits until somebody has it checked again.

    Raises NotFound; Conflict while it is removed.
    """
    domain = _standing(tx, reference)
    tx.execute(
        update(domains)
        .where(domains.c.id == domain.id)
        .values(**life_columns(life.paused(domain.life)))
    )
    note(tx, "domain", f"{domain.name} paused", actor=actor)
    return stored.find(tx, domain.id)


async def resubmit(desk: Desk, workspace_id: str, reference: str, *, actor: str) -> Resubmitted:
    """Have providers that gave up look again, after a look of our own.

    Raises NotFound; Conflict when none has given up, or when one said just now that it is at it.
    """
    domain = await checking.look_now(desk, workspace_id, reference)
    installed = await desk.store.read_unscoped(desk.installed)
    rows = await desk.store.read(workspace_id, stored.identities, domain)
    failed = [
        account
        for row in rows
        if row.side == "sending"
        and row.answer is not None
        and row.answer["sending"] == "failed"
        and (account := installed.account(row.account)) is not None
    ]
    if not failed:
        raise Conflict(
            f"no provider has given up on {domain.name}: there is nothing to resubmit, and "
            f"mailagent domain check {domain.name} may be repeated as you wish"
        )
    verdict = domain.verdict or {}
    wrong = [
        each["message"]
        for each in verdict.get("records", ())
        if each["status"] in ("missing", "mismatch", "duplicate") and each["message"]
    ]
    warnings = [f"still wrong, so it may fail again: {message}" for message in wrong]
    warnings.append(_USUAL)
    told = await asyncio.gather(*(_resubmitted(one, domain.name) for one in failed))
    asked = tuple(one.name for one in failed)
    await desk.store.write(workspace_id, _keep, domain, dict(zip(asked, told, strict=True)), actor)
    return Resubmitted(
        await desk.store.read(workspace_id, stored.find, domain.id), asked, tuple(warnings)
    )


async def _resubmitted(account: Any, domain: str) -> Identity:
    opened = identifier(account)
    assert opened is not None, "only accounts that verify domains have said anything"
    async with opened as identities:
        return await identities.resubmit(domain)


def _keep(tx: Transaction, domain: Domain, told: Mapping[str, Identity], actor: str) -> None:
    for account, identity in told.items():
        tx.execute(
            update(domain_identities)
            .where(
                domain_identities.c.domain_id == domain.id,
                domain_identities.c.account == account,
                domain_identities.c.side == "sending",
            )
            .values(answer=identity_to_json(identity), answered_at=tx.now)
        )
        note(tx, "domain", f"{domain.name} resubmitted at {account}", actor=actor)


def _standing(tx: Transaction, reference: str) -> Domain:
    domain = stored.find(tx, reference)
    if domain.removing_at is not None:
        raise Conflict(f"{domain.name} is being removed")
    return domain
