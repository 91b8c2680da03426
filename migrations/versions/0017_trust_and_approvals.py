"""Lists, policies, and what waits for a person's yes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as keys:
        keys.add_column(sa.Column("agent_id", sa.String(length=48), nullable=True))
    _lists_and_policies()
    _approvals()


def _lists_and_policies() -> None:
    op.create_table(
        "list_entries",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("mailbox", sa.String(length=320), server_default="", nullable=False),
        sa.Column("what", sa.String(length=8), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("pattern", sa.String(length=320), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_list_entries_workspace_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_list_entries")),
        sa.UniqueConstraint(
            "workspace_id",
            "pattern",
            "what",
            "mailbox",
            name=op.f("uq_list_entries_workspace_id_pattern_what_mailbox"),
        ),
    )
    op.create_table(
        "policies",
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cells", Json, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_policies_workspace_id")
        ),
        sa.PrimaryKeyConstraint("workspace_id", "agent_id", "version", name=op.f("pk_policies")),
    )


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("thread_id", sa.String(length=48), nullable=False),
        sa.Column("turn_id", sa.String(length=48), nullable=True),
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.Column("outgoing", Json, nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("reasons", Json, nullable=False),
        sa.Column("assessment", Json, nullable=True),
        sa.Column("edits", Json, nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("at_expiry", sa.String(length=8), nullable=False),
        sa.Column("remind_at", Moment(), nullable=True),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("decided_at", Moment(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decision", sa.Text(), server_default="", nullable=False),
        sa.Column("outbound_id", sa.String(length=48), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_approvals_workspace_id")
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_approvals_agent_id")),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name=op.f("fk_approvals_thread_id")),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_approvals_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index(
        "ix_approvals_workspace_id_created_at", "approvals", ["workspace_id", "created_at"]
    )
    op.create_index("ix_approvals_thread_id", "approvals", ["thread_id"])
    op.create_index("ix_approvals_delivery_id", "approvals", ["delivery_id"])
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "ix_approvals_waiting",
        "approvals",
        ["expires_at"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index("uq_approvals_turn_id", "approvals", ["turn_id"], unique=True)
    op.create_table(
        "approval_invitations",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("approval_id", sa.String(length=48), nullable=False),
        sa.Column("person", sa.String(length=320), nullable=False),
        sa.Column("reply_key", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("used_by", sa.String(length=48), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_approval_invitations_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approvals.id"], name=op.f("fk_approval_invitations_approval_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_invitations")),
        sa.UniqueConstraint("reply_key", name=op.f("uq_approval_invitations_reply_key")),
    )
    op.create_index("ix_approval_invitations_approval_id", "approval_invitations", ["approval_id"])
