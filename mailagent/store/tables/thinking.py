"""What does an agent do with a mail, and what does it keep?"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from mailagent.store.tables.columns import claim, its_workspace, metadata, own_id, where
from mailagent.store.types import Json, Moment

__all__ = [
    "assessments",
    "contact_notes",
    "evaluation_cases",
    "evaluation_runs",
    "questions",
    "reminders",
    "thread_summaries",
    "tool_calls",
    "trial_mails",
    "trials",
    "turn_callbacks",
    "turn_steps",
    "turns",
]

turns = Table(
    "turns",
    metadata,
    own_id(),
    its_workspace(),
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
    where("uq_turns_running_thread", "thread_id", "state = 'running'", unique=True),
    Index("ix_turns_workspace_id_started_at", "workspace_id", "started_at"),
    Index("ix_turns_workspace_id_sender_started_at", "workspace_id", "sender", "started_at"),
)

turn_steps = Table(
    "turn_steps",
    metadata,
    Column("turn_id", String(48), ForeignKey("turns.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    its_workspace(),
    Column("kind", String(32), nullable=False),
    Column("content", Json, nullable=False),
    Column("at", Moment, nullable=False),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    own_id(),
    its_workspace(),
    Column("turn_id", String(48), ForeignKey("turns.id"), nullable=False),
    # The agent's own name for this call in the turn: the same again is the same call.
    Column("call", String(128), nullable=False),
    Column("thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("wish", Json, nullable=False),
    # `asked` (a person must agree), `agreed` (to be done by a worker), `started`, `done`, `failed`,
    # `unknown`, `refused`.
    Column("state", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("result", Json),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("decided_by", Text),
    # Of an agreed call: from then on the far side may have heard of it.
    Column("begun_at", Moment),
    *claim(),
    UniqueConstraint("turn_id", "call"),
    Index("ix_tool_calls_workspace_id_created_at", "workspace_id", "created_at"),
    where("ix_tool_calls_asked", "workspace_id, created_at", "state = 'asked'"),
    where("ix_tool_calls_agreed", "not_before", "state = 'agreed'"),
)

contact_notes = Table(
    "contact_notes",
    metadata,
    own_id(),
    its_workspace(),
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
    own_id(),
    its_workspace(),
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
    where("ix_reminders_waiting", "due_at", "state = 'waiting'"),
)

questions = Table(
    "questions",
    metadata,
    # The thread that holds the question, and the one whose case it is about.
    Column("thread_id", String(48), ForeignKey("threads.id"), primary_key=True),
    its_workspace(),
    Column("case_thread_id", String(48), ForeignKey("threads.id"), nullable=False),
    Column("person", String(320), nullable=False),
    Column("asked_at", Moment, nullable=False),
    Index("ix_questions_case_thread_id", "case_thread_id"),
)

thread_summaries = Table(
    "thread_summaries",
    metadata,
    Column("thread_id", String(48), ForeignKey("threads.id"), primary_key=True),
    its_workspace(),
    Column("until", Moment, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

turn_callbacks = Table(
    "turn_callbacks",
    metadata,
    # What a program answered later, once.
    Column("turn_id", String(48), ForeignKey("turns.id"), primary_key=True),
    its_workspace(),
    Column("answered_at", Moment, nullable=False),
    Column("answer", Json, nullable=False),
)

assessments = Table(
    "assessments",
    metadata,
    # How the agent read the mails of a turn, and what it would have answered.
    Column("turn_id", String(48), ForeignKey("turns.id"), primary_key=True),
    its_workspace(),
    Column("fields", Json, nullable=False),
    Column("suggested", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

evaluation_cases = Table(
    "evaluation_cases",
    metadata,
    own_id(),
    its_workspace(),
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
    where("ix_evaluation_cases_delivery_id", "delivery_id", "delivery_id IS NOT NULL"),
)

evaluation_runs = Table(
    "evaluation_runs",
    metadata,
    own_id(),
    its_workspace(),
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

trials = Table(
    "trials",
    metadata,
    # Trials of past mail whose questions go in batches.
    own_id(),
    its_workspace(),
    Column("agent_id", String(48), ForeignKey("agents.id"), nullable=False),
    # What is tried in place of the agent as it is: its file's name, and what that says.
    Column("candidate", Text, nullable=False),
    Column("file", Json),
    Column("since", Moment, nullable=False),
    Column("usd", Numeric(12, 6)),
    # Of the batch that is under way: set just before it is created, and how many questions it has.
    Column("asking_since", Moment),
    Column("asked", Integer, nullable=False),
    # The batch at the model's service whose answers were not all kept yet.
    Column("batch_id", String(200)),
    Column("created_at", Moment, nullable=False),
    Index("ix_trials_created_at", "created_at"),
)
trial_mails = Table(
    "trial_mails",
    metadata,
    Column("trial_id", String(48), ForeignKey("trials.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    its_workspace(),
    Column("delivery_id", String(48), ForeignKey("deliveries.id"), nullable=False),
    # As of a turn, and how many there are: whoever writes says how many it knew.
    Column("steps", Json, nullable=False),
    Column("known", Integer, nullable=False),
    Index("ix_trial_mails_delivery_id", "delivery_id"),
)
