"""What is due by the clock, and not by a mail?

A row of `schedules` each, claimed like any other, so a chore starts once per due time whatever the
number of nodes; killed, it runs again. Short ones make rows due or drop what has ended, in the
transaction that sets their next time. Long ones go from workspace to workspace in transactions of
their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, select, true, update

from mailagent.flow import (
    approval_times,
    collecting,
    digest,
    events,
    lookup,
    octets,
    recovery,
    reminding,
    reports,
    retention,
    unrouted,
    warm_ups,
)
from mailagent.flow.directory import forget_former_names
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.store.tables import (
    deliveries,
    idempotency_keys,
    login_counts,
    schedules,
    sign_ins,
    threads,
    trial_mails,
    trials,
)
from mailagent.store.transaction import Transaction
from mailagent.work import MOST_ATTEMPTS, Claim, Queue, backoff, finish

__all__ = ["CHORES", "LONG_CHORES", "SCHEDULES", "do_chore", "give_up", "plan"]

SCHEDULES = Queue("schedule", schedules, true())

_AT_ONCE = 500


def release_held(tx: Transaction) -> None:
    """Let mail go on whose hold has ended: a budget of a new day."""
    rows = tx.rows(
        select(deliveries.c.id, deliveries.c.workspace_id, deliveries.c.thread_id)
        .where(
            deliveries.c.state == DeliveryState.HELD,
            deliveries.c.held_until <= tx.now,
            deliveries.c.thread_id.is_not(None),
        )
        .limit(_AT_ONCE)
    )
    for row in rows:
        tx.execute(
            update(deliveries)
            .where(deliveries.c.id == row.id)
            .values(state=DeliveryState.ROUTED, reason="the hold has ended", held_until=None)
        )
        tx.execute(update(threads).where(threads.c.id == row.thread_id).values(ready=True))
    for row in rows:
        _note_release(tx, row.workspace_id, row.id)
    if rows:
        tx.wake("think")


def forget_sign_ins(tx: Transaction) -> None:
    """Drop links and sessions that ended a day ago."""
    tx.execute(delete(sign_ins).where(sign_ins.c.expires_at < tx.now - timedelta(days=1)))


def forget_trials(tx: Transaction) -> None:
    """Drop trials that nobody went on with while the model's service kept what was answered."""
    old = trials.c.created_at < tx.now - timedelta(days=29)
    of_them = trial_mails.c.trial_id.in_(select(trials.c.id).where(old))
    tx.execute(delete(trial_mails).where(of_them))
    tx.execute(delete(trials).where(old))


def forget_idempotency_keys(tx: Transaction) -> None:
    """Drop answers that were kept for a day for who asks again."""
    old = idempotency_keys.c.created_at < tx.now - timedelta(days=1)
    tx.execute(delete(idempotency_keys).where(old))


def forget_login_counts(tx: Transaction) -> None:
    """Drop counts of failed logins that have ended."""
    tx.execute(delete(login_counts).where(login_counts.c.ends_at < tx.now))


CHORES: Mapping[str, tuple[timedelta, Callable[[Transaction], None]]] = {
    "release_held": (timedelta(minutes=1), release_held),
    "wake_due": (timedelta(minutes=1), reminding.wake_due),
    "forget_sign_ins": (timedelta(hours=6), forget_sign_ins),
    "forget_idempotency_keys": (timedelta(hours=1), forget_idempotency_keys),
    "forget_trials": (timedelta(hours=6), forget_trials),
    "forget_login_counts": (timedelta(hours=1), forget_login_counts),
    "forget_unrouted": (timedelta(hours=6), unrouted.forget),
    "forget_events": (timedelta(hours=6), events.forget),
    "forget_reports": (timedelta(hours=6), reports.forget),
    "forget_former_names": (timedelta(hours=1), forget_former_names),
}


LONG_CHORES: Mapping[str, tuple[timedelta, Callable[[Services], Awaitable[None]]]] = {
    "retention": (timedelta(hours=1), retention.keep_all),
    "digest": (timedelta(days=1), digest.tell_owners),
    "look_up_unknown": (timedelta(minutes=15), lookup.look_up_all),
    # A new workspace makes it due at once; this often for one that is made while it runs.
    collecting.CHORE: (timedelta(minutes=5), collecting.collect_all),
    "approvals": (timedelta(minutes=1), approval_times.pass_time),
    "judge_warm_ups": (timedelta(minutes=1), warm_ups.judge_all),
    "keep_raw_outside": (timedelta(minutes=10), octets.keep_outside),
    "recover_left_behind": (timedelta(minutes=30), recovery.recover_all),
}


def plan(tx: Transaction) -> None:
    """Make sure every chore has its row."""
    for name, (every, _) in (*CHORES.items(), *LONG_CHORES.items()):
        first = digest.next_time(tx.now) if name == "digest" else tx.now
        row = {"id": name, "every_seconds": int(every.total_seconds()), "not_before": first}
        tx.insert_new(schedules, row, unique=["id"])


async def do_chore(services: Services, claim: Claim) -> None:
    """Run one due chore and set its next time."""
    if claim.id in LONG_CHORES:
        _, chore = LONG_CHORES[claim.id]
        await chore(services)
    await services.store.write_unscoped(_run, claim)


def _run(tx: Transaction, claim: Claim) -> None:
    if claim.id in CHORES:
        _, chore = CHORES[claim.id]
        chore(tx)
    finish(tx, SCHEDULES, claim, not_before=_next_time(claim.id, tx.now))


def _next_time(name: str, now: datetime) -> datetime:
    if name == "digest":
        return digest.next_time(now)  # at its hour, however late the last one was
    known = CHORES.get(name) or LONG_CHORES.get(name)
    return now + (known[0] if known else timedelta(hours=1))


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """A chore is never dropped: it is tried again, ever more slowly."""
    attempts = min(claim.attempts, MOST_ATTEMPTS - 1)  # one more start is always left
    finish(tx, SCHEDULES, claim, attempts=attempts, not_before=tx.now + backoff(6))


def _note_release(tx: Transaction, workspace_id: str, delivery_id: str) -> None:
    note(
        tx.of(workspace_id),
        "think",
        "released",
        "the time it was held for has passed",
        delivery_id=delivery_id,
    )
