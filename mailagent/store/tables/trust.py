"""What may an agent do for whom, and what waits for a person's yes?"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from mailagent.store.tables.columns import its_workspace, metadata, own_id, where
from mailagent.store.types import Json, Moment

__all__ = ["approval_invitations", "approvals", "list_entries", "policies"]

list_entries = Table(
    "list_entries",
    metadata,
    own_id(),
    its_workspace(),
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
    own_id(),
    its_workspace(),
    # `draft`: a frozen mail; `call`: of a tool; `mail`: one that waits before its agent.
    Column("kind", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    # Both NULL for a mail that a rule holds before it has found its agent and thread.
    Column("agent_id", String(48), ForeignKey("agents.id")),
    Column("thread_id", String(48), ForeignKey("threads.id")),
    Column("turn_id", String(48)),
    # The thread's last message when it was asked: what the yes is bound to beside the digest.
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("call_id", String(48), ForeignKey("tool_calls.id")),
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
    where("ix_approvals_waiting", "expires_at", "state = 'waiting'"),
    # One turn freezes at most one draft.
    where("uq_approvals_turn_id", "turn_id", "kind = 'draft'", unique=True),
    where("uq_approvals_call_id", "call_id", "call_id IS NOT NULL", unique=True),
)

approval_invitations = Table(
    "approval_invitations",
    metadata,
    own_id(),
    its_workspace(),
    Column("approval_id", String(48), ForeignKey("approvals.id"), nullable=False),
    Column("person", String(320), nullable=False),
    Column("reply_key", String(16), nullable=False, unique=True),
    # Of what this person was shown: another draft is not approved by this token.
    Column("digest", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    # The delivery that brought the decision: an invitation is used once.
    Column("used_by", String(48)),
    Index("ix_approval_invitations_approval_id", "approval_id"),
)
