"""Which programs may call the API? A key belongs to one workspace and holds permissions.

The secret is shown once; its SHA-256 is kept. `authenticate` and `touch` take an unscoped
transaction, because the key is what names the workspace.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from backend.access.permissions import checked_permissions
from backend.naming import checked_name
from backend.paging import Page, Window, page
from mailagent.errors import Malformed, NotFound, Unauthentic
from mailagent.store.tables import agents, api_keys
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import hash_secret, new_id, new_secret

__all__ = [
    "ApiKey",
    "NewKey",
    "authenticate",
    "create",
    "get",
    "list_keys",
    "revoke",
    "stale",
    "touch",
    "usable",
]

_PREFIX = "ma"
_SHOWN = 10
_TOUCH_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, without its secret."""

    id: str
    workspace_id: str
    name: str
    prefix: str
    """The secret's first characters, by which people and the ledger tell keys apart."""
    permissions: tuple[str, ...]
    agent_id: str | None
    """The agent that uses it; None for a program of people."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """Exact to a minute."""
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and, this once, its secret."""

    secret: str
    key: ApiKey


def create(
    tx: Transaction,
    name: str,
    permissions: Iterable[str],
    *,
    expires_at: datetime | None = None,
    agent: str | None = None,
) -> NewKey:
    """Make a key of the transaction's workspace; `agent` is the id or handle of whose it is.

    Raises Malformed.
    """
    if expires_at is not None and expires_at.utcoffset() is None:
        raise Malformed("expires_at", "has no time zone: end it with Z or an offset")
    if expires_at is not None and expires_at <= tx.now:
        raise Malformed("expires_at", "lies in the past")
    secret = new_secret(_PREFIX)
    key_id = new_id("key")
    tx.insert(
        api_keys,
        {
            "id": key_id,
            "name": checked_name("name", name),
            "prefix": secret[:_SHOWN],
            "secret_hash": hash_secret(secret),
            "agent_id": _agent(tx, agent),
            "permissions": list(checked_permissions(permissions)),
            "created_at": tx.now,
            "expires_at": expires_at,
        },
    )
    return NewKey(secret, get(tx, key_id))


def get(tx: Transaction, key_id: str) -> ApiKey:
    """One key of the workspace. Raises NotFound."""
    row = tx.row(select(api_keys).where(api_keys.c.id == key_id))
    if row is None:
        raise NotFound(f"the workspace has no key {key_id[:80]!r}")
    return _made(row)


def list_keys(tx: Transaction, window: Window) -> Page[ApiKey]:
    """The workspace's keys by age, revoked ones too."""
    return page(tx, select(api_keys), window, by=api_keys.c.id).map(_made)


def revoke(tx: Transaction, key_id: str) -> ApiKey:
    """Make a key useless from now on; once more changes nothing. Raises NotFound."""
    tx.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=tx.now)
    )
    return get(tx, key_id)


def authenticate(tx: Transaction, secret: str) -> ApiKey:
    """The key of a secret. Raises Unauthentic for an unknown, revoked or expired one."""
    row = tx.row(select(api_keys).where(api_keys.c.secret_hash == hash_secret(secret)))
    if row is None:
        raise Unauthentic("the API key is not known here")
    return _usable(tx, row)


def usable(tx: Transaction, key_id: str) -> ApiKey:
    """A key of the workspace, by whose secret somebody logged in before. Raises Unauthentic."""
    row = tx.row(select(api_keys).where(api_keys.c.id == key_id))
    if row is None:
        raise Unauthentic("the API key is not known here")
    return _usable(tx, row)


def _usable(tx: Transaction, row: AnyRow) -> ApiKey:
    if row.revoked_at is not None:
        raise Unauthentic("the API key was revoked: ask an owner of the workspace for another")
    if row.expires_at is not None and row.expires_at <= tx.now:
        raise Unauthentic("the API key has expired: ask an owner of the workspace for another")
    return _made(row)


def stale(key: ApiKey, now: datetime) -> bool:
    """Whether the time of last use is old enough to be worth a write."""
    return key.last_used_at is None or now - key.last_used_at >= _TOUCH_AFTER


def touch(tx: Transaction, key_id: str) -> None:
    """Note that a key was used just now."""
    tx.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=tx.now))


def _agent(tx: Transaction, reference: str | None) -> str | None:
    if reference is None:
        return None
    found: str | None = tx.value(
        select(agents.c.id).where(
            or_(agents.c.id == reference, agents.c.handle == reference),
            agents.c.removed_at.is_(None),
        )
    )
    if found is None:
        raise Malformed("agent", f"the workspace has no agent {reference[:80]!r}")
    return found


def _made(row: AnyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        workspace_id=row.workspace_id,
        name=row.name,
        prefix=row.prefix,
        permissions=tuple(row.permissions),
        agent_id=row.agent_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
