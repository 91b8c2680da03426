"""The zone's answers, records and servers; failed logins over all processes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "zone_answers",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("answer", Json, nullable=False),
        sa.Column("answered_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_zone_answers")),
    )
    op.create_table(
        "zone_records",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zone_records")),
    )
    op.create_index("ix_zone_records_name", "zone_records", ["name"])
    op.create_table(
        "zone_servers",
        sa.Column("server", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=True),
        sa.Column("said", sa.String(length=300), server_default="", nullable=False),
        sa.Column("asked_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("server", name=op.f("pk_zone_servers")),
    )
    op.create_table(
        "login_counts",
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("ends_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("what", name=op.f("pk_login_counts")),
    )
    op.create_index("ix_login_counts_ends_at", "login_counts", ["ends_at"])
