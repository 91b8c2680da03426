"""What is kept of mail that goes out, and of the accounts that carry it?"""

from __future__ import annotations

from sqlalchemy import (
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

from mailagent.store.tables.columns import claim, its_workspace, metadata, own_id, removal, where
from mailagent.store.types import Json, Moment

__all__ = [
    "account_preferences",
    "account_quotas",
    "account_standings",
    "answer_invitations",
    "events",
    "hand_overs",
    "outbound_mails",
    "outbound_recipients",
    "provider_accounts",
    "submissions",
    "suppressions",
    "waiting_events",
    "warm_ups",
]

outbound_mails = Table(
    "outbound_mails",
    metadata,
    own_id(),
    its_workspace(),
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
    *removal(),
    *claim(),
    UniqueConstraint("workspace_id", "message_id"),
    where("ix_outbound_mails_due", "not_before", "state = 'queued'"),
    Index("ix_outbound_mails_workspace_id_created_at", "workspace_id", "created_at"),
    Index("ix_outbound_mails_agent_id_created_at", "agent_id", "created_at"),
    Index("ix_outbound_mails_thread_id", "thread_id"),
    Index("ix_outbound_mails_answers_delivery_id", "answers_delivery_id"),
    # A reply that was sent touches neither: they hold what is looked for, and seldom is.
    where(
        "ix_outbound_mails_state_workspace_id_created_at",
        "state, workspace_id, created_at",
        "state NOT IN ('queued', 'sent', 'delivered')",
    ),
    where(
        "ix_outbound_mails_purpose_workspace_id_created_at",
        "purpose, workspace_id, created_at",
        "purpose <> 'reply'",
    ),
    where(
        "ix_outbound_mails_told",
        "answers_delivery_id, workspace_id, state, purpose",
        "purpose = 'notice'",
    ),
    # One turn freezes at most one reply, and one event sends at most one notice of a kind.
    Index("uq_outbound_mails_turn_id_purpose", "turn_id", "purpose", unique=True),
)

outbound_recipients = Table(
    "outbound_recipients",
    metadata,
    own_id(),
    its_workspace(),
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
    where("ix_outbound_recipients_warming", "account, warming, sent_at", "warming IS NOT NULL"),
    where("ix_outbound_recipients_unknown", "workspace_id", "state = 'unknown'"),
)

hand_overs = Table(
    "hand_overs",
    metadata,
    own_id(),
    its_workspace(),
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
    its_workspace(),
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
    own_id(),
    its_workspace(),
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
    own_id(),
    its_workspace(),
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
    own_id(),
    its_workspace(),
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
