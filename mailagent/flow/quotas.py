"""May an account be given a mail now? Its quotas, and the cap of a domain's warm-up.

Counted over all processes in the database, a row for each account and period of the clock; nothing
is asked where nothing is set. What is put off comes back as fast as the quota lets it, and not all
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, select

from mailagent.flow import warm_ups
from mailagent.outbound import Quota
from mailagent.store.tables import account_quotas
from mailagent.store.transaction import Transaction
from mailagent.store.types import EPOCH

__all__ = ["take"]

_MOST_PERIODS_OFF = 600

_COUNTED = select(account_quotas).where(account_quotas.c.account == bindparam("account"))


def take(
    tx: Transaction,
    account: str,
    quotas: Sequence[Quota],
    recipients: int,
    *,
    warming: str | None = None,
) -> tuple[datetime, str] | None:
    """Count a hand-over to so many recipients; or, uncounted, when to come back, and why.

    `warming`: the sending domain, where the account is warming up for it. A hand-over larger than a
    whole quota passes at the beginning of a period: it would never fit.
    """
    warm_ups.lock(tx, account)
    counted = {row.period: row for row in tx.rows(_COUNTED, {"account": account})}
    fresh: list[dict[str, object]] = []
    for quota in quotas:
        begun = EPOCH + (tx.now - EPOCH) // quota.length * quota.length
        row = counted.get(quota.period)
        # A node whose clock is behind counts in the period that another has begun.
        current = row is not None and row.started_at >= begun
        begun = row.started_at if row is not None and current else begun
        used, put_off = (row.used, row.put_off) if row is not None and current else (0, 0)
        line = {"account": account, "period": quota.period, "started_at": begun}
        if used and used + recipients > quota.most:
            _write(tx, {**line, "used": used, "put_off": put_off + recipients})
            periods = 1 + min(put_off // max(quota.most, 1), _MOST_PERIODS_OFF)
            why = f"the quota of {account} is used up: {quota.most} in a {quota.period}"
            return begun + quota.length * periods, why
        fresh.append({**line, "used": used + recipients, "put_off": put_off})
    if warming is not None and (full := warm_ups.room(tx, account, warming, recipients)):
        return full
    for line in fresh:
        _write(tx, line)
    return None


def _write(tx: Transaction, line: dict[str, object]) -> None:
    tx.insert_or_update(account_quotas, line, unique=["account", "period"])
