"""Single-use tokens of webhooks, kept in the transaction that accepts their mail"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Moment

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replay_tokens",
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("token", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("source", "token", name=op.f("pk_replay_tokens")),
    )
    op.create_index("ix_replay_tokens_at", "replay_tokens", ["at"])
