"""Mails that are named before they come"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    expected = sa.Column("expected", sa.Boolean(), server_default=sa.false(), nullable=False)
    op.add_column("anchors", expected)
