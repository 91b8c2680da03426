"""What would become of a mail, and what would its agent do?

Route, think and decide run as they do in the flow, over real rows, in transactions that are undone.
The agent thinks between two of them; what its tools would have done outside is told, not done. So
nothing is sent, kept or changed, and nobody hears of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from mailagent.agents import Passage, Profile, Step, Summary, Turn, several
from mailagent.agents.tools import Tool, ToolResult, checked
from mailagent.agents.trust import Ask, Do, Refuse, decide
from mailagent.agents.turn import JsonValue
from mailagent.errors import (
    Conflict,
    Malformed,
    Misconfigured,
    NotFound,
    SandboxFailure,
    TransientFailure,
)
from mailagent.flow import given, read, threads
from mailagent.flow import reply as replying
from mailagent.flow.answers import destination
from mailagent.flow.decide import forged, proven
from mailagent.flow.outcome import Closing, Outcome, conclude
from mailagent.flow.route import route
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.think import SITUATION
from mailagent.flow.tools import Case, open_case
from mailagent.flow.tools.families import INSIDE
from mailagent.flow.values import load_mails
from mailagent.mail import Mail, Thread
from mailagent.outgoing import Assessment, Handoff, Reply, Silence
from mailagent.store import documents
from mailagent.store.tables import approvals, deliveries, outbound_mails, raw_messages
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["Brought", "Prepare", "Rehearsed", "Stored", "Used", "rehearse"]

_ASKED = "Not done: a person must agree first. In this trial nobody is asked. Do not try it again."
_REFUSED = "Not done: this may not be done for whoever wrote this mail."
_NOT_ASKED = "In this trial nothing outside is asked, so there is no answer. Go on without it."
_WOULD = "Taken as done: this is a trial, so nothing was changed outside."
_MOST_CALLS = 60

Prepare = Callable[[Transaction], None]
"""What is changed first, in each transaction that is undone: another prompt, model or rule."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A mail that came in, by its delivery; its turn's other mails belong to it."""

    delivery_id: str


@dataclass(frozen=True, slots=True)
class Brought:
    """A mail that never came in: its octets, and what was read of them."""

    raw: bytes
    mail: Mail
    """Its `delivery_id` and `workspace_id` are not looked at."""


@dataclass(frozen=True, slots=True)
class Used:
    """One call of a tool: `state` is `done` (looked up), `would do`, `would ask`, `refused`,
    `not asked` (it reads outside) or `failed`.
    """

    name: str
    wish: JsonValue
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would become of the mail."""

    state: DeliveryState
    reason: str
    agent_id: str | None
    """Who would get it; None when nobody would."""
    route_why: str
    standing: str = ""
    """Of its writer, in the policy's words; empty when no agent was asked."""
    to: tuple[str, ...] = ()
    """Whom the answer would go to."""
    text: str = ""
    """The answer, as it would leave or wait; what a notice would tell the writer."""
    assessment: Assessment | None = None
    tools: tuple[Used, ...] = ()
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """None when the price of a model is not known."""
    took: timedelta = timedelta()


async def rehearse(
    services: Services,
    workspace_id: str,
    agent_id: str,
    subject: Stored | Brought,
    *,
    prepare: Prepare | None = None,
) -> Rehearsed:
    """Have an agent get a mail, and undo it. Budgets and limits of a day are not looked at.

    Raises NotFound; Conflict when the mail cannot be tried (not read yet, its content removed).
    """
    store = services.store
    stage = _Stage(services, workspace_id, agent_id, subject, prepare or _nothing)
    opening = await store.rehearse(workspace_id, stage.open)
    if isinstance(opening, Rehearsed):
        return opening
    steps = _Steps()
    tools = _Tools(stage, opening)
    turn = Turn(
        id=stage.turn_id,
        profile=opening.profile,
        mails=opening.mails,
        thread=opening.thread,
        tools=tools,
        steps=steps,
        memory=_Memory(opening.summary),
    )
    begun = store.now()
    outcome: Outcome | str
    try:
        outcome = await _think(services, opening, turn)
    except Misconfigured as error:
        outcome = f"the agent is not set up: {error}"
    except TransientFailure as error:
        outcome = f"the agent did not answer: {error.reason}"
    took = store.now() - begun
    if isinstance(outcome, str):
        ended = _told(opening, DeliveryState.FAILED, outcome)
    else:
        ended = await store.rehearse(workspace_id, stage.close, outcome)
    return replace(ended, tools=tuple(tools.used), took=took, **steps.cost())


async def _think(services: Services, opening: _Opening, turn: Turn) -> Outcome | str:
    if "webhook" in several.kinds_of(opening.processor):
        # People's own program may act on what it is told: it cannot know a trial from a turn.
        return "a webhook answers for this agent, and none is asked in a trial"
    agent = several.named(opening.processor, services.processor)
    deadline = services.store.now() + services.settings.turn_deadline
    return await agent.think(turn, deadline=deadline)


def _nothing(_: Transaction) -> None:
    """The agent as it stands."""


# --- what stands on the stage -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Opening:
    """A turn that may be thought."""

    agent_id: str
    route_why: str
    processor: str
    profile: Profile
    mails: tuple[Mail, ...]
    thread: Thread
    case: Case
    summary: Summary | None


@dataclass(frozen=True)
class _Stage:
    """The rows that a rehearsal needs, made anew in each of its transactions."""

    services: Services
    workspace_id: str
    agent_id: str
    subject: Stored | Brought
    prepare: Prepare
    turn_id: str = field(default_factory=lambda: new_id("trn"))
    delivery_id: str = field(default_factory=lambda: new_id("dlv"))

    def open(self, tx: Transaction) -> _Opening | Rehearsed:
        """Change what is to be changed, and go as far as the flow goes before an agent thinks."""
        self.prepare(tx)
        row, mails = self._mails(tx)
        last = mails[-1]
        if disowned := forged(last):
            return Rehearsed(DeliveryState.QUARANTINED, disowned, None, "")
        place, agent_id = destination(tx, row)
        decision = route(tx, last, place=place, agent_id=agent_id)
        if decision.action != "agent" or decision.agent_id is None:
            rejected = decision.action == "reject"
            state = DeliveryState.REJECTED if rejected else DeliveryState.HELD
            return Rehearsed(state, decision.why, None, decision.why)
        if decision.agent_id != self.agent_id:
            why = "another agent gets it"
            return Rehearsed(DeliveryState.ROUTED, why, decision.agent_id, decision.why)
        return self._with_agent(tx, row, mails, decision.why)

    def _with_agent(
        self, tx: Transaction, row: AnyRow, mails: tuple[Mail, ...], route_why: str
    ) -> _Opening | Rehearsed:
        services, last = self.services, mails[-1]
        joined = self._thread(tx, row, last)
        if isinstance(self.subject, Brought):
            read.write_message(tx, last, {"agent_id": self.agent_id, "thread_id": joined.thread_id})
        order = read.next_order(tx, services, last, self.agent_id, joined)
        if order.state is not DeliveryState.ROUTED:
            return Rehearsed(order.state, order.reason, self.agent_id, route_why)
        thread = tx.row(SITUATION, {"thread": joined.thread_id})
        assert thread is not None
        sender = replying.sender_of(tx, self.agent_id, written_to=last.recipient)
        history = _before(tx, thread, mails)
        case = open_case(
            tx,
            thread,
            turn_id=self.turn_id,
            thread=thread,
            mails=mails,
            followed=bool(history.entries),
        )
        summary = given.summary_of(tx, joined.thread_id)
        known = summary is not None and summary.until < mails[0].received_at
        return _Opening(
            agent_id=self.agent_id,
            route_why=route_why,
            processor=thread.processor or services.settings.default_processor,
            profile=given.profile(tx, services, thread, sender.mailbox.address),
            mails=mails,
            thread=history,
            case=case,
            summary=summary if known else None,
        )

    def close(self, tx: Transaction, outcome: Outcome) -> Rehearsed:
        """Do all that follows from an outcome, and tell what it was."""
        opening = self.open(tx)
        if isinstance(opening, Rehearsed):
            return opening
        closing = Closing(
            self.turn_id,
            opening.case.thread_id,
            self.agent_id,
            opening.mails,
            bool(opening.thread.entries),
        )
        state, reason = conclude(tx, self.services, closing, outcome)
        if state is DeliveryState.WAITING_FOR_APPROVAL:
            reason = reason.partition(": ")[2]  # without the id of what is undone
        told = _told(opening, state, reason, _assessment(outcome))
        outgoing = self._frozen(tx)
        if outgoing is None:
            return replace(told, text=_words(outcome))
        to = (*outgoing["to"], *outgoing["cc"], *outgoing["bcc"])
        return replace(told, to=tuple(one["address"] for one in to), text=outgoing["text"])

    def _frozen(self, tx: Transaction) -> Mapping[str, Any] | None:
        """The mail that would leave, or wait for a person's yes."""
        for table in (outbound_mails, approvals):
            found: Mapping[str, Any] | None = tx.value(
                select(table.c.outgoing).where(
                    table.c.turn_id == self.turn_id, table.c.outgoing.is_not(None)
                )
            )
            if found is not None:
                return found
        return None

    # --- rows ---

    def _mails(self, tx: Transaction) -> tuple[AnyRow, tuple[Mail, ...]]:
        match self.subject:
            case Stored(delivery_id):
                return _stored(tx, delivery_id)
            case Brought(raw, mail):
                made = replace(mail, delivery_id=self.delivery_id, workspace_id=self.workspace_id)
                return _accepted(tx, raw, made), (made,)

    def _thread(self, tx: Transaction, row: AnyRow, mail: Mail) -> threads.Joined:
        """The thread that the mail is in, or would join."""
        if row.thread_id is not None and row.agent_id == self.agent_id:
            earlier = select(deliveries.c.id).where(
                deliveries.c.thread_id == row.thread_id,
                deliveries.c.received_at < mail.received_at,
            )
            new = tx.value(earlier.limit(1)) is None
            return threads.Joined(row.thread_id, new=new, why="the thread it is in")
        authenticated = proven(mail) is not None
        return threads.join(
            tx, self.services.secrets, mail, self.agent_id, authenticated=authenticated
        )


def _stored(tx: Transaction, delivery_id: str) -> tuple[AnyRow, tuple[Mail, ...]]:
    row = tx.row(select(deliveries).where(deliveries.c.id == delivery_id))
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id[:80]}")
    if row.content_removed_at is not None:
        raise Conflict(f"{delivery_id} cannot be tried: its content was removed")
    ids = [delivery_id]
    if row.turn_id is not None:
        of_turn = select(deliveries.c.id).where(
            deliveries.c.turn_id == row.turn_id, deliveries.c.content_removed_at.is_(None)
        )
        ids = [one.id for one in tx.rows(of_turn)]
    mails = tuple(load_mails(tx, ids))
    if not mails:
        raise Conflict(f"{delivery_id} is {row.state}: it has not been read, so it cannot be tried")
    return row, mails


def _accepted(tx: Transaction, raw: bytes, mail: Mail) -> AnyRow:
    raw_id = new_id("raw")
    tx.insert(
        raw_messages,
        {
            "id": raw_id,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "size_bytes": len(raw),
            "received_at": mail.received_at,
            "content": raw,
        },
    )
    tx.insert(
        deliveries,
        {
            "id": mail.delivery_id,
            "raw_id": raw_id,
            "source": "trial",
            "source_id": mail.delivery_id,
            "recipient": mail.recipient,
            "mail_from": mail.mail_from,
            "origin": {"received_at": mail.received_at.isoformat()},
            "place": "agent",
            "received_at": mail.received_at,
            "state": DeliveryState.READ,
            "not_before": tx.now,
        },
    )
    row = tx.row(select(deliveries).where(deliveries.c.id == mail.delivery_id))
    assert row is not None
    return row


def _before(tx: Transaction, thread: AnyRow, mails: tuple[Mail, ...]) -> Thread:
    """The conversation as it was when the mails came: later answers are not given away."""
    ids = [mail.delivery_id for mail in mails]
    history = threads.history(tx, thread.id, thread.subject, without=ids)
    earliest = mails[0].received_at
    return replace(history, entries=tuple(e for e in history.entries if e.at < earliest))


def _told(
    opening: _Opening, state: DeliveryState, reason: str, assessment: Assessment | None = None
) -> Rehearsed:
    return Rehearsed(
        state,
        reason,
        opening.agent_id,
        opening.route_why,
        standing=opening.case.standing.word,
        assessment=assessment,
    )


def _assessment(outcome: Outcome) -> Assessment | None:
    return outcome.assessment


def _words(outcome: Outcome) -> str:
    match outcome:
        case Reply():
            return outcome.text
        case Handoff():
            return outcome.notice or ""
        case Silence():
            return ""


# --- what the agent is given ------------------------------------------------------------------


class _Steps:
    """The steps of one rehearsal: nothing outlives it."""

    def __init__(self) -> None:
        self.past: Sequence[Step] = ()
        self._usage: list[Mapping[str, Any]] = []

    async def record(self, *steps: Step) -> None:
        """Remember what was spent."""
        for step in steps:
            if step.kind == "usage":
                assert isinstance(step.content, Mapping)
                self._usage.append(step.content)

    def cost(self) -> dict[str, Any]:
        """As fields of `Rehearsed`."""
        costs = [one["cost_usd"] for one in self._usage]
        known = None not in costs
        return {
            "model": str(self._usage[-1]["model"]) if self._usage else "",
            "input_tokens": sum(one["input_tokens"] for one in self._usage),
            "output_tokens": sum(one["output_tokens"] for one in self._usage),
            "cost_usd": sum((Decimal(one) for one in costs), Decimal(0)) if known else None,
        }


class _Memory:
    """The summary that is kept of the thread; another one lives as long as the rehearsal."""

    def __init__(self, summary: Summary | None) -> None:
        self.summary = summary

    async def keep(self, summary: Summary) -> None:
        """For this rehearsal."""
        self.summary = summary


class _Tools:
    """The agent's tools, behind the same policy: inside they run and are undone."""

    def __init__(self, stage: _Stage, opening: _Opening) -> None:
        self._stage, self._case = stage, opening.case
        self.used: list[Used] = []
        self._given: dict[str, ToolResult] = {}

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that are not refused to this writer."""
        case = self._case
        return [
            tool
            for tool in case.tools.values()
            if not isinstance(decide(case.policy, case.standing, tool.action), Refuse)
        ]

    async def use(self, call_id: str, name: str, wish: object) -> ToolResult:
        """What the tool would have given; the same call again gives the same."""
        if call_id not in self._given:
            self._given[call_id] = await self._use(name, wish)
        return self._given[call_id]

    async def _use(self, name: str, wish: object) -> ToolResult:
        tool = self._case.tools.get(name)
        if tool is None:
            return ToolResult("There is no such tool.", is_error=True)
        if len(self.used) >= _MOST_CALLS:
            return ToolResult(f"{_MOST_CALLS} calls in one turn are the most.", is_error=True)
        try:
            wanted: Mapping[str, Any] = checked(tool.input_schema, wish)
        except Malformed as error:
            return ToolResult(str(error), is_error=True)
        case = self._case
        match decide(case.policy, case.standing, tool.action):
            case Refuse(reason, rule):
                return self._tell(tool, wanted, "refused", f"{reason} ({rule})", _error(_REFUSED))
            case Ask(reason, rule):
                return self._tell(tool, wanted, "would ask", f"{reason} ({rule})", _error(_ASKED))
            case Do(rule):
                return await self._do(tool, wanted, rule)

    async def _do(self, tool: Tool, wish: Mapping[str, Any], rule: str) -> ToolResult:
        if tool.name not in INSIDE:
            if tool.effect == "reads":
                return self._tell(tool, wish, "not asked", rule, ToolResult(_NOT_ASKED))
            return self._tell(tool, wish, "would do", rule, ToolResult(_WOULD))
        stage = self._stage
        try:
            result = await stage.services.store.rehearse(
                stage.workspace_id, _inside, stage, tool.name, wish
            )
        except Malformed as error:
            return self._tell(tool, wish, "failed", str(error), _error(str(error)))
        state = "done" if tool.effect == "reads" else "would do"
        return self._tell(tool, wish, state, rule, result)

    def _tell(
        self, tool: Tool, wish: Mapping[str, Any], state: str, why: str, result: ToolResult
    ) -> ToolResult:
        self.used.append(Used(tool.name, wish, state, why))
        return result

    async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
        """The passages that fit a query best."""
        stage = self._stage
        found = await stage.services.store.read(
            stage.workspace_id, documents.search, query, limit=limit
        )
        return [Passage(one.document_id, one.name, one.text, one.score) for one in found]

    async def attachment_text(self, delivery_id: str, part: str) -> str | None:
        """The text of an attachment; None when it has none or cannot be read."""
        found = await self._attached("attachment_text", delivery_id, part)
        return None if found is None else found.decode()[: given.ATTACHMENT_CHARACTERS] or None

    async def attachment_octets(self, delivery_id: str, part: str) -> bytes | None:
        """An attachment as it was sent; None when it cannot be read."""
        return await self._attached("attachment", delivery_id, part)

    async def _attached(self, job: str, delivery_id: str, part: str) -> bytes | None:
        stage = self._stage
        match stage.subject:
            case Stored():
                return await given.attachment(
                    stage.services, stage.workspace_id, job, delivery_id, part
                )
            case Brought(raw, _):
                try:
                    return await stage.services.sandbox.run(
                        f"mailagent.reading:{job}", raw, {"part": part}
                    )
                except (Malformed, NotFound, SandboxFailure):
                    return None


def _inside(tx: Transaction, stage: _Stage, name: str, wish: Mapping[str, Any]) -> ToolResult:
    opening = stage.open(tx)
    if isinstance(opening, Rehearsed):
        return _error("The case has changed meanwhile.")
    return INSIDE[name](tx, stage.services, opening.case, wish)


def _error(text: str) -> ToolResult:
    return ToolResult(text, is_error=True)
