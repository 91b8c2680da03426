"""What is an agent given for one turn, and what is kept of what it did?

The values of `mailagent.agents.turn` over rows, each write fenced by the turn's claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, select, update

from mailagent.agents import Endpoint, Passage, Profile, Step, Summary
from mailagent.errors import Delivery, Malformed, NotFound, SandboxFailure
from mailagent.flow import agent_secrets, limits, octets
from mailagent.flow.services import Services
from mailagent.flow.tools import Case, Toolbox
from mailagent.flow.values import ORIGIN, form_of
from mailagent.store import documents
from mailagent.store.tables import (
    deliveries,
    raw_messages,
    thread_summaries,
    turn_steps,
    turns,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim, Queue, holds

__all__ = [
    "ATTACHMENT_CHARACTERS",
    "ThreadMemory",
    "TurnSteps",
    "TurnTools",
    "attachment",
    "profile",
    "summary_of",
    "usage",
]

ATTACHMENT_CHARACTERS = 100_000
"""Of the text of one attachment, for a model."""


def profile(tx: Transaction, services: Services, agent: AnyRow, address: str) -> Profile:
    """Who the agent is: `agent` has its columns, and its workspace's name and settings."""
    settings = agent.agent_settings or {}
    spoken = limits.merged_of(agent.workspace_settings or {}, settings)
    endpoint = None
    if url := settings.get("webhook_url"):
        secret = agent_secrets.read(tx, services.secrets, agent.agent_id, "webhook")
        endpoint = Endpoint(url, secret) if secret else None
    return Profile(
        name=agent.name,
        address=address,
        workspace_name=agent.workspace_name,
        instructions=agent.instructions,
        languages=spoken.languages,
        model=settings.get("model", ""),
        price=settings.get("price", ""),
        most_questions=settings.get("most_questions"),
        history_tokens=settings.get("history_tokens"),
        endpoint=endpoint,
    )


_SUMMARY = select(thread_summaries.c.until, thread_summaries.c.text).where(
    thread_summaries.c.thread_id == bindparam("thread")
)


def summary_of(tx: Transaction, thread_id: str) -> Summary | None:
    """What is kept of the thread's older mails."""
    row = tx.row(_SUMMARY, {"thread": thread_id})
    return None if row is None else Summary(row.until, row.text)


_TURN = update(turns).where(turns.c.id == bindparam("turn"))
_USED = select(turn_steps.c.content).where(
    turn_steps.c.turn_id == bindparam("turn"), turn_steps.c.kind == "usage"
)


def usage(tx: Transaction, turn_id: str) -> dict[str, Any]:
    """What a turn has cost so far, as columns of its row."""
    rows = tx.rows(_USED, {"turn": turn_id})
    if not rows:
        return {}
    used = [row.content for row in rows]
    costs = [one.get("cost_usd") for one in used]
    return {
        "model": used[-1].get("model"),
        "input_tokens": sum(one["input_tokens"] for one in used),
        "output_tokens": sum(one["output_tokens"] for one in used),
        "cost_usd": None if None in costs else sum(Decimal(cost) for cost in costs),
    }


class TurnSteps:
    """The steps of a turn: durable on return, fenced by the turn's claim."""

    def __init__(
        self, services: Services, queue: Queue, claim: Claim, turn_id: str, past: Sequence[Step]
    ) -> None:
        self._services, self._queue, self._claim = services, queue, claim
        self._turn_id = turn_id
        self.past = past
        self._next = len(past)

    @property
    def kept(self) -> int:
        """How many there are, those of `past` among them."""
        return self._next

    async def record(self, *steps: Step) -> None:
        """Keep steps; a resumed turn finds them in `past`."""
        await self._services.store.write(
            self._claim.workspace_id,
            _keep,
            self._queue,
            self._claim,
            self._turn_id,
            self._next,
            steps,
        )
        self._next += len(steps)


def _keep(
    tx: Transaction,
    queue: Queue,
    claim: Claim,
    turn_id: str,
    position: int,
    steps: Sequence[Step],
) -> None:
    holds(tx, queue, claim)
    rows = [
        {
            "turn_id": turn_id,
            "position": number,
            "kind": step.kind,
            "content": step.content,
            "at": tx.now,
        }
        for number, step in enumerate(steps, position)
    ]
    tx.insert(turn_steps, *rows)
    if any(step.kind == "usage" for step in steps):
        # At once, not at the turn's end: a cap in money counts what running turns have cost.
        tx.execute(_TURN, {"turn": turn_id, **usage(tx, turn_id)})


class ThreadMemory:
    """What is kept of a thread between turns, fenced by the turn's claim."""

    def __init__(
        self, services: Services, queue: Queue, claim: Claim, summary: Summary | None
    ) -> None:
        self._services, self._queue, self._claim = services, queue, claim
        self.summary = summary

    async def keep(self, summary: Summary) -> None:
        """Keep a summary in the place of the one before."""
        await self._services.store.write(
            self._claim.workspace_id, _keep_summary, self._queue, self._claim, summary
        )
        self.summary = summary


def _keep_summary(tx: Transaction, queue: Queue, claim: Claim, summary: Summary) -> None:
    holds(tx, queue, claim)
    row = {
        "thread_id": claim.id,
        "until": summary.until,
        "text": summary.text,
        "created_at": tx.now,
    }
    tx.insert_or_update(thread_summaries, row, unique=["thread_id"])


class TurnTools(Toolbox):
    """What an agent may look at and do: its tools, and the attachments it was sent."""

    def __init__(self, services: Services, queue: Queue, claim: Claim, case: Case) -> None:
        super().__init__(services, claim, queue, case)
        self._services, self._workspace_id = services, claim.workspace_id

    async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
        """The passages that fit a query best."""
        found = await self._services.store.read(
            self._workspace_id, documents.search, query, limit=limit, last=True
        )
        return [Passage(one.document_id, one.name, one.text, one.score) for one in found]

    async def attachment_text(self, delivery_id: str, part: str) -> str | None:
        """The text of an attachment; None when it has none or cannot be read."""
        found = await self._read("attachment_text", delivery_id, part)
        return None if found is None else found.decode()[:ATTACHMENT_CHARACTERS] or None

    async def attachment_octets(self, delivery_id: str, part: str) -> bytes | None:
        """An attachment as it was sent; None when it cannot be read."""
        return await self._read("attachment", delivery_id, part)

    async def _read(self, job: str, delivery_id: str, part: str) -> bytes | None:
        return await attachment(self._services, self._workspace_id, job, delivery_id, part)


async def attachment(
    services: Services, workspace_id: str, job: str, delivery_id: str, part: str
) -> bytes | None:
    """What a job of `mailagent.reading` makes of an attachment; None when it cannot be read."""
    row = await services.store.read(workspace_id, _raw_of, delivery_id)
    if row is None:
        return None
    try:
        raw = await octets.whole(services.raw_store, row)
        if raw is None:
            return None
        arguments = {"part": part, **form_of(ORIGIN.validate_python(row.origin))}
        return await services.sandbox.run(f"mailagent.reading:{job}", raw, arguments)
    except (Delivery, Malformed, NotFound, SandboxFailure):
        return None


def _raw_of(tx: Transaction, delivery_id: str) -> AnyRow | None:
    return tx.row(
        select(*octets.COLUMNS, deliveries.c.origin)
        .join(deliveries, deliveries.c.raw_id == raw_messages.c.id)
        .where(deliveries.c.id == delivery_id)
    )
