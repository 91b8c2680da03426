"""Suppressions for one address of ours, warm-ups, and preferences among accounts in a table"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("suppressions") as batch:
        batch.add_column(
            sa.Column("from_address", sa.String(length=320), nullable=False, server_default="")
        )
        batch.drop_constraint("uq_suppressions_workspace_id_address", type_="unique")
        batch.create_unique_constraint(
            "uq_suppressions_workspace_id_address_from_address",
            ["workspace_id", "address", "from_address"],
        )
    op.add_column("outbound_recipients", sa.Column("warming", sa.String(length=253), nullable=True))
    where = sa.text("warming IS NOT NULL")
    op.create_index(
        "ix_outbound_recipients_warming",
        "outbound_recipients",
        ["account", "warming", "sent_at"],
        sqlite_where=where,
        postgresql_where=where,
    )
    op.create_table(
        "warm_ups",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("paused_at", Moment(), nullable=True),
        sa.Column("paused_by", sa.String(length=8), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("judged_from", Moment(), nullable=False),
        sa.Column("counted_at", Moment(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("put_off", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account", "domain", name=op.f("pk_warm_ups")),
    )
    preferences = op.create_table(
        "account_preferences",
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("whose", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("accounts", Json, nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_account_preferences_workspace_id")
        ),
        sa.PrimaryKeyConstraint(
            "workspace_id", "whose", "name", name=op.f("pk_account_preferences")
        ),
    )
    op.bulk_insert(preferences, list(_moved()))


def _moved() -> Iterator[Mapping[str, Any]]:
    """They stood among the settings of workspaces and agents, where a change of another setting
    dropped those of a workspace.
    """
    settings = sa.column("settings", Json)
    workspaces = sa.table("workspaces", sa.column("id", sa.String), settings)
    agents = sa.table(
        "agents",
        sa.column("id", sa.String),
        sa.column("workspace_id", sa.String),
        sa.column("settings", Json),
    )
    connection, now = op.get_bind(), datetime.now(UTC)
    for table, whose in ((workspaces, "domain"), (agents, "agent")):
        for row in connection.execute(sa.select(table)).all():
            kept = dict(row.settings)
            chosen = kept.pop("send_by", None)
            if not chosen:
                continue
            named = chosen if whose == "domain" else {row.id: chosen}
            where = row.id if whose == "domain" else row.workspace_id
            connection.execute(sa.update(table).where(table.c.id == row.id).values(settings=kept))
            for name, accounts in named.items():
                yield {
                    "workspace_id": where,
                    "whose": whose,
                    "name": name,
                    "accounts": accounts,
                    "changed_at": now,
                }
