"""Domains that verify themselves: their states, checks, steps at providers, identities, grants"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_DUE = sa.text("state IN ('pending', 'verifying', 'verified') AND removing_at IS NULL")
_STEP_DUE = sa.text("state = 'due'")


def _claim() -> list[sa.Column[object]]:
    return [
        sa.Column("claimed_by", sa.String(length=48), nullable=True),
        sa.Column("lease_until", Moment(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
    ]


def upgrade() -> None:
    _grow_domains()
    op.add_column(
        "signing_keys",
        sa.Column("status", sa.String(length=16), server_default="signing", nullable=False),
    )
    op.add_column("signing_keys", sa.Column("due_at", Moment(), nullable=True))
    _add_checks()
    _add_steps()
    _add_identities()


def _grow_domains() -> None:
    at_once = "0" if op.get_bind().dialect.name == "sqlite" else "epoch"
    for column in (
        sa.Column("mode", sa.String(16), server_default="send_receive", nullable=False),
        sa.Column("delegation", sa.String(8), server_default="records", nullable=False),
        sa.Column("token", sa.String(64), server_default="", nullable=False),
        sa.Column("receiving_verified_at", Moment(), nullable=True),
        sa.Column("sending_verified_at", Moment(), nullable=True),
        sa.Column("sending_state", sa.String(16), server_default="pending", nullable=False),
        sa.Column("settings", Json, server_default="{}", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fast_checks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pending_since", Moment(), nullable=True),
        sa.Column("told_slow", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("held_records", Json, server_default="[]", nullable=False),
        sa.Column("verdict", Json, nullable=True),
        sa.Column("checked_at", Moment(), nullable=True),
        sa.Column("next_cycle_at", Moment(), nullable=True),
        sa.Column("removing_at", Moment(), nullable=True),
        sa.Column("not_before", Moment(), server_default=at_once, nullable=False),
        *_claim(),
    ):
        op.add_column("domains", column)
    # What was verified by hand was trusted for both ways.
    op.execute(
        "UPDATE domains SET receiving_verified_at = verified_at, "
        "sending_verified_at = verified_at, sending_state = 'active' "
        "WHERE verified_at IS NOT NULL"
    )
    op.create_index(
        "uq_domains_workspace_id_name", "domains", ["workspace_id", "name"], unique=True
    )
    op.create_index(
        "ix_domains_due", "domains", ["not_before"], sqlite_where=_DUE, postgresql_where=_DUE
    )
    op.create_index("ix_domains_name", "domains", ["name"])


def _add_checks() -> None:
    op.create_table(
        "domain_checks",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("domain_id", sa.String(length=48), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("regular", sa.Boolean(), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=False),
        sa.Column("after", sa.String(length=16), nullable=False),
        sa.Column("verdict", Json, nullable=False),
        _of_domain("domain_checks"),
        _of_workspace("domain_checks"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_checks")),
    )
    op.create_index("ix_domain_checks_domain_id_at", "domain_checks", ["domain_id", "at"])


def _add_steps() -> None:
    op.create_table(
        "domain_steps",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("domain_id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("begun_at", Moment(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("not_before", Moment(), nullable=False),
        *_claim(),
        _of_domain("domain_steps"),
        _of_workspace("domain_steps"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_steps")),
        sa.UniqueConstraint(
            "domain_id", "account", "kind", name=op.f("uq_domain_steps_domain_id_account_kind")
        ),
    )
    op.create_index(
        "ix_domain_steps_due",
        "domain_steps",
        ["not_before"],
        sqlite_where=_STEP_DUE,
        postgresql_where=_STEP_DUE,
    )
    op.create_index("ix_domain_steps_account_name", "domain_steps", ["account", "name"])


def _add_identities() -> None:
    op.create_table(
        "domain_identities",
        sa.Column("domain_id", sa.String(length=48), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("side", sa.String(length=16), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("answer", Json, nullable=True),
        sa.Column("answered_at", Moment(), nullable=True),
        _of_domain("domain_identities"),
        _of_workspace("domain_identities"),
        sa.PrimaryKeyConstraint("domain_id", "account", "side", name=op.f("pk_domain_identities")),
    )
    op.create_index("ix_domain_identities_account_name", "domain_identities", ["account", "name"])
    op.create_table(
        "domain_grants",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("domain_id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("grantee_id", sa.String(length=48), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        _of_domain("domain_grants"),
        _of_workspace("domain_grants"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_grants")),
        sa.UniqueConstraint("name", "grantee_id", name=op.f("uq_domain_grants_name_grantee_id")),
    )
    op.create_index("ix_domain_grants_domain_id", "domain_grants", ["domain_id"])


def _of_domain(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_domain_id")
    return sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name=name, ondelete="CASCADE")


def _of_workspace(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_workspace_id")
    return sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=name)
