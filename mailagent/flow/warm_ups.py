"""How far is the warm-up of a domain at an account, and does it go well?

The day's recipients are counted as they are handed over, in the row of the warm-up; what became of
them is counted from the recipients themselves when it is asked for, so that no order of events can
make the two differ. Every minute each warm-up is judged by `outbound.trouble`: it stops, goes on
where it stopped, or is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog
from sqlalchemy import bindparam, func, select, update

from mailagent import outbound
from mailagent.flow import people
from mailagent.flow.services import FlowSettings, Services
from mailagent.flow.states import RecipientState
from mailagent.outbound import Rates, WarmUp
from mailagent.store import provider_accounts
from mailagent.store.tables import domains, outbound_mails, outbound_recipients, warm_ups
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.store.types import EPOCH

__all__ = [
    "BY_PERSON",
    "BY_RATES",
    "going_on",
    "gone_on",
    "judge_all",
    "lock",
    "mark",
    "of_row",
    "rates",
    "release",
    "room",
]

BY_PERSON, BY_RATES = "person", "rates"
"""Who paused a warm-up: only what the rates paused goes on by itself."""
_JUDGED = timedelta(days=3)
"""The sends that a warm-up is judged by: what was bad is out of sight after three days."""
_TOLD_BY_NOW = timedelta(hours=1)
"""Providers tell of a delivery within minutes; what was not told after an hour is late."""
_DAY = timedelta(days=1)
_A_MOMENT = timedelta(seconds=30)
_FOLLOWED = timedelta(seconds=2)
"""By then every process knows how the accounts stand (`Accounts.keep_fresh`)."""
_MOST_DAYS_OFF = 30

log = structlog.get_logger()


def of_row(row: AnyRow) -> WarmUp:
    """The warm-up of a row."""
    paused = (row.reason or "by a person") if row.paused_at is not None else ""
    return WarmUp(row.domain, row.days, row.started_at, paused)


def going_on(tx: Transaction) -> Mapping[str, tuple[WarmUp, ...]]:
    """The warm-ups that are not over, by account."""
    found: defaultdict[str, tuple[WarmUp, ...]] = defaultdict(tuple)
    for row in tx.rows(select(warm_ups).where(warm_ups.c.ended_at.is_(None))):
        found[row.account] += (of_row(row),)
    return found


_OF_PAIR = (
    warm_ups.c.account == bindparam("of_account"),
    warm_ups.c.domain == bindparam("of_domain"),
)
_ROW = select(warm_ups).where(*_OF_PAIR)
_COUNT = update(warm_ups).where(*_OF_PAIR)
_OPEN_OF_DOMAIN = (
    select(func.count())
    .select_from(warm_ups)
    .where(warm_ups.c.domain == bindparam("of_domain"), warm_ups.c.ended_at.is_(None))
)


def room(
    tx: Transaction, account: str, domain: str, recipients: int
) -> tuple[datetime, str] | None:
    """Count a hand-over to so many recipients; or, uncounted, when to come back, and why.

    A hand-over larger than the whole day's cap passes as the first of a day: it would never fit.
    The caller holds the account's lock.
    """
    pair = {"of_account": account, "of_domain": domain}
    row = tx.row(_ROW, pair)
    if row is None or row.ended_at is not None:
        return None
    if row.paused_at is not None:  # since the account was chosen
        why = f"{account} is {outbound.warm_up_paused(domain)}: {row.reason}"
        return tx.now + _A_MOMENT, why
    cap = of_row(row).cap(tx.now)
    if cap is None:
        return None
    counted_in = _day_of(row.counted_at)
    # A node whose clock is behind counts in the day that another has begun.
    begun = max(_day_of(tx.now), counted_in)
    used, put_off = (row.used, row.put_off) if begun == counted_in else (0, 0)
    counted = {**pair, "counted_at": begun}
    if used and used + recipients > cap:
        tx.execute(_COUNT, {**counted, "used": used, "put_off": put_off + recipients})
        days = 1 + min(put_off // cap, _MOST_DAYS_OFF)
        day = of_row(row).day(tx.now)
        why = (
            f"{account} is warming up for {domain}: day {day} of {row.days}, {cap} recipients a day"
        )
        return begun + days * _DAY, why
    tx.execute(_COUNT, {**counted, "used": used + recipients, "put_off": put_off})
    return None


def _day_of(at: datetime) -> datetime:
    return EPOCH + (at - EPOCH) // _DAY * _DAY


_STATE = outbound_recipients.c.state
_DUE = outbound_recipients.c.sent_at < bindparam("due")
_ARRIVED = _STATE.in_([RecipientState.DELIVERED, RecipientState.COMPLAINED])
_FATES = select(
    func.count().label("sent"),
    func.count().filter(_STATE == RecipientState.BOUNCED).label("bounced"),
    func.count().filter(_STATE == RecipientState.COMPLAINED).label("complained"),
    func.count().filter(_DUE).label("due"),
    func.count().filter(_DUE, _ARRIVED).label("delivered"),
).where(
    outbound_recipients.c.account == bindparam("of_account"),
    outbound_recipients.c.warming == bindparam("of_domain"),
    outbound_recipients.c.sent_at >= bindparam("since"),
)


def rates(tx: Transaction, row: AnyRow) -> Rates:
    """What became of the newest recipients of a warm-up, in an unscoped transaction."""
    asked = {
        "of_account": row.account,
        "of_domain": row.domain,
        "since": max(row.judged_from, tx.now - _JUDGED),
        "due": tx.now - _TOLD_BY_NOW,
    }
    found = tx.row(_FATES, asked)
    assert found is not None
    return Rates(found.sent, found.bounced, found.complained, found.due, found.delivered)


async def judge_all(services: Services) -> None:
    """Stop, go on with, or end every warm-up that is to be."""
    open_ = await services.store.read_unscoped(going_on)
    for account, found in open_.items():
        for one in found:
            await services.store.write_unscoped(_judge, services.settings, account, one.domain)


def gone_on(tx: Transaction, row: AnyRow) -> dict[str, object]:
    """The columns of a paused warm-up that goes on, on the day on which it stopped."""
    lost = (tx.now.date() - row.paused_at.date()).days
    started_at = row.started_at + lost * _DAY
    return {"paused_at": None, "paused_by": None, "reason": "", "started_at": started_at}


def release(tx: Transaction, domain: str) -> None:
    """Try soon what waits for a paused warm-up of the domain; the caller lets that go on."""
    queued = select(outbound_mails.c.id).where(outbound_mails.c.state == "queued")
    waiting = (
        outbound_recipients.c.outbound_id.in_(queued),
        outbound_recipients.c.state == RecipientState.QUEUED,
        outbound_recipients.c.reason.contains(outbound.warm_up_paused(domain), autoescape=True),
    )
    soon = {"not_before": tx.now + _FOLLOWED}
    mails = select(outbound_recipients.c.outbound_id).where(*waiting)
    tx.execute(update(outbound_mails).where(outbound_mails.c.id.in_(mails)).values(soon))
    tx.execute(update(outbound_recipients).where(*waiting).values(soon))
    tx.wake("send")


def mark(tx: Transaction, domain: str) -> None:
    """Write into a workspace's domain whether it is warming up anywhere, where it may send."""
    warming = tx.value(_OPEN_OF_DOMAIN, {"of_domain": domain})
    before, after = ("active", "warming") if warming else ("warming", "active")
    tx.execute(
        update(domains)
        .where(domains.c.name == domain, domains.c.sending_state == before)
        .values(sending_state=after)
    )


def lock(tx: Transaction, account: str) -> None:
    """Let nobody else count or change an account's warm-ups until this transaction ends."""
    tx.lock(f"quota {account}")


def _judge(tx: Transaction, settings: FlowSettings, account: str, domain: str) -> None:
    lock(tx, account)
    pair = {"of_account": account, "of_domain": domain}
    row = tx.row(_ROW, pair)
    if row is None or row.ended_at is not None or row.paused_by == BY_PERSON:
        return
    why = outbound.trouble(rates(tx, row))
    values: dict[str, object]
    if row.paused_at is None and why is not None:
        values = {"paused_at": tx.now, "paused_by": BY_RATES, "reason": why}
        _tell(tx, settings, account, domain, why)
    elif row.paused_at is not None and why is None:
        values = gone_on(tx, row)
        release(tx, domain)
    elif row.paused_at is None and of_row(row).cap(tx.now) is None:
        values = {"ended_at": tx.now}
    else:
        return
    log.info("warm_up.changed", account=account, domain=domain, why=why or "goes well")
    tx.execute(_COUNT, {**pair, **values})
    mark(tx, domain)
    provider_accounts.changed(tx)


def _tell(tx: Transaction, settings: FlowSettings, account: str, domain: str, why: str) -> None:
    text = (
        f"{account} was warming up for {domain}, and nothing leaves by it for that domain now.\n\n"
        f"Why: {why}\n\n"
        "It goes on by itself when the rates of the last three days are good again. Look whom you "
        "write to first:\n  mailagent provider warm-up list\n"
        f"  mailagent provider warm-up resume {account} {domain}\n"
    )
    people.notify_operator(tx, settings, f"The warm-up of {domain} at {account} has stopped", text)
