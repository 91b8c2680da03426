"""Which DKIM keys are ours? The private halves stand encrypted in the database."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import select

from mailagent.store import zone_version
from mailagent.store.tables import signing_keys
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = ["PURPOSE", "StoredKey", "add", "newest"]

PURPOSE = "dkim key"
"""What the private halves are encrypted for."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The key that signs for a domain."""

    domain: str
    selector: str
    private_pem: bytes = field(repr=False)
    public_record: str


def add(tx: Transaction, secrets: Secrets, key: StoredKey) -> bool:
    """Keep a key unless this selector of this domain has one; whether it was kept."""
    row = {
        "domain": key.domain,
        "selector": key.selector,
        "private_key": secrets.seal(key.private_pem, PURPOSE),
        "public_record": key.public_record,
        "created_at": tx.now,
    }
    kept = tx.insert_new(signing_keys, row, unique=["domain", "selector"])
    if kept:
        zone_version.changed(tx)
    return kept


def newest(tx: Transaction, secrets: Secrets, domain: str) -> StoredKey | None:
    """The key that signs for a domain now. Raises Unauthentic under a foreign secret key."""
    row = tx.row(
        select(signing_keys)
        .where(signing_keys.c.domain == domain)
        .order_by(signing_keys.c.created_at.desc())
        .limit(1)
    )
    if row is None:
        return None
    private = secrets.unseal(row.private_key, PURPOSE)
    return StoredKey(domain, row.selector, private, row.public_record)
