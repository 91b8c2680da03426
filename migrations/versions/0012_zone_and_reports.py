"""The zone of our own, and what others report of our domains"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "zone_serials",
        sa.Column("zone", sa.String(length=253), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_zone_serials")),
    )
    op.execute("INSERT INTO versions (name, value) VALUES ('zone', 1)")
    op.create_table(
        "domain_reports",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("reporter", sa.String(length=253), nullable=False),
        sa.Column("report_id", sa.String(length=253), nullable=False),
        sa.Column("sender", sa.String(length=320), nullable=False),
        sa.Column("begins_at", Moment(), nullable=False),
        sa.Column("ends_at", Moment(), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_domain_reports_delivery_id")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_domain_reports_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_reports")),
        sa.UniqueConstraint(
            "workspace_id",
            "kind",
            "domain",
            "reporter",
            "report_id",
            name=op.f("uq_domain_reports_workspace_id_kind_domain_reporter_report_id"),
        ),
    )
    op.create_index(
        "ix_domain_reports_workspace_id_ends_at", "domain_reports", ["workspace_id", "ends_at"]
    )
    op.create_index("ix_domain_reports_received_at", "domain_reports", ["received_at"])
    op.create_table(
        "domain_report_rows",
        sa.Column("report_ref", sa.String(length=48), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("source", sa.String(length=45), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("good", sa.BigInteger(), nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["report_ref"], ["domain_reports.id"], name=op.f("fk_domain_report_rows_report_ref")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_domain_report_rows_workspace_id")
        ),
        sa.PrimaryKeyConstraint("report_ref", "position", name=op.f("pk_domain_report_rows")),
    )
