"""Who has a workspace here, and by what do people and programs come in?"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from mailagent.store.tables.columns import its_workspace, metadata, own_id
from mailagent.store.types import Json, Moment

__all__ = [
    "api_keys",
    "idempotency_keys",
    "login_counts",
    "memberships",
    "people",
    "sign_ins",
    "slug_reservations",
    "workspaces",
]

workspaces = Table(
    "workspaces",
    metadata,
    own_id(),
    Column("slug", String(63), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("settings", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    # Its addresses take and send nothing any more; rows and name are kept.
    Column("retired_at", Moment),
    info={"workspace_key": "id"},
)

slug_reservations = Table(
    "slug_reservations",
    metadata,
    # A name that its workspace has left (or retired with), and that nobody else may take yet.
    Column("slug", String(63), primary_key=True),
    its_workspace(),
    # Until when mail to it is taken; NULL for that of a retired workspace.
    Column("alias_until", Moment),
    Column("free_at", Moment, nullable=False),
    Index("ix_slug_reservations_workspace_id", "workspace_id"),
)

people = Table(
    "people",
    metadata,
    own_id(),
    Column("email", String(320), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("workspace_id", String(48), ForeignKey("workspaces.id"), primary_key=True),
    Column("person_id", String(48), ForeignKey("people.id"), primary_key=True),
    Column("role", String(16), nullable=False),
    Index("ix_memberships_person_id", "person_id"),
)

sign_ins = Table(
    "sign_ins",
    metadata,
    own_id(),
    Column("person_id", String(48), ForeignKey("people.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
)

login_counts = Table(
    "login_counts",
    metadata,
    # A hash of what failed to log in at the submission door: an address, or a name; or of a client
    # that logged in under one.
    Column("what", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Index("ix_login_counts_ends_at", "ends_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    own_id(),
    its_workspace(),
    Column("name", Text, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("permissions", Json, nullable=False),
    # Whose it is, where an agent uses it: it neither sees nor decides what waits of that one's.
    Column("agent_id", String(48)),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("last_used_at", Moment),
    Column("revoked_at", Moment),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    # SHA-256 (hex) of workspace, principal, method, path and key.
    Column("name", String(64), primary_key=True),
    its_workspace(),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    # Sealed: it may hold a secret that is shown once.
    Column("answer", LargeBinary, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
