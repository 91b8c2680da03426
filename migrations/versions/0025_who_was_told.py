"""Indexes along which hand-overs of which nobody heard are counted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_HANDED = sa.text("state = 'handed to a person' AND archived_at IS NULL")
_NOTICES = sa.text("purpose = 'notice'")


def upgrade() -> None:
    op.create_index(
        "ix_deliveries_handed",
        "deliveries",
        ["workspace_id", "id", "state", "archived_at"],
        sqlite_where=_HANDED,
        postgresql_where=_HANDED,
    )
    op.create_index(
        "ix_outbound_mails_told",
        "outbound_mails",
        ["answers_delivery_id", "workspace_id", "state", "purpose"],
        sqlite_where=_NOTICES,
        postgresql_where=_NOTICES,
    )
