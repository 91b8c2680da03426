"""What is to be made or undone at providers for a domain, and how does it survive a kill?

A step is a row (`STEPS`) that says account and deed. `begun_at` is committed just before the call,
and while it stands no other step of the same account and name begins: a deed of one workspace never
meets one of another half done. Every deed may be repeated, so a step whose worker died is simply
done again. An identity is taken away only when nobody wants it: its rows are its count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import structlog
from sqlalchemy import delete, func, select, update

from backend.domains import carriers, regions, stored
from backend.domains.carriers import Installed, identity_to_json, records_to_json
from backend.domains.desk import Desk
from backend.domains.stored import CHECKS, STEPS, Domain
from mailagent.errors import (
    Delivery,
    LostClaim,
    Misconfigured,
    PermanentFailure,
    UncertainDelivery,
)
from mailagent.flow.ledger import note
from mailagent.identity import OwnKey, Wish
from mailagent.providers import Account, collector, identifier
from mailagent.store import signing_keys
from mailagent.store.tables import domain_identities, domain_steps, domains
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, backoff, finish, holds

__all__ = ["Deed", "do", "give_up", "plan", "plan_removal", "try_again"]

Deed = Literal["identify", "collect", "forget", "stop_collecting"]

_SIDES: dict[str, str] = {
    "identify": "sending",
    "forget": "sending",
    "collect": "receiving",
    "stop_collecting": "receiving",
}
_UNDOES = {"sending": "forget", "receiving": "stop_collecting"}
_NEIGHBOUR_WAIT = timedelta(seconds=2)
_AFTER_REFUSAL = timedelta(hours=6)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Begun:
    """A step that is to be called for."""

    row: AnyRow
    account: Account
    wish: Wish


def plan(tx: Transaction, installed: Installed, domain: Domain) -> None:
    """Write what is to be made at providers for a domain, and who wants it."""
    wanted: list[tuple[str, Deed]] = []
    if domain.mode != "receive_only":
        wanted += [(name, "identify") for name in domain.choices.carried_by]
    if domain.choices.receive_by and domain.mode != "send_only":
        wanted.append((domain.choices.receive_by, "collect"))
    for name, deed in wanted:
        account = installed.account(name)
        able = carriers.identifies if deed == "identify" else carriers.collects
        if account is None or not able(account):
            continue
        row = {
            "domain_id": domain.id,
            "account": name,
            "side": _SIDES[deed],
            "name": domain.name,
        }
        tx.insert_new(domain_identities, row, unique=["domain_id", "account", "side"])
        _make_due(tx, domain, name, deed)


def plan_removal(tx: Transaction, domain: Domain) -> None:
    """Write what is to be undone, for everything that was, or may have been, made."""
    for row in stored.identities(tx, domain):
        _make_due(tx, domain, row.account, _UNDOES[row.side])  # type: ignore[arg-type]


def plan_again(tx: Transaction, domain: Domain) -> None:
    """Tell every account that verifies the domain of it anew: another key signs."""
    for row in stored.identities(tx, domain):
        if row.side == "sending":
            _make_due(tx, domain, row.account, "identify")


def plan_leaving(tx: Transaction, domain: Domain) -> None:
    """Write what is to be undone because the mode has a side less."""
    for row in stored.identities(tx, domain):
        unwanted = {"receiving": "send_only", "sending": "receive_only"}[row.side]
        if domain.mode == unwanted:
            _make_due(tx, domain, row.account, _UNDOES[row.side])  # type: ignore[arg-type]


def try_again(tx: Transaction, domain: Domain) -> None:
    """Make steps due now that a provider has refused."""
    tx.execute(
        update(domain_steps)
        .where(domain_steps.c.domain_id == domain.id, domain_steps.c.state == "due")
        .values(not_before=tx.now)
    )
    tx.wake(STEPS.name)


def _make_due(tx: Transaction, domain: Domain, account: str, deed: Deed) -> None:
    counter = [one for one, side in _SIDES.items() if side == _SIDES[deed] and one != deed]
    tx.execute(
        delete(domain_steps).where(
            domain_steps.c.domain_id == domain.id,
            domain_steps.c.account == account,
            domain_steps.c.kind.in_(counter),
            domain_steps.c.state == "due",
            domain_steps.c.begun_at.is_(None),
            domain_steps.c.claimed_by.is_(None),
        )
    )
    row = {
        "id": new_id("stp"),
        "domain_id": domain.id,
        "name": domain.name,
        "account": account,
        "kind": deed,
        "state": "due",
        "created_at": tx.now,
        "not_before": tx.now,
    }
    if not tx.insert_new(domain_steps, row, unique=["domain_id", "account", "kind"]):
        tx.execute(
            update(domain_steps)
            .where(
                domain_steps.c.domain_id == domain.id,
                domain_steps.c.account == account,
                domain_steps.c.kind == deed,
            )
            .values(state="due", not_before=tx.now)
        )
    tx.wake(STEPS.name)


# --- the worker -------------------------------------------------------------------------------


async def do(desk: Desk, claim: Claim) -> None:
    """Do one claimed step: begin and commit, call, record and commit."""
    begun = await desk.store.write_unscoped(_begin, desk, claim)
    if begun is None:
        return
    try:
        answer = await _call(desk, begun)
    except UncertainDelivery as error:
        # It may still arrive: until it was done for certain, nobody else begins there.
        await desk.store.write_unscoped(_again, claim, error.reason, uncertain=True)
    except (Delivery, Misconfigured) as error:
        refused = isinstance(error, PermanentFailure | Misconfigured)
        await desk.store.write_unscoped(_again, claim, str(error), refused=refused)
    else:
        await desk.store.write_unscoped(_end, claim, answer)


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """Never: what is to be undone at a provider must not be forgotten. It is tried more slowly."""
    raise LostClaim(f"domain step {claim.id}: {reason}")


def _begin(tx: Transaction, desk: Desk, claim: Claim) -> _Begun | None:
    inside = tx.of(claim.workspace_id)
    holds(inside, STEPS, claim)
    row = inside.row(select(domain_steps).where(domain_steps.c.id == claim.id))
    assert row is not None
    # Whoever wants the same name at the same account comes one after the other.
    tx.lock(f"identity {row.account} {row.name}")
    domain = stored.find(inside, row.domain_id)
    if row.kind in ("identify", "collect") and domain.removing_at is not None:
        finish(inside, STEPS, claim, state="done", begun_at=None, reason="the domain is removed")
        _ended(tx, inside, domain)
        return None
    if _neighbour_is_busy(tx, row):
        finish(inside, STEPS, claim, not_before=tx.now + _NEIGHBOUR_WAIT)
        return None
    account = desk.installed(tx).account(row.account)
    undoing = row.kind in ("forget", "stop_collecting")
    if undoing:
        inside.execute(
            delete(domain_identities).where(
                domain_identities.c.domain_id == domain.id,
                domain_identities.c.account == row.account,
                domain_identities.c.side == _SIDES[row.kind],
            )
        )
        others = _others(tx, row)
        if others or account is None:
            reason = (
                f"{others} other workspace{'s want' if others > 1 else ' wants'} it there"
                if others
                else f"the account {row.account} is not set up any more: what it knows stays"
            )
            finish(inside, STEPS, claim, state="done", begun_at=None, reason=reason)
            note(inside, "domain", f"{row.name} left at {row.account}", reason)
            _ended(tx, inside, domain)
            return None
    if account is None:
        reason = f"the account {row.account} is not set up any more"
        finish(inside, STEPS, claim, not_before=tx.now + _AFTER_REFUSAL, reason=reason)
        return None
    if not undoing and (where := regions.elsewhere(account, domain.region)):
        # Its settings have changed since the domain was added.
        reason = f"{row.account} works in {where}, and {domain.name} is kept to {domain.region}"
        finish(inside, STEPS, claim, not_before=tx.now + _AFTER_REFUSAL, reason=reason)
        return None
    inside.execute(update(domain_steps).where(domain_steps.c.id == row.id).values(begun_at=tx.now))
    return _Begun(row, account, _wish(tx, desk, domain, account))


def _neighbour_is_busy(tx: Transaction, row: AnyRow) -> bool:
    """Whether another step may be at the provider now; one whose worker died runs again first."""
    busy = select(domain_steps.c.id).where(
        domain_steps.c.account == row.account,
        domain_steps.c.name == row.name,
        domain_steps.c.id != row.id,
        domain_steps.c.state == "due",
        domain_steps.c.begun_at.is_not(None),
    )
    return tx.value(busy) is not None


def _let_neighbours_begin(tx: Transaction, row: AnyRow) -> None:
    tx.execute(
        update(domain_steps)
        .where(
            domain_steps.c.account == row.account,
            domain_steps.c.name == row.name,
            domain_steps.c.state == "due",
            domain_steps.c.reason == "",
        )
        .values(not_before=tx.now)
    )
    tx.wake(STEPS.name)


def _others(tx: Transaction, row: AnyRow) -> int:
    """How many want the same at the account, this domain's own row apart."""
    count = select(func.count()).where(
        domain_identities.c.account == row.account,
        domain_identities.c.name == row.name,
        domain_identities.c.side == _SIDES[row.kind],
        domain_identities.c.domain_id != row.domain_id,
    )
    return int(tx.value(count))


def _wish(tx: Transaction, desk: Desk, domain: Domain, account: Account) -> Wish:
    managed = domain.delegation == "cname"
    # The owner of a managed domain publishes CNAMEs alone: no MX of a return path of SES's.
    mail_from = f"bounce.{domain.name}" if account.kind == "ses" and not managed else None
    own: OwnKey | None = None
    if managed and account.kind in carriers.TAKES_OUR_KEY:
        key = signing_keys.newest(tx, desk.secrets, domain.name)
        own = None if key is None else OwnKey(key.selector, key.private_pem)
    # Set in the Mailgun way of working alone; a key of a provider's own has 2048 bits elsewhere.
    bits = tx.value(select(domains.c.dkim_bits).where(domains.c.id == domain.id))
    return Wish(mail_from=mail_from, own_key=own, dkim_bits=1024 if bits == 1024 else 2048)


async def _call(desk: Desk, begun: _Begun) -> dict[str, Any] | None:
    row = begun.row
    if _SIDES[row.kind] == "sending":
        at_provider = identifier(begun.account)
        if at_provider is None:
            raise Misconfigured(row.account, "verifies no domains any more")
        async with at_provider as identities:
            if row.kind == "forget":
                await identities.forget(row.name)
                return None
            return identity_to_json(await identities.identify(row.name, begun.wish))
    entries_of = collector(begun.account, desk.house)
    if entries_of is None:
        raise Misconfigured(row.account, "needs not be told of domains any more")
    async with entries_of as entries:
        if row.kind == "stop_collecting":
            await entries.stop_collecting(row.name)
            return None
        return {"records": records_to_json(await entries.collect(row.name))}


def _end(tx: Transaction, claim: Claim, answer: dict[str, Any] | None) -> None:
    inside = tx.of(claim.workspace_id)
    finish(inside, STEPS, claim, state="done", begun_at=None, reason="")
    row = inside.row(select(domain_steps).where(domain_steps.c.id == claim.id))
    assert row is not None
    domain = stored.find(inside, row.domain_id)
    note(inside, "domain", f"{row.name}: {row.kind} at {row.account}", "done")
    _let_neighbours_begin(tx, row)
    if answer is not None:
        inside.execute(
            update(domain_identities)
            .where(
                domain_identities.c.domain_id == row.domain_id,
                domain_identities.c.account == row.account,
                domain_identities.c.side == _SIDES[row.kind],
            )
            .values(answer=answer, answered_at=tx.now)
        )
        if domain.life.scheduled and domain.removing_at is None:
            inside.execute(
                update(domains).where(domains.c.id == domain.id).values(not_before=tx.now)
            )
            inside.wake(CHECKS.name)
    _ended(tx, inside, domain)


def _again(
    tx: Transaction, claim: Claim, reason: str, *, refused: bool = False, uncertain: bool = False
) -> None:
    """Try a step again: soon where the provider was away, in hours where it said no."""
    inside = tx.of(claim.workspace_id)
    row = inside.row(select(domain_steps).where(domain_steps.c.id == claim.id))
    assert row is not None
    wait = _AFTER_REFUSAL if refused else backoff(claim.attempts)
    attempts = 0 if refused else claim.attempts + 1
    finish(
        inside,
        STEPS,
        claim,
        begun_at=row.begun_at if uncertain else None,
        attempts=attempts,
        not_before=tx.now + wait,
        reason=reason[:500],
    )
    if row.reason != reason[:500]:
        what = f"{row.name}: {row.kind} at {row.account} failed"
        note(inside, "domain", what, reason)
    log.warning("domain.step_failed", domain=row.name, account=row.account, kind=row.kind)


def _ended(tx: Transaction, inside: Transaction, domain: Domain) -> None:
    """Take a domain away whose last step of removal is done."""
    if domain.removing_at is None or open_steps(inside, domain):
        return
    forget_rows(tx, inside, domain)


def open_steps(tx: Transaction, domain: Domain) -> Sequence[AnyRow]:
    """What is still to be done at providers."""
    return [row for row in stored.steps(tx, domain) if row.state == "due"]


def forget_rows(tx: Transaction, inside: Transaction, domain: Domain) -> None:
    """Delete a domain's rows, and its keys when no other workspace wants the name."""
    others = select(func.count()).where(domains.c.name == domain.name, domains.c.id != domain.id)
    if not tx.value(others):
        signing_keys.remove(tx, domain.name)
    inside.execute(delete(domains).where(domains.c.id == domain.id))
    note(inside, "domain", f"{domain.name} removed", "nothing of it is left at providers")
