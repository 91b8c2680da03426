"""Who answers, at which addresses, by which rules and with what knowledge?"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from mailagent.store.tables.columns import its_workspace, metadata, own_id
from mailagent.store.types import Json, Moment

__all__ = [
    "addresses",
    "agent_group_members",
    "agent_groups",
    "agent_secrets",
    "agents",
    "documents",
    "http_tools",
    "passages",
    "receiver_routes",
    "rules",
    "sender_identities",
]

agents = Table(
    "agents",
    metadata,
    own_id(),
    its_workspace(),
    Column("handle", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("processor", String(32), nullable=False),
    Column("instructions", Text, nullable=False),
    Column("email_enabled", Boolean, nullable=False),
    Column("settings", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("removed_at", Moment),
    Index("ix_agents_workspace_id", "workspace_id"),
)

addresses = Table(
    "addresses",
    metadata,
    own_id(),
    its_workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("local_part", String(64), nullable=False),
    Column("domain", String(253), nullable=False),
    Column("alias", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    # Of an address at a name that the workspace has left; nothing new leaves from it.
    Column("until", Moment),
    UniqueConstraint("local_part", "domain"),
    Index("ix_addresses_agent_id", "agent_id"),
)

agent_groups = Table(
    "agent_groups",
    metadata,
    own_id(),
    its_workspace(),
    Column("name", String(200), nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("workspace_id", "name"),
)

agent_group_members = Table(
    "agent_group_members",
    metadata,
    Column("group_id", String(48), ForeignKey("agent_groups.id"), primary_key=True),
    Column("agent_id", String(48), ForeignKey("agents.id"), primary_key=True),
    its_workspace(),
    Column("joined_at", Moment, nullable=False),
    Index("ix_agent_group_members_agent_id", "agent_id"),
)

sender_identities = Table(
    "sender_identities",
    metadata,
    own_id(),
    its_workspace(),
    Column("domain_id", String(48), ForeignKey("domains.id"), nullable=False),
    # Also an address of an agent: whose mail it is, and whether it still is one, stands there.
    Column("address", String(320), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Index("ix_sender_identities_domain_id", "domain_id"),
)

receiver_routes = Table(
    "receiver_routes",
    metadata,
    own_id(),
    its_workspace(),
    Column("domain_id", String(48), ForeignKey("domains.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("recipient", String(320), nullable=False),
    # Words such as `forward("https://…")`, in order.
    Column("actions", Json, nullable=False),
    Column("description", Text, nullable=False),
    # Sealed: what forwarded mail is signed with.
    Column("signing_key", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Index("ix_receiver_routes_domain_id", "domain_id"),
    Index("ix_receiver_routes_recipient", "recipient"),
)

rules = Table(
    "rules",
    metadata,
    own_id(),
    its_workspace(),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("condition", Json, nullable=False),
    Column("agent_id", String(48), ForeignKey("agents.id")),
    Column("action", String(16), nullable=False),
    Column("overrides", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_rules_workspace_id_position", "workspace_id", "position"),
)

documents = Table(
    "documents",
    metadata,
    own_id(),
    its_workspace(),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("workspace_id", "name"),
)

passages = Table(
    "passages",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    its_workspace(),
    Column("document_id", String(48), ForeignKey("documents.id", ondelete="CASCADE")),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Index("ix_passages_document_id", "document_id"),
)

agent_secrets = Table(
    "agent_secrets",
    metadata,
    # What an agent's own addresses need: `webhook`, `tasks`, `calendars`, `mcp:<name>`.
    Column("agent_id", String(48), ForeignKey("agents.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    its_workspace(),
    Column("sealed", LargeBinary, nullable=False),
    Column("changed_at", Moment, nullable=False),
)

http_tools = Table(
    "http_tools",
    metadata,
    own_id(),
    its_workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("input_schema", Json, nullable=False),
    Column("effect", String(8), nullable=False),
    Column("least", String(16), nullable=False),
    Column("method", String(8), nullable=False),
    Column("url", Text, nullable=False),
    # Whether the far side does the same request, with the same key, once.
    Column("repeatable", Boolean, nullable=False),
    # Where each property goes that is not in the URL; NULL: the query of GET, else the body.
    Column("places", Json),
    # Sealed: header fields with their secrets, which no model sees.
    Column("headers", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("agent_id", "name"),
)
