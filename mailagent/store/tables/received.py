"""What is kept of mail that came in?"""

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
    false,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

from mailagent.store.tables.columns import claim, its_workspace, metadata, own_id, removal, where
from mailagent.store.types import Json, Moment

__all__ = [
    "anchors",
    "attachments",
    "deliveries",
    "message_words",
    "messages",
    "participants",
    "raw_messages",
    "removed_objects",
    "replay_tokens",
    "rounds",
    "route_forwards",
    "threads",
    "unrouted_mails",
]

raw_messages = Table(
    "raw_messages",
    metadata,
    own_id(),
    its_workspace(),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("content", LargeBinary),
    # Where the octets lie compressed, outside the database; beside `content` while they move there.
    Column("kept_at", String(255)),
)

threads = Table(
    "threads",
    metadata,
    own_id(),
    its_workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("reply_key", String(16), nullable=False, unique=True),
    Column("related_thread_id", String(48)),
    Column("created_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("ready", Boolean, nullable=False),
    *claim(),
    Index("ix_threads_agent_id_last_at", "agent_id", "last_at"),
    where("ix_threads_ready", "workspace_id, not_before", "ready"),
)

participants = Table(
    "participants",
    metadata,
    Column("thread_id", String(48), ForeignKey("threads.id"), primary_key=True),
    Column("address", String(320), primary_key=True),
    its_workspace(),
    Column("authenticated", Boolean, nullable=False),
)

anchors = Table(
    "anchors",
    metadata,
    its_workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), primary_key=True),
    Column("message_id", String(998), primary_key=True),
    Column("thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    # Named by a mail of the thread, and not seen yet: it belongs there when it comes late.
    Column("expected", Boolean, nullable=False, server_default=false()),
)

deliveries = Table(
    "deliveries",
    metadata,
    own_id(),
    its_workspace(),
    Column("raw_id", String(48), ForeignKey("raw_messages.id"), nullable=False),
    Column("source", String(16), nullable=False),
    Column("source_id", String(255), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("mail_from", String(320)),
    Column("origin", Json, nullable=False),
    Column("place", String(16), nullable=False),
    Column("agent_id", String(48)),
    Column("received_at", Moment, nullable=False),
    Column("state", String(24), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("held_until", Moment),
    Column("message_ref", String(48)),
    Column("thread_id", String(48)),
    Column("turn_id", String(48)),
    Column("merged_into", String(48)),
    Column("archived_at", Moment),
    # NULL is normal. As the agent read it, or (`priority_by`) as somebody has set it.
    Column("priority", String(8)),
    Column("priority_by", Text),
    *removal(),
    *claim(),
    UniqueConstraint("source", "source_id", "recipient"),
    where("ix_deliveries_due", "not_before", "state = 'accepted'"),
    where("ix_deliveries_held", "held_until", "held_until IS NOT NULL"),
    Index("ix_deliveries_agent_id_received_at", "agent_id", "received_at"),
    Index("ix_deliveries_workspace_id_received_at", "workspace_id", "received_at"),
    # Partial, because acceptance writes neither: an index less to touch before the yes.
    where("ix_deliveries_thread_id", "thread_id", "thread_id IS NOT NULL"),
    where("ix_deliveries_turn_id", "turn_id", "turn_id IS NOT NULL"),
    Index("ix_deliveries_raw_id", "raw_id"),
    # An agent's inbox by state; then what a workspace has besides the answered, and its archive.
    where(
        "ix_deliveries_agent_id_state_received_at",
        "agent_id, state, received_at",
        "state <> 'accepted' AND archived_at IS NULL",
    ),
    where(
        "ix_deliveries_state_workspace_id_received_at",
        "state, workspace_id, received_at",
        "state NOT IN ('accepted', 'answered') AND archived_at IS NULL",
    ),
    # All that is asked when those are counted of which nobody was told: no row is looked at. SQLite
    # asks for the columns of the condition as well.
    where(
        "ix_deliveries_handed",
        "workspace_id, id, state, archived_at",
        "state = 'handed to a person' AND archived_at IS NULL",
    ),
    where("ix_deliveries_priority", "workspace_id, priority, received_at", "priority IS NOT NULL"),
    where("ix_deliveries_archived", "workspace_id, received_at", "archived_at IS NOT NULL"),
    # SMTP's own are found by the unique constraint: acceptance by SMTP writes one index less.
    where("ix_deliveries_source_id", "source_id", "source <> 'smtp'"),
)

route_forwards = Table(
    "route_forwards",
    metadata,
    own_id(),
    its_workspace(),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("route_id", String(48), nullable=False),
    Column("url", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    *claim(),
    # A mail that is read again is not forwarded again.
    UniqueConstraint("delivery_id", "route_id", "url"),
    where("ix_route_forwards_due", "not_before", "state = 'queued'"),
)

messages = Table(
    "messages",
    metadata,
    own_id(),
    its_workspace(),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("agent_id", String(48)),
    Column("thread_id", String(48)),
    Column("recipient", String(320), nullable=False),
    Column("message_id", String(998)),
    Column("content_sha256", String(64), nullable=False),
    Column("from_address", String(320), nullable=False),
    Column("from_name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("written", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("why_kind", Text, nullable=False),
    Column("content", Json, nullable=False),
    Column("authentication", Json, nullable=False),
    Column("at", Moment, nullable=False),
    Index("ix_messages_delivery_id", "delivery_id"),
    # The workspace second: an operator traces a Message-ID without knowing whose it is.
    Index("ix_messages_message_id_workspace_id", "message_id", "workspace_id"),
    Index("ix_messages_thread_id_at", "thread_id", "at"),
    Index("ix_messages_from", "workspace_id", "from_address", "at"),
)

message_words = Table(
    "message_words",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    its_workspace(),
    Column("agent_id", String(48), nullable=False),
    Column(
        "message_ref",
        String(48),
        ForeignKey("messages.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    # What `store.mail_search` finds it by; on SQLite a trigger keeps an FTS5 table of them.
    Column("words", Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
    Index("ix_message_words_agent_id_id", "agent_id", "id"),
)

attachments = Table(
    "attachments",
    metadata,
    own_id(),
    its_workspace(),
    # A message's (its octets are in the raw message) or an outbound mail's (they are here).
    Column("owner_id", String(48), nullable=False),
    Column("part", String(64), nullable=False),
    Column("filename", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content_id", Text),
    Column("content", LargeBinary),
    UniqueConstraint("owner_id", "part"),
)

replay_tokens = Table(
    "replay_tokens",
    metadata,
    # Of no workspace: what is refused is a request to the house.
    Column("source", String(32), primary_key=True),
    Column("token", String(128), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("at", Moment, nullable=False),
    Index("ix_replay_tokens_at", "at"),
)

unrouted_mails = Table(
    "unrouted_mails",
    metadata,
    # Of no workspace: a webhook brought them for addresses that are nobody's. For the operator.
    own_id(),
    Column("source", String(32), nullable=False),
    Column("source_id", Text, nullable=False),
    Column("mail_from", String(320)),
    Column("recipients", Json, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    UniqueConstraint("source", "source_id"),
    Index("ix_unrouted_mails_received_at", "received_at"),
)

rounds = Table(
    "rounds",
    metadata,
    # Of no workspace: how far a schedule has come that goes through more than one start of it can.
    # `since` bounds the round that is under way, `began_at` and `after` say where it stands.
    Column("name", String(32), primary_key=True),
    Column("since", Moment, nullable=False),
    Column("began_at", Moment),
    Column("after", Text, nullable=False, server_default=""),
)

removed_objects = Table(
    "removed_objects",
    metadata,
    # Raw messages outside the database whose row has let go of them: to be deleted there.
    Column("place", String(255), primary_key=True),
    its_workspace(),
    Column("not_before", Moment, nullable=False),
    Index("ix_removed_objects_not_before", "not_before"),
)
