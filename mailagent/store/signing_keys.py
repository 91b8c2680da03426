"""Which DKIM keys are ours? The private halves stand encrypted in the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import delete, select, update

from mailagent.store import zone_version
from mailagent.store.tables import signing_keys
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets

__all__ = [
    "ED25519",
    "PURPOSE",
    "PublishedKey",
    "StoredKey",
    "add",
    "beside",
    "newest",
    "published",
    "remove",
    "replace",
    "set_status",
]

ED25519 = "k=ed25519"
"""What stands in the public record of such a key (RFC 8463 §4)."""
PURPOSE = "dkim key"
"""What the private halves are encrypted for."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The key that signs for a domain."""

    domain: str
    selector: str
    private_pem: bytes = field(repr=False)
    public_record: str


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """The public half of a key, and what it is for now."""

    selector: str
    public_record: str
    status: Literal["signing", "published", "retired"]
    created_at: datetime
    due_at: datetime | None
    """When a rotation goes on with it."""

    @property
    def is_ed25519(self) -> bool:
        """Whether it is a key that signs beside an RSA one."""
        return ED25519 in self.public_record


def add(
    tx: Transaction,
    secrets: Secrets,
    key: StoredKey,
    *,
    status: Literal["signing", "published"] = "signing",
    due_at: datetime | None = None,
) -> bool:
    """Keep a key unless this selector of this domain has one; whether it was kept.

    `published`: it stands in DNS beside the one that signs. `due_at`: a rotation goes on with it.
    """
    row = {
        "domain": key.domain,
        "selector": key.selector,
        "private_key": secrets.seal(key.private_pem, PURPOSE),
        "public_record": key.public_record,
        "created_at": tx.now,
        "status": status,
        "due_at": due_at,
    }
    kept = tx.insert_new(signing_keys, row, unique=["domain", "selector"])
    if kept:
        zone_version.changed(tx)
    return kept


def newest(tx: Transaction, secrets: Secrets, domain: str) -> StoredKey | None:
    """The key that signs for a domain now. Raises Unauthentic under a foreign secret key."""
    row = tx.row(
        select(signing_keys)
        .where(signing_keys.c.domain == domain, signing_keys.c.status == "signing")
        .order_by(signing_keys.c.created_at.desc())
        .limit(1)
    )
    return None if row is None else _opened(secrets, row)


def beside(tx: Transaction, secrets: Secrets, domain: str) -> StoredKey | None:
    """The Ed25519 key that signs beside the other, where the domain has one. Raises Unauthentic."""
    row = tx.row(
        select(signing_keys).where(
            signing_keys.c.domain == domain,
            signing_keys.c.status == "published",
            signing_keys.c.public_record.contains(ED25519),
            # One with a time is on its way, or has had its successor.
            signing_keys.c.due_at.is_(None),
        )
    )
    return None if row is None else _opened(secrets, row)


def _opened(secrets: Secrets, row: AnyRow) -> StoredKey:
    private = secrets.unseal(row.private_key, PURPOSE)
    return StoredKey(row.domain, row.selector, private, row.public_record)


def published(tx: Transaction, domain: str) -> list[PublishedKey]:
    """Every key of a domain that stands in DNS, or should, by its selector."""
    rows = tx.rows(
        select(
            signing_keys.c.selector,
            signing_keys.c.public_record,
            signing_keys.c.status,
            signing_keys.c.created_at,
            signing_keys.c.due_at,
        )
        .where(signing_keys.c.domain == domain)
        .order_by(signing_keys.c.selector)
    )
    return [PublishedKey(*row) for row in rows]


def replace(tx: Transaction, secrets: Secrets, key: StoredKey, *, due_at: datetime) -> None:
    """Put another key at a selector that does not sign; it is published until `due_at`."""
    tx.execute(
        update(signing_keys)
        .where(signing_keys.c.domain == key.domain, signing_keys.c.selector == key.selector)
        .values(
            private_key=secrets.seal(key.private_pem, PURPOSE),
            public_record=key.public_record,
            created_at=tx.now,
            status="published",
            due_at=due_at,
        )
    )
    zone_version.changed(tx)


def set_status(
    tx: Transaction,
    domain: str,
    selector: str,
    status: Literal["signing", "published", "retired"],
    *,
    due_at: datetime | None = None,
) -> None:
    """What a key is for from now on."""
    tx.execute(
        update(signing_keys)
        .where(signing_keys.c.domain == domain, signing_keys.c.selector == selector)
        .values(status=status, due_at=due_at)
    )
    zone_version.changed(tx)


def remove(tx: Transaction, domain: str, selector: str | None = None) -> None:
    """Forget every key of a domain, or one."""
    every = delete(signing_keys).where(signing_keys.c.domain == domain)
    tx.execute(every if selector is None else every.where(signing_keys.c.selector == selector))
    zone_version.changed(tx)
