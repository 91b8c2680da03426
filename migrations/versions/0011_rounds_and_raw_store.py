"""How far long schedules have come, and raw messages that lie outside the database"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Moment

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rounds",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("began_at", Moment(), nullable=True),
        sa.Column("after", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rounds")),
    )
    op.create_table(
        "removed_objects",
        sa.Column("place", sa.String(length=255), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("not_before", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_removed_objects_workspace_id")
        ),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_removed_objects")),
    )
    op.create_index("ix_removed_objects_not_before", "removed_objects", ["not_before"])
    op.add_column("raw_messages", sa.Column("kept_at", sa.String(length=255), nullable=True))
