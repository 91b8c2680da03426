"""Mail that our own hand in by the submission door"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Moment

revision = "0013"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "submissions",
        sa.Column("outbound_id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("login", sa.String(length=320), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["outbound_id"],
            ["outbound_mails.id"],
            name=op.f("fk_submissions_outbound_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_submissions_workspace_id")
        ),
        sa.PrimaryKeyConstraint("outbound_id", name=op.f("pk_submissions")),
    )
