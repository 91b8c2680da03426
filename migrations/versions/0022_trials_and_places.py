"""Trials that wait for batches of the model's service; where a tool's input goes in its request"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("file", Json, nullable=True),
        sa.Column("since", Moment(), nullable=False),
        sa.Column("usd", sa.Numeric(precision=12, scale=6), nullable=True),
        sa.Column("asking_since", Moment(), nullable=True),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.String(length=200), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_trials_workspace_id")
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_trials_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
    )
    op.create_index("ix_trials_created_at", "trials", ["created_at"])
    op.create_table(
        "trial_mails",
        sa.Column("trial_id", sa.String(length=48), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.Column("steps", Json, nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_trial_mails_trial_id")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_trial_mails_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_trial_mails_delivery_id")
        ),
        sa.PrimaryKeyConstraint("trial_id", "position", name=op.f("pk_trial_mails")),
    )
    op.create_index("ix_trial_mails_delivery_id", "trial_mails", ["delivery_id"])
    op.add_column("http_tools", sa.Column("places", Json, nullable=True))
