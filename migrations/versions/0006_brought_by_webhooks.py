"""What webhooks brought that belongs to nobody, or not yet: mail, and events"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "waiting_events",
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("source_event_id", sa.String(length=255), nullable=False),
        sa.Column("names", sa.String(length=255), nullable=False),
        sa.Column("event", Json, nullable=False),
        sa.Column("came_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint(
            "source", "source_event_id", "names", name=op.f("pk_waiting_events")
        ),
    )
    op.create_index("ix_waiting_events_names", "waiting_events", ["names"])
    op.create_index("ix_waiting_events_came_at", "waiting_events", ["came_at"])
    op.create_table(
        "unrouted_mails",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("mail_from", sa.String(length=320), nullable=True),
        sa.Column("recipients", Json, nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unrouted_mails")),
        sa.UniqueConstraint("source", "source_id", name=op.f("uq_unrouted_mails_source_source_id")),
    )
    op.create_index("ix_unrouted_mails_received_at", "unrouted_mails", ["received_at"])
