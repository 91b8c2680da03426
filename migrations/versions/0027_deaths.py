"""How many workers have died over a row, beside how many of its starts failed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_CLAIMED = (
    "schedules",
    "domains",
    "outbound_mails",
    "deliveries",
    "domain_steps",
    "threads",
    "route_forwards",
    "tool_calls",
)


def upgrade() -> None:
    for table in _CLAIMED:
        op.add_column(table, sa.Column("deaths", sa.Integer(), server_default="0", nullable=False))
