"""How is a domain looked at, and what is written of it?

Read what is expected, ask the providers, the zone's own servers and a resolver in as many rounds as
the verdict needs, then write verdict, state, history and news in one transaction. A look by the
clock is a claimed row of `domains` (`CHECKS`); one that somebody asks for needs no claim, because
everything is decided anew inside the writing transaction: two looks at once are two looks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import delete, select, update

from backend.domains import claims, rotation, stored
from backend.domains.carriers import (
    Installed,
    identifies,
    identities_now,
    identity_to_json,
    sender_first,
    titles,
)
from backend.domains.desk import Desk
from backend.domains.judging import (
    TAKEN,
    held_after,
    key_of,
    ownership_lost,
    seen,
    verdict_to_json,
)
from backend.domains.life import After, asked_again, live
from backend.domains.patience import Patience
from backend.domains.publishing import expected
from backend.domains.stored import CHECKS, Domain, life_columns
from backend.domains.telling import tell
from backend.domains.verify import Verdict
from backend.outbound import warm_ups
from mailagent.errors import Conflict, LostClaim
from mailagent.flow import sender_domains
from mailagent.flow import warm_ups as counting
from mailagent.flow.directory import changed
from mailagent.flow.ledger import note
from mailagent.identity import Identity
from mailagent.store import provider_accounts
from mailagent.store.tables import domain_checks, domain_identities, domain_steps, domains
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, finish, holds

__all__ = ["Look", "ask", "check", "give_up", "look", "look_now", "looked"]

_KEPT_CHECKS = 100
_LOOK_TAKES = timedelta(minutes=2)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, before anything is written."""

    mode: str
    """The domain's mode when it was looked at: the verdict knows no other sides."""
    verdict: Verdict
    identities: dict[str, Identity]
    """Fresh words of the accounts by name; one that did not answer has `unknown`."""
    lost: tuple[str, ...]
    """Accounts that do not know the domain any more."""
    zone: str
    """The zone cut; empty when it could not be told."""
    name_servers: tuple[str, ...]


async def check(desk: Desk, claim: Claim) -> None:
    """A look by the clock at the domain of one claimed row."""
    domain = await desk.store.read(claim.workspace_id, stored.find, claim.id)
    found = await look(desk, domain)
    await desk.store.write_unscoped(_record, desk, domain.workspace_id, domain.id, found, claim)


async def look_now(desk: Desk, workspace_id: str, reference: str) -> Domain:
    """Look because somebody asks: what had failed or was paused is in the schedule again.

    Raises NotFound; Conflict while the domain is removed.
    """
    domain = await desk.store.write(workspace_id, ask, reference)
    return await looked(desk, workspace_id, domain.id)


async def looked(desk: Desk, workspace_id: str, domain_id: str) -> Domain:
    """Look at a domain of which that was asked before (`ask`). Raises NotFound."""
    domain = await desk.store.read(workspace_id, stored.find, domain_id)
    found = await look(desk, domain)
    return await desk.store.write_unscoped(_record, desk, workspace_id, domain.id, found, None)


def ask(tx: Transaction, reference: str) -> Domain:
    """Say that somebody looks now. Raises NotFound; Conflict while the domain is removed."""
    domain = stored.find(tx, reference)
    if domain.removing_at is not None:
        raise Conflict(f"{domain.name} is being removed: add it again when it is gone")
    life = asked_again(domain.life, tx.now)
    tx.execute(
        update(domains)
        .where(domains.c.id == domain.id)
        # Not at once: only if who looks dies meanwhile is it a worker's to look.
        .values(**life_columns(life), not_before=tx.now + _LOOK_TAKES)
    )
    tx.wake(CHECKS.name)
    return replace(domain, life=life)


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """Not reached: a look that fails is tried again, ever more slowly, and has no last time."""
    raise LostClaim(f"domain {claim.id}: {reason}")


async def look(desk: Desk, domain: Domain) -> Look:
    """Ask everybody about a domain; writes nothing, raises nothing that DNS or providers cause.

    It ends in time (`Desk.longest_look`): what was not answered by then is unknown.
    """
    installed = await desk.store.read_unscoped(desk.installed)
    patience = Patience.of(desk.longest_look)
    zone, (identities, lost) = await asyncio.gather(
        patience.within(partial(desk.zone_servers.zone_of, domain.name), None),
        _words(desk, installed, domain),
    )
    name = "" if zone is None else zone.name
    wanted = await desk.store.read(domain.workspace_id, expected, installed, domain, zone=name)
    words = titles(installed, identities)
    told = {words.get(account, account): one for account, one in identities.items()}
    was_verified = domain.life.state == "verified" or domain.life.failures > 0
    verdict = await desk.judged(
        wanted.records, zone, told, was_verified=was_verified, patience=patience
    )
    return Look(domain.mode, verdict, identities, lost, name, zone.hosts if zone else ())


async def _words(
    desk: Desk, installed: Installed, domain: Domain
) -> tuple[dict[str, Identity], tuple[str, ...]]:
    """Each account's word of now, asked and never resubmitted."""
    rows = await desk.store.read(domain.workspace_id, stored.identities, domain)
    known = [row.account for row in rows if row.side == "sending"]
    return await identities_now(installed, domain.name, known)


# --- what is written --------------------------------------------------------------------------


def _record(
    tx: Transaction,
    desk: Desk,
    workspace_id: str,
    domain_id: str,
    found: Look,
    claim: Claim | None,
) -> Domain:
    inside = tx.of(workspace_id)
    if claim is not None:
        holds(inside, CHECKS, claim)
    else:
        # The same order as a claim's: whoever looks at the same time waits here.
        inside.execute(update(domains).where(domains.c.id == domain_id).values(checked_at=tx.now))
    domain = stored.find(inside, domain_id)
    if domain.removing_at is not None or not domain.life.scheduled:
        if claim is not None:
            raise LostClaim(f"{domain.name} has left the schedule")
        return domain
    if domain.mode != found.mode:
        # It was looked at for another mode: the next look, which is due, knows.
        if claim is not None:
            finish(inside, CHECKS, claim)
        return domain
    after, verdict = _judged(tx, desk, domain, found)
    rotates_at = rotation.advance(inside, domain, found.verdict)
    next_look = after.next_look or after.life.next_cycle
    inside.execute(
        update(domains)
        .where(domains.c.id == domain.id)
        .values(
            **life_columns(after.life),
            verdict=verdict,
            checked_at=tx.now,
            not_before=min(next_look, rotates_at) if rotates_at else next_look,
            held_records=sorted(
                held_after(found.verdict, domain.held)
                if after.life.state == "verified"
                else domain.held
            ),
        )
    )
    if claim is not None:
        finish(inside, CHECKS, claim)
    stored.choose(inside, domain, zone=found.zone or domain.choices.zone)
    _keep_words(inside, domain, found)
    _history(inside, domain, after, verdict)
    _consequences(tx, inside, desk, domain, after, found)
    made = stored.find(inside, domain.id)
    tell(inside, desk.flow, made, after.news, verdict)
    return made


def _judged(
    tx: Transaction, desk: Desk, domain: Domain, found: Look
) -> tuple[After, dict[str, Any]]:
    """What becomes of the domain: `life`, unless another workspace has the name."""
    installed = desk.installed(tx)
    moving = rotation.rotating(tx, domain)
    keys = {key_of(each.record) for each in found.verdict.records if each.record.name in moving}
    sides = seen(found.verdict, domain.life, domain.held - keys, found.identities.values())
    after = live(domain.life, sides, tx.now, sender_first=sender_first(installed, domain))
    verdict = verdict_to_json(found.verdict, sides)
    verdict["name_servers"] = list(found.name_servers)
    won = {"receiving", "sending"} & set(after.news)
    if domain.verified_at is None and won:
        reason = claims.take(tx, domain)
        if reason:
            life = replace(domain.life, state="failed", receiving_since=None, sending_since=None)
            verdict["failure"] = {"code": TAKEN, "message": reason}
            return After(life, None, ("taken",)), verdict
    return after, verdict


def _keep_words(tx: Transaction, domain: Domain, found: Look) -> None:
    for account, identity in found.identities.items():
        if identity.sending == "unknown":
            continue  # nothing was said: what it said before stays
        tx.execute(
            update(domain_identities)
            .where(
                domain_identities.c.domain_id == domain.id,
                domain_identities.c.account == account,
                domain_identities.c.side == "sending",
            )
            .values(answer=identity_to_json(identity), answered_at=tx.now)
        )
    for account in found.lost:
        # Somebody took it away at the provider: it is made again, as any step.
        tx.execute(
            update(domain_steps)
            .where(
                domain_steps.c.domain_id == domain.id,
                domain_steps.c.account == account,
                domain_steps.c.kind == "identify",
                domain_steps.c.state == "done",
            )
            .values(state="due", not_before=tx.now, reason="the provider did not know the domain")
        )
        tx.wake("domain_steps")


def _history(tx: Transaction, domain: Domain, after: After, verdict: dict[str, Any]) -> None:
    tx.insert(
        domain_checks,
        {
            "id": new_id("chk"),
            "domain_id": domain.id,
            "at": tx.now,
            "regular": domain.life.is_regular(tx.now),
            "before": domain.life.state,
            "after": after.life.state,
            "verdict": verdict,
        },
    )
    kept = (
        select(domain_checks.c.id)
        .where(
            domain_checks.c.workspace_id == tx.workspace_id,
            domain_checks.c.domain_id == domain.id,
        )
        .order_by(domain_checks.c.at.desc(), domain_checks.c.id.desc())
        .limit(_KEPT_CHECKS)
    )
    tx.execute(
        delete(domain_checks).where(
            domain_checks.c.domain_id == domain.id, domain_checks.c.id.not_in(kept)
        )
    )


def _consequences(
    tx: Transaction,
    inside: Transaction,
    desk: Desk,
    domain: Domain,
    after: After,
    found: Look,
) -> None:
    before, life = domain.life, after.life
    if after.life.state == "failed" and domain.verified_at and ownership_lost(found.verdict):
        claims.release(inside, domain)
    if (before.receiving_since is None) != (life.receiving_since is None):
        changed(inside)  # the doors
    if (before.sending_since is None) != (life.sending_since is None):
        provider_accounts.changed(tx)  # an account may send for it, or may no more
    may = life.sending in ("active", "warming")
    if may and before.sending_since is None:
        _warm_up(tx, inside, desk, domain)
    if may:
        counting.mark(tx, domain.name)
    if may and (before.sending_since is None or before.sending == "waiting"):
        sender_domains.release(inside, domain.name)


def _warm_up(tx: Transaction, inside: Transaction, desk: Desk, domain: Domain) -> None:
    """Begin to warm the domain up by every account that is to send for it, if that is wished."""
    if not (days := desk.settings.warm_up_days):
        return
    installed = desk.installed(tx)
    # Of a domain on our own server those send that ask nobody for whom.
    own = (one.name for one in installed.accounts if not identifies(one))
    begun = warm_ups.start_where_new(
        tx,
        [name for name in domain.choices.carried_by if installed.account(name)] or own,
        domain.name,
        days,
        default_domain=desk.flow.default_domain,
    )
    for name in begun:
        note(inside, "domain", f"{domain.name} warms up at {name}", f"for {days} days")
