"""Which names in DNS are a workspace's, how do they stand, and what is told of them?"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
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

from mailagent.store.tables.columns import claim, its_workspace, metadata, own_id, where
from mailagent.store.types import EPOCH, Json, Moment

__all__ = [
    "domain_checks",
    "domain_grants",
    "domain_identities",
    "domain_report_rows",
    "domain_reports",
    "domain_steps",
    "domains",
    "signing_keys",
    "zone_answers",
    "zone_records",
    "zone_serials",
    "zone_servers",
]

domains = Table(
    "domains",
    metadata,
    own_id(),
    its_workspace(),
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
    # The columns of `claim`: a row that names no time is checked at once.
    Column("not_before", Moment, nullable=False, default=EPOCH),
    *claim()[1:],
    # The first workspace that verifies a domain owns it; pending claims exclude nobody.
    where("uq_domains_verified_name", "name", "verified_at IS NOT NULL", unique=True),
    Index("uq_domains_workspace_id_name", "workspace_id", "name", unique=True),
    where(
        "ix_domains_due",
        "not_before",
        "state IN ('pending', 'verifying', 'verified') AND removing_at IS NULL",
    ),
    Index("ix_domains_name", "name"),
)

domain_checks = Table(
    "domain_checks",
    metadata,
    own_id(),
    its_workspace(),
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
    own_id(),
    its_workspace(),
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
    *claim(),
    UniqueConstraint("domain_id", "account", "kind"),
    where("ix_domain_steps_due", "not_before", "state = 'due'"),
    Index("ix_domain_steps_account_name", "account", "name"),
)

domain_identities = Table(
    "domain_identities",
    metadata,
    # Who wants a name at a provider: an identity goes when its last row has gone.
    Column("domain_id", String(48), ForeignKey("domains.id", ondelete="CASCADE"), primary_key=True),
    Column("account", String(64), primary_key=True),
    Column("side", String(16), primary_key=True),
    its_workspace(),
    Column("name", String(253), nullable=False),
    # What the provider asked to be published, and its words; NULL before it was asked.
    Column("answer", Json),
    Column("answered_at", Moment),
    Index("ix_domain_identities_account_name", "account", "name"),
)

domain_grants = Table(
    "domain_grants",
    metadata,
    own_id(),
    its_workspace(),
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

zone_serials = Table(
    "zone_serials",
    metadata,
    # Which content of a zone has which serial, so that every process serves the same.
    Column("zone", String(253), primary_key=True),
    Column("serial", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("changed_at", Moment, nullable=False),
)

domain_reports = Table(
    "domain_reports",
    metadata,
    # What another mail system said of a domain of ours; `kind` is `dmarc` or `tls`.
    own_id(),
    its_workspace(),
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
    its_workspace(),
    # The address that sent; empty in TLS reports.
    Column("source", String(45), nullable=False),
    # Messages or TLS sessions, and how many of them were aligned or succeeded.
    Column("total", BigInteger, nullable=False),
    Column("good", BigInteger, nullable=False),
    Column("detail", Json, nullable=False),
)

zone_answers = Table(
    "zone_answers",
    metadata,
    # What an account's provider asks of the default domain, as it said when it was asked last.
    Column("account", String(64), primary_key=True),
    Column("answer", Json, nullable=False),
    Column("answered_at", Moment, nullable=False),
)

zone_records = Table(
    "zone_records",
    metadata,
    # The operator's own records in our zone, beside those that we make.
    own_id(),
    Column("name", String(253), nullable=False),
    Column("type", String(8), nullable=False),
    Column("value", Text, nullable=False),
    Column("priority", Integer),
    Column("created_at", Moment, nullable=False),
    Index("ix_zone_records_name", "name"),
)

zone_servers = Table(
    "zone_servers",
    metadata,
    # Which serial a server had when our name server asked it: itself is "", others `address:port`.
    Column("server", String(64), primary_key=True),
    Column("serial", BigInteger),
    # Why it gave none; empty when it did.
    Column("said", String(300), nullable=False, server_default=""),
    Column("asked_at", Moment, nullable=False),
)
