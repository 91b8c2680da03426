"""Mails with expected outcomes, their runs, and how agents read their mails"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evaluation_cases",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("set_name", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("delivery_id", sa.String(length=48), nullable=True),
        sa.Column("message", sa.LargeBinary(), nullable=True),
        sa.Column("expected", Json, nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_evaluation_cases_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_evaluation_cases_agent_id")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_evaluation_cases_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_cases")),
        sa.UniqueConstraint(
            "agent_id",
            "set_name",
            "name",
            name=op.f("uq_evaluation_cases_agent_id_set_name_name"),
        ),
    )
    op.create_index(
        "ix_evaluation_cases_delivery_id",
        "evaluation_cases",
        ["delivery_id"],
        sqlite_where=sa.text("delivery_id IS NOT NULL"),
        postgresql_where=sa.text("delivery_id IS NOT NULL"),
    )
    op.create_table(
        "evaluation_runs",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("set_name", sa.String(length=64), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.Column("score", sa.Numeric(precision=5, scale=4), nullable=True),
        sa.Column("cost_usd", sa.Numeric(precision=12, scale=6), nullable=True),
        sa.Column("results", Json, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("finished_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_evaluation_runs_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_evaluation_runs_agent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_runs")),
    )
    op.create_index(
        "ix_evaluation_runs_agent_id_started_at", "evaluation_runs", ["agent_id", "started_at"]
    )
    op.create_table(
        "assessments",
        sa.Column("turn_id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("fields", Json, nullable=False),
        sa.Column("suggested", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_assessments_turn_id")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_assessments_workspace_id")
        ),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_assessments")),
    )
