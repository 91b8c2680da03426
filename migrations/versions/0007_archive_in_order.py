"""The archive is read newest first, along its index"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("archived_at IS NOT NULL")
    op.drop_index("ix_deliveries_archived", "deliveries")
    op.create_index(
        "ix_deliveries_archived",
        "deliveries",
        ["workspace_id", "received_at"],
        sqlite_where=where,
        postgresql_where=where,
    )
