"""A mail says when, and by what, its content was removed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("deliveries", "outbound_mails"):
        op.add_column(table, sa.Column("content_removed_at", Moment()))
        op.add_column(table, sa.Column("content_removed_by", sa.String(length=16)))
