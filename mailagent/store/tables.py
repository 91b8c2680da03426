"""Which rows do we keep?

SQLAlchemy Core tables, the same on SQLite and PostgreSQL. A table with a `workspace_id` belongs to
a tenant: `store.transaction` adds the workspace to every statement on it. A mail's own rows
are its queue: the columns of `_claim` and the partial indexes on due states are what `work` claims.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

from mailagent.store.types import EPOCH, Json, Moment

__all__ = ["metadata"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[Any]:
    return Column("id", String(48), primary_key=True)


def _workspace() -> Column[Any]:
    return Column("workspace_id", String(48), ForeignKey("workspaces.id"), nullable=False)


def _claim() -> list[Column[Any]]:
    """What `work` needs of a row that is its own queue entry."""
    return [
        Column("not_before", Moment, nullable=False),
        Column("claimed_by", String(48)),
        Column("lease_until", Moment),
        Column("attempts", Integer, nullable=False, server_default="0"),
    ]


def _removal() -> list[Column[Any]]:
    """When and by what (`retention`, `purge`) the content was removed; NULL while it stands."""
    return [Column("content_removed_at", Moment), Column("content_removed_by", String(16))]


def _where(name: str, columns: str, condition: str, *, unique: bool = False) -> Index:
    """A partial index: only the rows of a condition, so it stays small as the table grows."""
    return Index(
        name,
        *columns.split(", "),
        unique=unique,
        sqlite_where=text(condition),
        postgresql_where=text(condition),
    )


# --- who and where ---------------------------------------------------------------------------

workspaces = Table(
    "workspaces",
    metadata,
    _id(),
    Column("slug", String(63), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("settings", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    # Its addresses take and send nothing any more; rows and name are kept.
    Column("retired_at", Moment),
    info={"workspace_key": "id"},
)

slug_reservations = Table(
    "slug_reservations",
    metadata,
    # A name that its workspace has left (or retired with), and that nobody else may take yet.
    Column("slug", String(63), primary_key=True),
    _workspace(),
    # Until when mail to it is taken; NULL for that of a retired workspace.
    Column("alias_until", Moment),
    Column("free_at", Moment, nullable=False),
    Index("ix_slug_reservations_workspace_id", "workspace_id"),
)

people = Table(
    "people",
    metadata,
    _id(),
    Column("email", String(320), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("workspace_id", String(48), ForeignKey("workspaces.id"), primary_key=True),
    Column("person_id", String(48), ForeignKey("people.id"), primary_key=True),
    Column("role", String(16), nullable=False),
    Index("ix_memberships_person_id", "person_id"),
)

sign_ins = Table(
    "sign_ins",
    metadata,
    _id(),
    Column("person_id", String(48), ForeignKey("people.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    _workspace(),
    Column("name", Text, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("permissions", Json, nullable=False),
    # Whose it is, where an agent uses it: it neither sees nor decides what waits of that one's.
    Column("agent_id", String(48)),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("last_used_at", Moment),
    Column("revoked_at", Moment),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    # SHA-256 (hex) of workspace, principal, method, path and key.
    Column("name", String(64), primary_key=True),
    _workspace(),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    # Sealed: it may hold a secret that is shown once.
    Column("answer", LargeBinary, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

domains = Table(
    "domains",
    metadata,
    _id(),
    _workspace(),
    Column("name", String(253), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Moment, nullable=False),
    # When the workspace made the name its own; NULL while the claim is only a wish.
    Column("verified_at", Moment),
    # Whose it is in the Mailgun way of working: one agent's or one group's.
    Column("agent_id", String(48)),
    Column("group_id", String(48)),
    Column("region", String(8)),
    Column("dkim_bits", Integer),
    Column("retention_days", Integer),
    Column("mode", String(16), nullable=False, server_default="send_receive"),
    Column("delegation", String(8), nullable=False, server_default="records"),
    Column("token", String(64), nullable=False, server_default=""),
    Column("receiving_verified_at", Moment),
    Column("sending_verified_at", Moment),
    Column("sending_state", String(16), nullable=False, server_default="pending"),
    # What it is carried by, and what its workspace has chosen: `backend.domains.choices`.
    Column("settings", Json, nullable=False, server_default="{}"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("fast_checks", Integer, nullable=False, server_default="0"),
    Column("pending_since", Moment),
    Column("told_slow", Boolean, nullable=False, server_default=false()),
    # The records that were right when it was verified: what is asked for later is new.
    Column("held_records", Json, nullable=False, server_default="[]"),
    # The last look at DNS and the providers, apart from the stored state.
    Column("verdict", Json),
    Column("checked_at", Moment),
    Column("next_cycle_at", Moment),
    Column("removing_at", Moment),
    # The columns of `_claim`: a row that names no time is checked at once.
    Column("not_before", Moment, nullable=False, default=EPOCH),
    *_claim()[1:],
    # The first workspace that verifies a domain owns it; pending claims exclude nobody.
    _where("uq_domains_verified_name", "name", "verified_at IS NOT NULL", unique=True),
    Index("uq_domains_workspace_id_name", "workspace_id", "name", unique=True),
    _where(
        "ix_domains_due",
        "not_before",
        "state IN ('pending', 'verifying', 'verified') AND removing_at IS NULL",
    ),
    Index("ix_domains_name", "name"),
)

domain_checks = Table(
    "domain_checks",
    metadata,
    _id(),
    _workspace(),
    Column("domain_id", String(48), ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("at", Moment, nullable=False),
    # Of the six-hour cycle, which alone may take a domain down.
    Column("regular", Boolean, nullable=False),
    Column("before", String(16), nullable=False),
    Column("after", String(16), nullable=False),
    Column("verdict", Json, nullable=False),
    Index("ix_domain_checks_domain_id_at", "domain_id", "at"),
)

domain_steps = Table(
    "domain_steps",
    metadata,
    _id(),
    _workspace(),
    Column("domain_id", String(48), ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(253), nullable=False),
    Column("account", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    # Set just before the provider is called: until it is done, no other step of the same account
    # and name begins.
    Column("begun_at", Moment),
    Column("created_at", Moment, nullable=False),
    *_claim(),
    UniqueConstraint("domain_id", "account", "kind"),
    _where("ix_domain_steps_due", "not_before", "state = 'due'"),
    Index("ix_domain_steps_account_name", "account", "name"),
)

domain_identities = Table(
    "domain_identities",
    metadata,
    # Who wants a name at a provider: an identity goes when its last row has gone.
    Column("domain_id", String(48), ForeignKey("domains.id", ondelete="CASCADE"), primary_key=True),
    Column("account", String(64), primary_key=True),
    Column("side", String(16), primary_key=True),
    _workspace(),
    Column("name", String(253), nullable=False),
    # What the provider asked to be published, and its words; NULL before it was asked.
    Column("answer", Json),
    Column("answered_at", Moment),
    Index("ix_domain_identities_account_name", "account", "name"),
)

domain_grants = Table(
    "domain_grants",
    metadata,
    _id(),
    _workspace(),
    Column("domain_id", String(48), ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(253), nullable=False),
    # The workspace that may have the sub-domain.
    Column("grantee_id", String(48), nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("name", "grantee_id"),
    Index("ix_domain_grants_domain_id", "domain_id"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("domain", String(253), primary_key=True),
    Column("selector", String(63), primary_key=True),
    Column("private_key", LargeBinary, nullable=False),
    Column("public_record", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    # `signing`, `published` beside it, or `retired`: published until nobody verifies by it.
    Column("status", String(16), nullable=False, server_default="signing"),
    # When a rotation takes its next step with this key; NULL while none is under way.
    Column("due_at", Moment),
)

agents = Table(
    "agents",
    metadata,
    _id(),
    _workspace(),
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
    _id(),
    _workspace(),
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
    _id(),
    _workspace(),
    Column("name", String(200), nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("workspace_id", "name"),
)

agent_group_members = Table(
    "agent_group_members",
    metadata,
    Column("group_id", String(48), ForeignKey("agent_groups.id"), primary_key=True),
    Column("agent_id", String(48), ForeignKey("agents.id"), primary_key=True),
    _workspace(),
    Column("joined_at", Moment, nullable=False),
    Index("ix_agent_group_members_agent_id", "agent_id"),
)

sender_identities = Table(
    "sender_identities",
    metadata,
    _id(),
    _workspace(),
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
    _id(),
    _workspace(),
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
    _id(),
    _workspace(),
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
    _id(),
    _workspace(),
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
    _workspace(),
    Column("document_id", String(48), ForeignKey("documents.id", ondelete="CASCADE")),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Index("ix_passages_document_id", "document_id"),
)

# --- mail that came in -----------------------------------------------------------------------

raw_messages = Table(
    "raw_messages",
    metadata,
    _id(),
    _workspace(),
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
    _id(),
    _workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("reply_key", String(16), nullable=False, unique=True),
    Column("related_thread_id", String(48)),
    Column("created_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("ready", Boolean, nullable=False),
    *_claim(),
    Index("ix_threads_agent_id_last_at", "agent_id", "last_at"),
    _where("ix_threads_ready", "workspace_id, not_before", "ready"),
)

participants = Table(
    "participants",
    metadata,
    Column("thread_id", String(48), ForeignKey("threads.id"), primary_key=True),
    Column("address", String(320), primary_key=True),
    _workspace(),
    Column("authenticated", Boolean, nullable=False),
)

anchors = Table(
    "anchors",
    metadata,
    _workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), primary_key=True),
    Column("message_id", String(998), primary_key=True),
    Column("thread_id", String(48), ForeignKey("threads.id"), nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    _workspace(),
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
    *_removal(),
    *_claim(),
    UniqueConstraint("source", "source_id", "recipient"),
    _where("ix_deliveries_due", "not_before", "state = 'accepted'"),
    _where("ix_deliveries_held", "held_until", "held_until IS NOT NULL"),
    Index("ix_deliveries_agent_id_received_at", "agent_id", "received_at"),
    Index("ix_deliveries_workspace_id_received_at", "workspace_id", "received_at"),
    # Partial, because acceptance writes neither: an index less to touch before the yes.
    _where("ix_deliveries_thread_id", "thread_id", "thread_id IS NOT NULL"),
    _where("ix_deliveries_turn_id", "turn_id", "turn_id IS NOT NULL"),
    Index("ix_deliveries_raw_id", "raw_id"),
    # An agent's inbox by state; then what a workspace has besides the answered, and its archive.
    _where(
        "ix_deliveries_agent_id_state_received_at",
        "agent_id, state, received_at",
        "state <> 'accepted' AND archived_at IS NULL",
    ),
    _where(
        "ix_deliveries_state_workspace_id_received_at",
        "state, workspace_id, received_at",
        "state NOT IN ('accepted', 'answered') AND archived_at IS NULL",
    ),
    _where("ix_deliveries_archived", "workspace_id, received_at", "archived_at IS NOT NULL"),
    # SMTP's own are found by the unique constraint: acceptance by SMTP writes one index less.
    _where("ix_deliveries_source_id", "source_id", "source <> 'smtp'"),
)

route_forwards = Table(
    "route_forwards",
    metadata,
    _id(),
    _workspace(),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("route_id", String(48), nullable=False),
    Column("url", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    *_claim(),
    # A mail that is read again is not forwarded again.
    UniqueConstraint("delivery_id", "route_id", "url"),
    _where("ix_route_forwards_due", "not_before", "state = 'queued'"),
)

messages = Table(
    "messages",
    metadata,
    _id(),
    _workspace(),
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
    _workspace(),
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
    _id(),
    _workspace(),
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

# --- thinking --------------------------------------------------------------------------------

turns = Table(
    "turns",
    metadata,
    _id(),
    _workspace(),
    Column("thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("sender", String(320), nullable=False),
    Column("state", String(16), nullable=False),
    Column("outcome", Text, nullable=False, server_default=""),
    Column("processor", String(32), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("model", Text),
    Column("input_tokens", Integer, nullable=False, server_default="0"),
    Column("output_tokens", Integer, nullable=False, server_default="0"),
    Column("cost_usd", Numeric(12, 6)),
    # Whatever a claim does, no thread has two turns at a time.
    _where("uq_turns_running_thread", "thread_id", "state = 'running'", unique=True),
    Index("ix_turns_workspace_id_started_at", "workspace_id", "started_at"),
    Index("ix_turns_workspace_id_sender_started_at", "workspace_id", "sender", "started_at"),
)

turn_steps = Table(
    "turn_steps",
    metadata,
    Column("turn_id", String(48), ForeignKey("turns.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _workspace(),
    Column("kind", String(32), nullable=False),
    Column("content", Json, nullable=False),
    Column("at", Moment, nullable=False),
)

# --- mail that goes out ----------------------------------------------------------------------

outbound_mails = Table(
    "outbound_mails",
    metadata,
    _id(),
    _workspace(),
    Column("agent_id", String(48)),
    Column("thread_id", String(48)),
    Column("turn_id", String(48)),
    Column("answers_delivery_id", String(48)),
    Column("purpose", String(16), nullable=False),
    Column("message_id", String(998), nullable=False),
    Column("subject", Text, nullable=False),
    Column("from_address", String(320), nullable=False),
    Column("outgoing", Json, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    *_removal(),
    *_claim(),
    UniqueConstraint("workspace_id", "message_id"),
    _where("ix_outbound_mails_due", "not_before", "state = 'queued'"),
    Index("ix_outbound_mails_workspace_id_created_at", "workspace_id", "created_at"),
    Index("ix_outbound_mails_agent_id_created_at", "agent_id", "created_at"),
    Index("ix_outbound_mails_thread_id", "thread_id"),
    Index("ix_outbound_mails_answers_delivery_id", "answers_delivery_id"),
    # A reply that was sent touches neither: they hold what is looked for, and seldom is.
    _where(
        "ix_outbound_mails_state_workspace_id_created_at",
        "state, workspace_id, created_at",
        "state NOT IN ('queued', 'sent', 'delivered')",
    ),
    _where(
        "ix_outbound_mails_purpose_workspace_id_created_at",
        "purpose, workspace_id, created_at",
        "purpose <> 'reply'",
    ),
    # One turn freezes at most one reply, and one event sends at most one notice of a kind.
    Index("uq_outbound_mails_turn_id_purpose", "turn_id", "purpose", unique=True),
)

outbound_recipients = Table(
    "outbound_recipients",
    metadata,
    _id(),
    _workspace(),
    Column("outbound_id", String(48), ForeignKey("outbound_mails.id"), nullable=False),
    Column("address", String(320), nullable=False),
    Column("field", String(4), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("not_before", Moment, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("account", String(64)),
    Column("provider_id", String(255)),
    Column("sent_at", Moment),
    # The sending domain, where its account was warming up for it: what the rates are counted from.
    Column("warming", String(253)),
    Index("ix_outbound_recipients_outbound_id", "outbound_id"),
    Index("ix_outbound_recipients_provider_id", "provider_id"),
    _where("ix_outbound_recipients_warming", "account, warming, sent_at", "warming IS NOT NULL"),
    _where("ix_outbound_recipients_unknown", "workspace_id", "state = 'unknown'"),
)

hand_overs = Table(
    "hand_overs",
    metadata,
    _id(),
    _workspace(),
    Column("outbound_id", String(48), ForeignKey("outbound_mails.id"), nullable=False),
    Column("account", String(64), nullable=False),
    Column("why_account", Text, nullable=False),
    Column("recipient_ids", Json, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("response", Text, nullable=False, server_default=""),
    Column("code", Text),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Index("ix_hand_overs_outbound_id", "outbound_id"),
)

submissions = Table(
    "submissions",
    metadata,
    # A mail that came by the submission door: who handed it in, and what (SHA-256 without Bcc).
    Column("outbound_id", String(48), ForeignKey("outbound_mails.id"), primary_key=True),
    _workspace(),
    Column("login", String(320), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("at", Moment, nullable=False),
)

provider_accounts = Table(
    "provider_accounts",
    metadata,
    # What an operator added; the environment names others. Of no workspace, all may send by them.
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    # Sealed: the account's settings, its secrets among them.
    Column("credentials", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
)

account_standings = Table(
    "account_standings",
    metadata,
    # How an account of either kind may be used, and how it has lately behaved.
    Column("name", String(64), primary_key=True),
    Column("priority", Integer),
    Column("sends_for", Json),
    Column("quotas", Json, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("pauses", Integer, nullable=False),
    Column("paused_until", Moment),
    # Of the credentials that were rejected: with others it is tried at once.
    Column("rejected", String(32)),
    Column("changed_at", Moment, nullable=False),
)

account_quotas = Table(
    "account_quotas",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("period", String(16), primary_key=True),
    Column("started_at", Moment, nullable=False),
    Column("used", Integer, nullable=False),
    # Recipients put off in this period: they come back one period's worth after the other.
    Column("put_off", Integer, nullable=False),
)

account_preferences = Table(
    "account_preferences",
    metadata,
    Column("workspace_id", String(48), ForeignKey("workspaces.id"), primary_key=True),
    # `agent` or `domain`, and its id or name: by which accounts its mail leaves, in their order.
    Column("whose", String(8), primary_key=True),
    Column("name", String(253), primary_key=True),
    Column("accounts", Json, nullable=False),
    Column("changed_at", Moment, nullable=False),
)

warm_ups = Table(
    "warm_ups",
    metadata,
    # Of no workspace: all those below the default domain are one sender to the world.
    Column("account", String(64), primary_key=True),
    Column("domain", String(253), primary_key=True),
    Column("days", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("paused_at", Moment),
    # `rates` or `person`: only what the rates paused goes on by itself.
    Column("paused_by", String(8)),
    Column("reason", Text, nullable=False),
    # A person who lets it go on takes what was before as dealt with.
    Column("judged_from", Moment, nullable=False),
    # As in `account_quotas`, for a day.
    Column("counted_at", Moment, nullable=False),
    Column("used", Integer, nullable=False),
    Column("put_off", Integer, nullable=False),
)

answer_invitations = Table(
    "answer_invitations",
    metadata,
    _id(),
    _workspace(),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("person", String(320), nullable=False),
    Column("reply_key", String(16), nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    # The delivery that brought the answer: an invitation is used once.
    Column("used_by", String(48)),
    Index("ix_answer_invitations_delivery_id", "delivery_id"),
)

events = Table(
    "events",
    metadata,
    _id(),
    _workspace(),
    Column("source", String(32), nullable=False),
    Column("source_event_id", String(255), nullable=False),
    Column("outbound_id", String(48)),
    Column("recipient_id", String(48)),
    Column("recipient", String(320)),
    Column("kind", String(24), nullable=False),
    Column("at", Moment, nullable=False),
    Column("detail", Text, nullable=False),
    Column("raw", Json, nullable=False),
    UniqueConstraint("workspace_id", "source", "source_event_id"),
    Index("ix_events_outbound_id", "outbound_id"),
)

suppressions = Table(
    "suppressions",
    metadata,
    _id(),
    _workspace(),
    Column("address", String(320), nullable=False),
    # The address of ours that it stops; empty for all of the workspace (a NULL would be unlike
    # every other in the constraint).
    Column("from_address", String(320), nullable=False, server_default=""),
    Column("reason", String(24), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    UniqueConstraint("workspace_id", "address", "from_address"),
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

waiting_events = Table(
    "waiting_events",
    metadata,
    # Of no workspace yet: an event may overtake the commit of its own send. One row for each id
    # that it names its mail by.
    Column("source", String(32), primary_key=True),
    Column("source_event_id", String(255), primary_key=True),
    Column("names", String(255), primary_key=True),
    Column("event", Json, nullable=False),
    Column("came_at", Moment, nullable=False),
    Index("ix_waiting_events_names", "names"),
    Index("ix_waiting_events_came_at", "came_at"),
)

unrouted_mails = Table(
    "unrouted_mails",
    metadata,
    # Of no workspace: a webhook brought them for addresses that are nobody's. For the operator.
    _id(),
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

domain_reports = Table(
    "domain_reports",
    metadata,
    # What another mail system said of a domain of ours; `kind` is `dmarc` or `tls`.
    _id(),
    _workspace(),
    Column("kind", String(8), nullable=False),
    Column("domain", String(253), nullable=False),
    Column("reporter", String(253), nullable=False),
    Column("report_id", String(253), nullable=False),
    Column("sender", String(320), nullable=False),
    Column("begins_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("policy", String(64), nullable=False),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("received_at", Moment, nullable=False),
    UniqueConstraint("workspace_id", "kind", "domain", "reporter", "report_id"),
    Index("ix_domain_reports_workspace_id_ends_at", "workspace_id", "ends_at"),
    Index("ix_domain_reports_received_at", "received_at"),
)

domain_report_rows = Table(
    "domain_report_rows",
    metadata,
    Column("report_ref", String(48), ForeignKey("domain_reports.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _workspace(),
    # The address that sent; empty in TLS reports.
    Column("source", String(45), nullable=False),
    # Messages or TLS sessions, and how many of them were aligned or succeeded.
    Column("total", BigInteger, nullable=False),
    Column("good", BigInteger, nullable=False),
    Column("detail", Json, nullable=False),
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
    _workspace(),
    Column("not_before", Moment, nullable=False),
    Index("ix_removed_objects_not_before", "not_before"),
)

# --- trust: what an agent may do for whom, and what waits for a person's yes -----------------

list_entries = Table(
    "list_entries",
    metadata,
    _id(),
    _workspace(),
    # The address of ours that it is about; empty for all of the workspace.
    Column("mailbox", String(320), nullable=False, server_default=""),
    # `send`, `receive` or `reply`; then `allow` or `block`.
    Column("what", String(8), nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("pattern", String(320), nullable=False),
    Column("note", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("workspace_id", "pattern", "what", "mailbox"),
)

policies = Table(
    "policies",
    metadata,
    Column("workspace_id", String(48), ForeignKey("workspaces.id"), primary_key=True),
    # Empty for the workspace's own: a NULL is no part of a key.
    Column("agent_id", String(48), primary_key=True),
    # Every one that ever held is kept: the ledger names them.
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("cells", Json, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    _id(),
    _workspace(),
    # `outbound`: a frozen draft; `inbound`: a mail that waits before its agent.
    Column("direction", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    Column("turn_id", String(48)),
    # The thread's last message when it was asked: what the yes is bound to beside the digest.
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("outgoing", Json),
    Column("digest", String(64), nullable=False),
    Column("reasons", Json, nullable=False),
    Column("assessment", Json),
    # What people changed before they decided: who, when, both digests, the difference.
    Column("edits", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    # What its end does: `reject` or `approve`.
    Column("at_expiry", String(8), nullable=False),
    Column("remind_at", Moment),
    Column("reminders", Integer, nullable=False),
    Column("decided_at", Moment),
    Column("decided_by", Text),
    Column("decision", Text, nullable=False, server_default=""),
    Column("outbound_id", String(48)),
    Index("ix_approvals_workspace_id_created_at", "workspace_id", "created_at"),
    Index("ix_approvals_thread_id", "thread_id"),
    Index("ix_approvals_delivery_id", "delivery_id"),
    _where("ix_approvals_waiting", "expires_at", "state = 'waiting'"),
    # One turn freezes at most one draft.
    Index("uq_approvals_turn_id", "turn_id", unique=True),
)

approval_invitations = Table(
    "approval_invitations",
    metadata,
    _id(),
    _workspace(),
    Column("approval_id", String(48), ForeignKey("approvals.id"), nullable=False),
    Column("person", String(320), nullable=False),
    Column("reply_key", String(16), nullable=False, unique=True),
    # Of the draft that this person was shown: another one is not approved by this token.
    Column("digest", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    # The delivery that brought the decision: an invitation is used once.
    Column("used_by", String(48)),
    Index("ix_approval_invitations_approval_id", "approval_id"),
)

# --- what agents do beside answering, and what they keep -------------------------------------

tool_calls = Table(
    "tool_calls",
    metadata,
    _id(),
    _workspace(),
    Column("turn_id", String(48), ForeignKey("turns.id"), nullable=False),
    # The agent's own name for this call in the turn: the same again is the same call.
    Column("call", String(128), nullable=False),
    Column("thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("wish", Json, nullable=False),
    # `asked` (a person must agree), `started`, `done`, `failed`, `unknown`, `refused`.
    Column("state", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("result", Json),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("decided_by", Text),
    UniqueConstraint("turn_id", "call"),
    Index("ix_tool_calls_workspace_id_created_at", "workspace_id", "created_at"),
    _where("ix_tool_calls_asked", "workspace_id, created_at", "state = 'asked'"),
)

contact_notes = Table(
    "contact_notes",
    metadata,
    _id(),
    _workspace(),
    Column("address", String(320), nullable=False),
    # The mail that it was made of; NULL for a person's own.
    Column("delivery_id", String(48), ForeignKey("deliveries.id")),
    Column("note", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_contact_notes_delivery_id", "delivery_id"),
    Index("ix_contact_notes_workspace_id_address", "workspace_id", "address", "created_at"),
)

reminders = Table(
    "reminders",
    metadata,
    _id(),
    _workspace(),
    Column("thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    # `follow_up`, `wait` (an agent's wish), `answer` (a colleague's).
    Column("kind", String(16), nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("text", Text, nullable=False),
    Column("author", String(320), nullable=False),
    # Whether it stands when the writer writes before it is due.
    Column("keep", Boolean, nullable=False),
    # `waiting`, `due`, `used`, `cancelled`.
    Column("state", String(16), nullable=False),
    Column("turn_id", String(48)),
    Column("created_at", Moment, nullable=False),
    Index("ix_reminders_thread_id", "thread_id"),
    _where("ix_reminders_waiting", "due_at", "state = 'waiting'"),
)

questions = Table(
    "questions",
    metadata,
    # The thread that holds the question, and the one whose case it is about.
    Column("thread_id", String(48), ForeignKey("threads.id"), primary_key=True),
    _workspace(),
    Column("case_thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    Column("person", String(320), nullable=False),
    Column("asked_at", Moment, nullable=False),
    Index("ix_questions_case_thread_id", "case_thread_id"),
)

thread_summaries = Table(
    "thread_summaries",
    metadata,
    Column("thread_id", String(48), ForeignKey("threads.id"), primary_key=True),
    _workspace(),
    Column("until", Moment, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

turn_callbacks = Table(
    "turn_callbacks",
    metadata,
    # What a program answered later, once.
    Column("turn_id", String(48), ForeignKey("turns.id"), primary_key=True),
    _workspace(),
    Column("answered_at", Moment, nullable=False),
    Column("answer", Json, nullable=False),
)

agent_secrets = Table(
    "agent_secrets",
    metadata,
    # What an agent's own addresses need: `webhook`, `tasks`, `calendars`, `mcp:<name>`.
    Column("agent_id", String(48), ForeignKey("agents.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    _workspace(),
    Column("sealed", LargeBinary, nullable=False),
    Column("changed_at", Moment, nullable=False),
)

http_tools = Table(
    "http_tools",
    metadata,
    _id(),
    _workspace(),
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
    # Sealed: header fields with their secrets, which no model sees.
    Column("headers", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("agent_id", "name"),
)

# --- trying before trusting ------------------------------------------------------------------

evaluation_cases = Table(
    "evaluation_cases",
    metadata,
    _id(),
    _workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    # `examples` came with the agent's file, `feedback` from people; others are made by name.
    Column("set_name", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    # A mail that came in, or one that is kept here.
    Column("delivery_id", String(48), ForeignKey("deliveries.id")),
    Column("message", LargeBinary),
    Column("expected", Json, nullable=False),
    # What a person said of the answer: 1 (wrong) to 5 (right), and why.
    Column("rating", Integer),
    Column("note", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("agent_id", "set_name", "name"),
    _where("ix_evaluation_cases_delivery_id", "delivery_id", "delivery_id IS NOT NULL"),
)

evaluation_runs = Table(
    "evaluation_runs",
    metadata,
    _id(),
    _workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("set_name", String(64), nullable=False),
    # What was tried in place of the agent as it is; empty for the agent itself.
    Column("candidate", Text, nullable=False),
    Column("cases", Integer, nullable=False),
    Column("passed", Integer, nullable=False),
    Column("score", Numeric(5, 4)),
    Column("cost_usd", Numeric(12, 6)),
    # For each case what was decided and what was missed; no word of a mail.
    Column("results", Json, nullable=False),
    Column("author", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment, nullable=False),
    Index("ix_evaluation_runs_agent_id_started_at", "agent_id", "started_at"),
)

assessments = Table(
    "assessments",
    metadata,
    # How the agent read the mails of a turn, and what it would have answered.
    Column("turn_id", String(48), ForeignKey("turns.id"), primary_key=True),
    _workspace(),
    Column("fields", Json, nullable=False),
    Column("suggested", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

# --- the house's own ------------------------------------------------------------------------

schedules = Table(
    "schedules",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("every_seconds", Integer, nullable=False),
    *_claim(),
)

versions = Table(
    "versions",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Integer, nullable=False),
)

zone_serials = Table(
    "zone_serials",
    metadata,
    # Which content of a zone has which serial, so that every process serves the same.
    Column("zone", String(253), primary_key=True),
    Column("serial", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("changed_at", Moment, nullable=False),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _workspace(),
    Column("delivery_id", String(48)),
    Column("outbound_id", String(48)),
    Column("at", Moment, nullable=False),
    Column("step", String(24), nullable=False),
    Column("what", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Index("ix_ledger_delivery_id", "delivery_id"),
    Index("ix_ledger_outbound_id", "outbound_id"),
)
