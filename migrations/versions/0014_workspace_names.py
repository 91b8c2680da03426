"""Workspaces change their name in addresses, and retire"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Moment

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("retired_at", Moment(), nullable=True))
    op.add_column("addresses", sa.Column("until", Moment(), nullable=True))
    op.create_table(
        "slug_reservations",
        sa.Column("slug", sa.String(length=63), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("alias_until", Moment(), nullable=True),
        sa.Column("free_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_slug_reservations_workspace_id"),
        ),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_slug_reservations")),
    )
    op.create_index("ix_slug_reservations_workspace_id", "slug_reservations", ["workspace_id"])
