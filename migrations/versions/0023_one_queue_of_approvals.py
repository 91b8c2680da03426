"""One queue of approvals, agreed calls that are claimed, and priorities that people set"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_KINDS = sa.text(
    "UPDATE approvals SET kind = CASE direction WHEN 'outbound' THEN 'draft' ELSE 'mail' END"
)
_DRAFT = sa.text("kind = 'draft'")
_CALL = sa.text("call_id IS NOT NULL")
_AGREED = sa.text("state = 'agreed'")


def upgrade() -> None:
    _calls()
    _approvals()
    _priorities()


def _calls() -> None:
    with op.batch_alter_table("tool_calls") as calls:
        calls.add_column(sa.Column("begun_at", Moment(), nullable=True))
        calls.add_column(sa.Column("not_before", Moment(), nullable=True))
        calls.add_column(sa.Column("claimed_by", sa.String(length=48), nullable=True))
        calls.add_column(sa.Column("lease_until", Moment(), nullable=True))
        calls.add_column(sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
    op.execute(sa.text("UPDATE tool_calls SET not_before = created_at"))
    with op.batch_alter_table("tool_calls") as calls:
        calls.alter_column("not_before", existing_type=Moment(), nullable=False)
    op.create_index(
        "ix_tool_calls_agreed",
        "tool_calls",
        ["not_before"],
        sqlite_where=_AGREED,
        postgresql_where=_AGREED,
    )


def _approvals() -> None:
    op.drop_index("uq_approvals_turn_id", "approvals")
    with op.batch_alter_table("approvals") as rows:
        rows.add_column(sa.Column("kind", sa.String(length=8), nullable=True))
        rows.add_column(sa.Column("call_id", sa.String(length=48), nullable=True))
    op.execute(_KINDS)
    with op.batch_alter_table("approvals") as rows:
        rows.alter_column("kind", existing_type=sa.String(length=8), nullable=False)
        rows.alter_column("agent_id", existing_type=sa.String(length=48), nullable=True)
        rows.alter_column("thread_id", existing_type=sa.String(length=48), nullable=True)
        rows.create_foreign_key(op.f("fk_approvals_call_id"), "tool_calls", ["call_id"], ["id"])
        rows.drop_column("direction")
    for name, column, condition in (
        ("uq_approvals_turn_id", "turn_id", _DRAFT),
        ("uq_approvals_call_id", "call_id", _CALL),
    ):
        op.create_index(
            name,
            "approvals",
            [column],
            unique=True,
            sqlite_where=condition,
            postgresql_where=condition,
        )
    _ask_what_was_asked()


def _ask_what_was_asked() -> None:
    """Give each call that waits for a yes its row in the queue, for the 14 days it had."""
    calls = sa.table(
        "tool_calls",
        *map(sa.column, ("id", "workspace_id", "agent_id", "thread_id", "turn_id", "delivery_id")),
        *map(sa.column, ("why", "state")),
        sa.column("created_at", Moment()),
    )
    approvals = sa.table(
        "approvals",
        *map(sa.column, ("id", "workspace_id", "kind", "state", "agent_id", "thread_id")),
        *map(sa.column, ("turn_id", "delivery_id", "call_id", "digest", "at_expiry", "reminders")),
        *(sa.column(name, Json) for name in ("reasons", "edits")),
        *(sa.column(name, Moment()) for name in ("created_at", "expires_at")),
    )
    for row in op.get_bind().execute(sa.select(calls).where(calls.c.state == "asked")).all():
        op.get_bind().execute(
            approvals.insert().values(
                id=f"apr_{row.id.partition('_')[2]}",
                workspace_id=row.workspace_id,
                kind="call",
                state="waiting",
                agent_id=row.agent_id,
                thread_id=row.thread_id,
                turn_id=row.turn_id,
                delivery_id=row.delivery_id,
                call_id=row.id,
                digest=row.id,
                reasons=[row.why],
                edits=[],
                at_expiry="reject",
                reminders=0,
                created_at=row.created_at,
                expires_at=row.created_at + timedelta(days=14),
            )
        )


def _priorities() -> None:
    op.add_column("deliveries", sa.Column("priority", sa.String(length=8), nullable=True))
    op.add_column("deliveries", sa.Column("priority_by", sa.Text(), nullable=True))
    op.create_index(
        "ix_deliveries_priority",
        "deliveries",
        ["workspace_id", "priority", "received_at"],
        sqlite_where=sa.text("priority IS NOT NULL"),
        postgresql_where=sa.text("priority IS NOT NULL"),
    )
    assessments = sa.table("assessments", sa.column("turn_id"), sa.column("fields", Json))
    deliveries = sa.table("deliveries", sa.column("turn_id"), sa.column("priority"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(assessments)).all():
        urgency = row.fields.get("urgency")
        if urgency not in (None, "normal"):
            of_turn = deliveries.c.turn_id == row.turn_id
            connection.execute(deliveries.update().where(of_turn).values(priority=urgency))
