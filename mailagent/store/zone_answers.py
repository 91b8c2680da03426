"""What has each provider asked to be published for the default domain?

Only a provider knows its DKIM records of a domain, and it is asked when somebody looks, not when
the zone is served: what it said stands here meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select

from mailagent.store import zone_version
from mailagent.store.tables import zone_answers
from mailagent.store.transaction import Transaction

__all__ = ["forget", "keep", "kept"]


def keep(tx: Transaction, account: str, answer: Mapping[str, Any]) -> None:
    """Keep what an account's provider said, as JSON, in place of what it said before."""
    if kept(tx).get(account) != answer:
        zone_version.changed(tx)
    row = {"account": account, "answer": dict(answer), "answered_at": tx.now}
    tx.insert_or_update(zone_answers, row, unique=["account"])


def forget(tx: Transaction, account: str) -> None:
    """An account's provider knows nothing of the default domain any more."""
    gone = tx.execute(delete(zone_answers).where(zone_answers.c.account == account))
    if gone.rowcount:
        zone_version.changed(tx)


def kept(tx: Transaction) -> Mapping[str, Mapping[str, Any]]:
    """The answers by account."""
    return {row.account: row.answer for row in tx.rows(select(zone_answers))}
