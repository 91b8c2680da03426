"""Mail that our own hand in; agent groups, sender identities and receiver routes of a domain"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailagent.store.types import Json, Moment

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "submissions",
        sa.Column("outbound_id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("login", sa.String(length=320), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["outbound_id"],
            ["outbound_mails.id"],
            name=op.f("fk_submissions_outbound_id"),
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_submissions_workspace_id")
        ),
        sa.PrimaryKeyConstraint("outbound_id", name=op.f("pk_submissions")),
    )
    for name, type_ in (
        ("agent_id", sa.String(length=48)),
        ("group_id", sa.String(length=48)),
        ("region", sa.String(length=8)),
        ("dkim_bits", sa.Integer()),
        ("retention_days", sa.Integer()),
    ):
        op.add_column("domains", sa.Column(name, type_, nullable=True))
    op.create_table(
        "agent_groups",
        *_own("agent_groups"),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.UniqueConstraint("workspace_id", "name", name=op.f("uq_agent_groups_workspace_id_name")),
    )
    op.create_table(
        "agent_group_members",
        sa.Column("group_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("joined_at", Moment(), nullable=False),
        _foreign("agent_group_members", "group_id", "agent_groups"),
        _foreign("agent_group_members", "agent_id", "agents"),
        _foreign("agent_group_members", "workspace_id", "workspaces"),
        sa.PrimaryKeyConstraint("group_id", "agent_id", name=op.f("pk_agent_group_members")),
    )
    op.create_index("ix_agent_group_members_agent_id", "agent_group_members", ["agent_id"])
    op.create_table(
        "sender_identities",
        *_own("sender_identities"),
        sa.Column("domain_id", sa.String(length=48), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        _foreign("sender_identities", "domain_id", "domains"),
        sa.UniqueConstraint("address", name=op.f("uq_sender_identities_address")),
    )
    op.create_index("ix_sender_identities_domain_id", "sender_identities", ["domain_id"])
    op.create_table(
        "receiver_routes",
        *_own("receiver_routes"),
        sa.Column("domain_id", sa.String(length=48), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("actions", Json, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("signing_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("changed_at", Moment(), nullable=False),
        _foreign("receiver_routes", "domain_id", "domains"),
    )
    op.create_index("ix_receiver_routes_domain_id", "receiver_routes", ["domain_id"])
    op.create_index("ix_receiver_routes_recipient", "receiver_routes", ["recipient"])
    op.create_table(
        "route_forwards",
        *_own("route_forwards"),
        sa.Column("delivery_id", sa.String(length=48), nullable=False),
        sa.Column("route_id", sa.String(length=48), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.Column("not_before", Moment(), nullable=False),
        sa.Column("claimed_by", sa.String(length=48), nullable=True),
        sa.Column("lease_until", Moment(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        _foreign("route_forwards", "delivery_id", "deliveries"),
        sa.UniqueConstraint(
            "delivery_id",
            "route_id",
            "url",
            name=op.f("uq_route_forwards_delivery_id_route_id_url"),
        ),
    )
    due = sa.text("state = 'queued'")
    op.create_index(
        "ix_route_forwards_due",
        "route_forwards",
        ["not_before"],
        sqlite_where=due,
        postgresql_where=due,
    )


def _own(table: str) -> list[sa.Column | sa.Constraint]:
    """An id and the workspace, as most tables have them."""
    return [
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        _foreign(table, "workspace_id", "workspaces"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    ]


def _foreign(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name)
