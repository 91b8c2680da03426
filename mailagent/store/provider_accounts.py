"""Which accounts at providers has an operator added? Their settings stand encrypted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import delete, select, update

from mailagent.store.tables import (
    account_quotas,
    account_standings,
    provider_accounts,
    versions,
    warm_ups,
    zone_answers,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets

__all__ = ["PURPOSE", "StoredAccount", "changed", "keep", "opened", "remove", "stored"]

PURPOSE = "provider account"
"""What the settings are encrypted for."""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """One account as it stands in the database."""

    name: str
    kind: str
    sealed: bytes = field(repr=False)


def keep(
    tx: Transaction, secrets: Secrets, name: str, kind: str, settings: Mapping[str, str]
) -> None:
    """Add an account, or give the one of that name other settings."""
    row = {
        "name": name,
        "kind": kind,
        "credentials": secrets.seal(json.dumps(dict(settings)).encode(), PURPOSE),
        "changed_at": tx.now,
    }
    same = provider_accounts.c.name == name
    if tx.execute(update(provider_accounts).where(same).values(row)).rowcount == 0:
        tx.insert(provider_accounts, {**row, "created_at": tx.now})
    changed(tx)


def stored(tx: Transaction) -> tuple[StoredAccount, ...]:
    """Every account, by name."""
    rows = tx.rows(select(provider_accounts).order_by(provider_accounts.c.name))
    return tuple(map(_of, rows))


def opened(account: StoredAccount, secrets: Secrets) -> Mapping[str, str]:
    """The settings of an account. Raises Unauthentic under a foreign secret key."""
    settings: Mapping[str, str] = json.loads(secrets.unseal(account.sealed, PURPOSE))
    return settings


def remove(tx: Transaction, name: str) -> bool:
    """Forget an account and how it behaved; whether it was there."""
    found = tx.execute(delete(provider_accounts).where(provider_accounts.c.name == name)).rowcount
    tx.execute(delete(account_standings).where(account_standings.c.name == name))
    tx.execute(delete(account_quotas).where(account_quotas.c.account == name))
    tx.execute(delete(warm_ups).where(warm_ups.c.account == name))
    tx.execute(delete(zone_answers).where(zone_answers.c.account == name))
    changed(tx)
    return found == 1


def changed(tx: Transaction) -> None:
    """Say, in the transaction that changed accounts, that what processes know of them is stale."""
    tx.execute(
        update(versions).where(versions.c.name == "accounts").values(value=versions.c.value + 1)
    )
    tx.wake("accounts")


def _of(row: AnyRow) -> StoredAccount:
    return StoredAccount(row.name, row.kind, row.credentials)
