"""Tools that agents use, what they keep of a thread, and answers that come later"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _tool_calls()
    _contact_notes()
    _reminders()
    _questions()
    _thread_summaries()
    _turn_callbacks()
    _agent_secrets()
    _http_tools()


def _tool_calls() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("turn_id", sa.String(length=48), nullable=False),
        sa.Column("call", sa.String(length=128), nullable=False),
        sa.Column("thread_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("wish", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("result", Json, nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("finished_at", Moment(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_tool_calls_workspace_id")
        ),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_tool_calls_turn_id")),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["threads.id"], name=op.f("fk_tool_calls_thread_id")
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_tool_calls_agent_id")),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_tool_calls_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_calls")),
        sa.UniqueConstraint("turn_id", "call", name=op.f("uq_tool_calls_turn_id_call")),
    )
    op.create_index(
        "ix_tool_calls_workspace_id_created_at", "tool_calls", ["workspace_id", "created_at"]
    )
    op.create_index(
        "ix_tool_calls_asked",
        "tool_calls",
        ["workspace_id", "created_at"],
        sqlite_where=sa.text("state = 'asked'"),
        postgresql_where=sa.text("state = 'asked'"),
    )


def _contact_notes() -> None:
    op.create_table(
        "contact_notes",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("delivery_id", sa.String(length=48), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_contact_notes_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_contact_notes_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_notes")),
    )
    op.create_index("ix_contact_notes_delivery_id", "contact_notes", ["delivery_id"])
    op.create_index(
        "ix_contact_notes_workspace_id_address",
        "contact_notes",
        ["workspace_id", "address", "created_at"],
    )


def _reminders() -> None:
    op.create_table(
        "reminders",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("thread_id", sa.String(length=48), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("due_at", Moment(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=320), nullable=False),
        sa.Column("keep", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("turn_id", sa.String(length=48), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_reminders_workspace_id")
        ),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name=op.f("fk_reminders_thread_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reminders")),
    )
    op.create_index("ix_reminders_thread_id", "reminders", ["thread_id"])
    op.create_index(
        "ix_reminders_waiting",
        "reminders",
        ["due_at"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )


def _questions() -> None:
    op.create_table(
        "questions",
        sa.Column("thread_id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("case_thread_id", sa.String(length=48), nullable=False),
        sa.Column("person", sa.String(length=320), nullable=False),
        sa.Column("asked_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["thread_id"], ["threads.id"], name=op.f("fk_questions_thread_id")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_questions_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["case_thread_id"], ["threads.id"], name=op.f("fk_questions_case_thread_id")
        ),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_questions")),
    )
    op.create_index("ix_questions_case_thread_id", "questions", ["case_thread_id"])


def _thread_summaries() -> None:
    op.create_table(
        "thread_summaries",
        sa.Column("thread_id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("until", Moment(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["threads.id"], name=op.f("fk_thread_summaries_thread_id")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_thread_summaries_workspace_id")
        ),
        sa.PrimaryKeyConstraint("thread_id", name=op.f("pk_thread_summaries")),
    )


def _turn_callbacks() -> None:
    op.create_table(
        "turn_callbacks",
        sa.Column("turn_id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("answered_at", Moment(), nullable=False),
        sa.Column("answer", Json, nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_turn_callbacks_turn_id")),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_turn_callbacks_workspace_id")
        ),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_turn_callbacks")),
    )


def _agent_secrets() -> None:
    op.create_table(
        "agent_secrets",
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_secrets_agent_id")
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_agent_secrets_workspace_id")
        ),
        sa.PrimaryKeyConstraint("agent_id", "name", name=op.f("pk_agent_secrets")),
    )


def _http_tools() -> None:
    op.create_table(
        "http_tools",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("input_schema", Json, nullable=False),
        sa.Column("effect", sa.String(length=8), nullable=False),
        sa.Column("least", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("repeatable", sa.Boolean(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_http_tools_workspace_id")
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_http_tools_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_http_tools")),
        sa.UniqueConstraint("agent_id", "name", name=op.f("uq_http_tools_agent_id_name")),
    )
