"""Lists, traces and searches that stay quick in an inbox of a million mails"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

from mailagent.store.mail_search import words_of

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PARTIAL = (
    (
        "ix_deliveries_agent_id_state_received_at",
        "deliveries",
        ["agent_id", "state", "received_at"],
        "state <> 'accepted' AND archived_at IS NULL",
    ),
    (
        "ix_deliveries_state_workspace_id_received_at",
        "deliveries",
        ["state", "workspace_id", "received_at"],
        "state NOT IN ('accepted', 'answered') AND archived_at IS NULL",
    ),
    (
        "ix_deliveries_archived",
        "deliveries",
        ["workspace_id", "archived_at", "received_at"],
        "archived_at IS NOT NULL",
    ),
    ("ix_deliveries_source_id", "deliveries", ["source_id"], "source <> 'smtp'"),
    (
        "ix_outbound_mails_state_workspace_id_created_at",
        "outbound_mails",
        ["state", "workspace_id", "created_at"],
        "state NOT IN ('queued', 'sent', 'delivered')",
    ),
    (
        "ix_outbound_mails_purpose_workspace_id_created_at",
        "outbound_mails",
        ["purpose", "workspace_id", "created_at"],
        "purpose <> 'reply'",
    ),
)
_AT_ONCE = 1_000


def upgrade() -> None:
    for name, table, columns, condition in _PARTIAL:
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    op.create_index(
        "ix_messages_message_id_workspace_id", "messages", ["message_id", "workspace_id"]
    )
    op.drop_index("ix_messages_workspace_id_message_id", "messages")
    op.create_table(
        "message_words",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("workspace_id", sa.String(length=48), nullable=False),
        sa.Column("agent_id", sa.String(length=48), nullable=False),
        sa.Column("message_ref", sa.String(length=48), nullable=False),
        sa.Column("words", sa.Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_message_words_workspace_id")
        ),
        sa.ForeignKeyConstraint(
            ["message_ref"],
            ["messages.id"],
            name=op.f("fk_message_words_message_ref"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_words")),
        sa.UniqueConstraint("message_ref", name=op.f("uq_message_words_message_ref")),
    )
    op.create_index("ix_message_words_agent_id_id", "message_words", ["agent_id", "id"])
    if op.get_bind().dialect.name == "sqlite":
        _make_full_text()
    _index_what_is_there()
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE INDEX ix_message_words_words ON message_words USING gin (words)")


def _make_full_text() -> None:
    # The words come folded and without repetition: nothing is left for a tokenizer to do, and
    # neither positions nor lengths are of use.
    op.execute(
        "CREATE VIRTUAL TABLE message_words_index USING fts5"
        "(words, content='message_words', content_rowid='id', detail=none, columnsize=0, "
        "tokenize=\"ascii tokenchars '_'\")"
    )
    op.execute(
        "CREATE TRIGGER message_words_in AFTER INSERT ON message_words BEGIN "
        "INSERT INTO message_words_index(rowid, words) VALUES (new.id, new.words); END"
    )
    op.execute(
        "CREATE TRIGGER message_words_out AFTER DELETE ON message_words BEGIN "
        "INSERT INTO message_words_index(message_words_index, rowid, words) "
        "VALUES ('delete', old.id, old.words); END"
    )


def _index_what_is_there() -> None:
    """Words for the mails that were read before, in the order in which they were."""
    connection = op.get_bind()
    read = sa.text(
        "SELECT id, workspace_id, agent_id, subject, from_name, from_address, written "
        "FROM messages WHERE id > :last ORDER BY id LIMIT :most"
    )
    keep = sa.text(
        "INSERT INTO message_words (workspace_id, agent_id, message_ref, words) "
        "VALUES (:workspace_id, :agent_id, :id, "
        + (":words)" if connection.dialect.name == "sqlite" else "CAST(:words AS tsvector))")
    )
    last = ""
    while rows := connection.execute(read, {"last": last, "most": _AT_ONCE}).all():
        last = rows[-1].id
        made = [
            {
                "id": row.id,
                "workspace_id": row.workspace_id,
                "agent_id": row.agent_id,
                "words": f"{row.agent_id} "
                + words_of(row.subject, row.from_name, row.from_address, row.written),
            }
            for row in rows
            if row.agent_id is not None
        ]
        if made:
            connection.execute(keep, made)
