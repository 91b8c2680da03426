"""What may an operator do with a domain's warm-up at an account: start, pause, resume, stop it?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from backend.outbound.account_health import Health, of_rates
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import warm_ups as counting
from mailagent.outbound import SCHEDULES, Rates, sending_domain
from mailagent.store import provider_accounts
from mailagent.store.tables import warm_ups
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Progress", "overview", "pause", "resume", "start", "start_where_new", "stop"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a warm-up is. Times are aware."""

    account: str
    domain: str
    state: str
    """`warming`, `paused`, or `active` once it is over."""
    reason: str
    """Why it is paused."""
    days: int
    day: int
    """Which of its days it is, from 1 on; beyond `days` it is over."""
    cap: int | None
    """The most recipients today; None when it is over."""
    used: int
    """Recipients that were handed over today."""
    started_at: datetime
    ended_at: datetime | None
    rates: Rates
    """Of the last three days."""
    health: Health


def start(
    tx: Transaction, account: str, domain: str, days: int, *, default_domain: str
) -> Progress:
    """Begin a warm-up; of every domain below the default one, that one's. The account is there.

    Raises Malformed; Conflict while one goes on.
    """
    if days not in SCHEDULES:
        raise Malformed("days", f"must be {', '.join(map(str, SCHEDULES))}")
    name = sending_domain(domain.strip().rstrip(".").lower(), default_domain)
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", name) or len(name) > 253:
        raise Malformed("domain", f"{domain[:80]!r} is no domain in ASCII")
    counting.lock(tx, account)
    row = _row(tx, account, name)
    if row is not None and row.ended_at is None:
        raise Conflict(f"{account} is warming up for {name} already: stop it first")
    fresh: dict[str, Any] = {
        "account": account,
        "domain": name,
        "days": days,
        "started_at": tx.now,
        "ended_at": None,
        "paused_at": None,
        "paused_by": None,
        "reason": "",
        "judged_from": tx.now,
        "counted_at": tx.now,
        "used": 0,
        "put_off": 0,
    }
    tx.insert_or_update(warm_ups, fresh, unique=["account", "domain"])
    counting.mark(tx, name)
    provider_accounts.changed(tx)
    return _found(tx, account, name)


def start_where_new(
    tx: Transaction, accounts: Iterable[str], domain: str, days: int, *, default_domain: str
) -> Sequence[str]:
    """Begin a warm-up at each account that never had one for the domain; returns which."""
    new = [name for name in accounts if _row(tx, name, domain) is None]
    for name in new:
        start(tx, name, domain, days, default_domain=default_domain)
    return new


def pause(tx: Transaction, account: str, domain: str, reason: str) -> Progress:
    """Let nothing leave for the domain by the account until a person resumes it.

    Raises NotFound; Conflict when it is over.
    """
    row = _going_on(tx, account, domain)
    paused_at = row.paused_at or tx.now
    values = {"paused_by": counting.BY_PERSON, "paused_at": paused_at, "reason": reason[:500]}
    return _change(tx, row, values)


def resume(tx: Transaction, account: str, domain: str) -> Progress:
    """Go on where it stopped, whoever paused it; what was before is judged no more.

    Raises NotFound; Conflict when it is not paused.
    """
    row = _going_on(tx, account, domain)
    if row.paused_at is None:
        raise Conflict(f"the warm-up of {account} for {row.domain} is not paused")
    counting.release(tx, row.domain)
    return _change(tx, row, {**counting.gone_on(tx, row), "judged_from": tx.now})


def stop(tx: Transaction, account: str, domain: str) -> None:
    """Forget it: the account's quotas alone hold from now on. Raises NotFound."""
    counting.lock(tx, account)
    row = _row(tx, account, domain)
    if row is None:
        raise _none(account, domain)
    tx.execute(delete(warm_ups).filter_by(account=row.account, domain=row.domain))
    counting.release(tx, row.domain)
    counting.mark(tx, row.domain)
    provider_accounts.changed(tx)


def overview(tx: Transaction, account: str | None = None) -> Sequence[Progress]:
    """Every warm-up, those that are over too; of one account, or of all."""
    statement = select(warm_ups).order_by(warm_ups.c.account, warm_ups.c.domain)
    if account is not None:
        statement = statement.where(warm_ups.c.account == account)
    return [_progress(tx, row) for row in tx.rows(statement)]


def _row(tx: Transaction, account: str, domain: str) -> AnyRow | None:
    return tx.row(select(warm_ups).filter_by(account=account, domain=domain.lower()))


def _found(tx: Transaction, account: str, domain: str) -> Progress:
    row = _row(tx, account, domain)
    if row is None:
        raise _none(account, domain)
    return _progress(tx, row)


def _going_on(tx: Transaction, account: str, domain: str) -> AnyRow:
    counting.lock(tx, account)
    row = _row(tx, account, domain)
    if row is None:
        raise _none(account, domain)
    if row.ended_at is not None:
        raise Conflict(f"the warm-up of {account} for {row.domain} is over")
    return row


def _none(account: str, domain: str) -> NotFound:
    return NotFound(
        f"{account[:80]!r} has no warm-up for {domain[:80]!r}: mailagent provider warm-up list"
    )


def _change(tx: Transaction, row: AnyRow, values: dict[str, Any]) -> Progress:
    same = update(warm_ups).filter_by(account=row.account, domain=row.domain)
    tx.execute(same.values(**values))
    provider_accounts.changed(tx)
    return _found(tx, row.account, row.domain)


def _progress(tx: Transaction, row: AnyRow) -> Progress:
    warm_up, rates = counting.of_row(row), counting.rates(tx, row)
    over, today = row.ended_at is not None, row.counted_at.date() == tx.now.date()
    state = "active" if over else "paused" if warm_up.paused else "warming"
    return Progress(
        account=row.account,
        domain=row.domain,
        state=state,
        reason=warm_up.paused,
        days=row.days,
        day=warm_up.day(row.paused_at or row.ended_at or tx.now),
        cap=None if over else warm_up.cap(row.paused_at or tx.now),
        used=row.used if today else 0,
        started_at=row.started_at,
        ended_at=row.ended_at,
        rates=rates,
        health=of_rates(rates),
    )
