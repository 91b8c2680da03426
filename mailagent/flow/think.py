"""Step 4: what does the agent say? One turn a thread at a time.

A claim on a ready thread opens a turn, or resumes the one that a dead process left: its recorded
steps are replayed, so nothing is asked twice. Budgets come first, the agent's call lies between two
transactions, and its outcome is decided and frozen in the second one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Integer,
    Table,
    and_,
    bindparam,
    exists,
    literal_column,
    select,
    update,
)

from mailagent.agents import Profile, Reminder, Step, Summary, Turn, several
from mailagent.agents.limits import Limits
from mailagent.agents.screen import screen
from mailagent.errors import LostClaim, Misconfigured, TransientFailure
from mailagent.flow import (
    assessing,
    budgets,
    callbacks,
    given,
    limits,
    people,
    policies,
    reminding,
    threads,
)
from mailagent.flow import reply as replying
from mailagent.flow.ledger import note
from mailagent.flow.outcome import Closing, Outcome, conclude
from mailagent.flow.services import FlowSettings, Services
from mailagent.flow.standing import foresee_judging, foresee_writers
from mailagent.flow.states import DeliveryState
from mailagent.flow.tools import Case, custom, mcp, open_case
from mailagent.flow.values import foresee_waiting, load_mails, waiting_mails
from mailagent.mail import Mail
from mailagent.outgoing import Handoff
from mailagent.store.standing import of_workspace
from mailagent.store.tables import (
    agents,
    deliveries,
    outbound_mails,
    reminders,
    thread_summaries,
    turn_callbacks,
    turn_steps,
    turns,
    workspaces,
)
from mailagent.store.tables import threads as thread_rows
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import MOST_ATTEMPTS, Claim, Queue, backoff, finish, holds

__all__ = ["SITUATION", "THINKING", "Stopped", "give_up", "think", "what_stops"]

# Bare, as in its partial index: what SQLAlchemy makes of a boolean for SQLite (`ready = 1`) would
# not take that index, and every claim would read all threads there are.
THINKING = Queue("think", thread_rows, literal_column("threads.ready"))

_NO_CAP = 1_000_000
"""So many turns a day are as good as no limit, and not worth counting up to at each turn."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """One turn, ready to be thought."""

    turn_id: str
    agent_id: str
    processor: str
    profile: Profile
    mails: tuple[Mail, ...]
    thread: Any
    past: tuple[Step, ...]
    case: Case
    summary: Summary | None
    reminders: tuple[Reminder, ...]
    callback: callbacks.TurnCallback


async def think(services: Services, claim: Claim) -> None:
    """Have the agent answer what waits in one claimed thread."""
    store, workspace_id = services.store, claim.workspace_id
    opened = await store.write(workspace_id, _open, services, claim)
    if opened is None:
        return
    structlog.contextvars.bind_contextvars(mail_id=opened.mails[-1].delivery_id)
    steps = given.TurnSteps(services, THINKING, claim, opened.turn_id, opened.past)
    case = opened.case
    if case.settings.get("mcp_servers"):
        others = await mcp.tools_of(services, case)
        case = replace(case, tools={**case.tools, **others})
    turn = Turn(
        id=opened.turn_id,
        profile=opened.profile,
        mails=opened.mails,
        thread=opened.thread,
        tools=given.TurnTools(services, THINKING, claim, case),
        steps=steps,
        memory=given.ThreadMemory(services, THINKING, claim, opened.summary),
        callback=opened.callback,
        reminders=opened.reminders,
    )
    deadline = store.now() + services.settings.turn_deadline
    outcome: Outcome
    try:
        agent = several.named(opened.processor, services.processor)
        outcome = await agent.think(turn, deadline=deadline)
    except Misconfigured as error:
        # No retry mends a rejected key, and the writer should not wait for whoever does.
        outcome = Handoff(f"the agent is not set up: {error}")
    except TransientFailure as error:
        await store.write(workspace_id, _later, claim, opened, error)
        return
    await store.write(workspace_id, _close, services, claim, opened, outcome, steps.kept)


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """The end of a turn that failed, or over which workers died: its mails are dead letters."""
    turn_id = tx.value(_RUNNING, {"thread": claim.id})
    moved = tx.rows(
        update(deliveries)
        .where(
            deliveries.c.thread_id == claim.id,
            deliveries.c.state.in_([DeliveryState.THINKING, DeliveryState.ROUTED]),
        )
        .values(state=DeliveryState.FAILED, reason=reason[:500])
        .returning(deliveries.c.id)
    )
    for row in moved:
        note(tx, "think", "failed for good", reason, delivery_id=row.id)
    if turn_id is not None:
        _end_turn(tx, turn_id, "failed", reason, given.usage(tx, turn_id))
    finish(tx, THINKING, claim, ready=False)


# --- opening ----------------------------------------------------------------------------------


def _has(table: Table, *which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether there are such rows of the thread: most have none, and then nothing is asked."""
    of_thread = table.c.thread_id == thread_rows.c.id
    ours = table.c.workspace_id == thread_rows.c.workspace_id
    return exists().where(ours, of_thread, *which)


SITUATION = (
    select(
        thread_rows,
        agents.c.name,
        agents.c.instructions,
        agents.c.processor,
        agents.c.handle,
        agents.c.settings.label("agent_settings"),
        workspaces.c.name.label("workspace_name"),
        workspaces.c.settings.label("workspace_settings"),
        workspaces.c.retired_at.label("workspace_retired_at"),
        select(turns.c.id)
        .where(
            turns.c.workspace_id == thread_rows.c.workspace_id,
            turns.c.thread_id == thread_rows.c.id,
            turns.c.state == "running",
        )
        .scalar_subquery()
        .label("running"),
        _has(outbound_mails).label("has_answers"),
        _has(reminders, reminders.c.state.in_(["waiting", "due"])).label("has_reminders"),
        _has(thread_summaries).label("has_summary"),
    )
    .join(agents, agents.c.id == thread_rows.c.agent_id)
    .join(workspaces, workspaces.c.id == thread_rows.c.workspace_id)
    .where(thread_rows.c.id == bindparam("thread"))
)
"""A thread (by `thread`), what is set for its agent and workspace, and what else there is of it."""
_RUNNING = select(turns.c.id, turns.c.processor).where(
    turns.c.thread_id == bindparam("thread"), turns.c.state == "running"
)
_WAITED = update(deliveries).where(
    deliveries.c.id.in_(bindparam("delivery_ids", expanding=True)),
    deliveries.c.state == DeliveryState.ROUTED,
)


def _open(tx: Transaction, services: Services, claim: Claim) -> _Opened | None:
    holds(tx, THINKING, claim)
    foresee_waiting(tx, claim.id)
    foresee_writers(tx, claim.id)
    thread = tx.row(SITUATION, {"thread": claim.id})
    assert thread is not None
    replying.foresee_sender(tx, thread.agent_id)
    policies.foresee(tx, thread.agent_id)
    custom.foresee(tx, thread.agent_id)
    left = _left_turn(tx, claim.id) if thread.running is not None else None
    turn = left or _new_turn(tx, services, thread)
    if turn is None:
        finish(tx, THINKING, claim, ready=False)
        return None
    if isinstance(turn, _AfterOthers):
        _put_off(tx, claim, tx.now + backoff(claim.attempts))
        return None
    sender = replying.sender_of(tx, thread.agent_id, written_to=turn.mails[-1].recipient)
    history = threads.history(
        tx,
        claim.id,
        thread.subject,
        without=[mail.delivery_id for mail in turn.mails],
        answered=thread.has_answers,
    )
    return _Opened(
        turn_id=turn.id,
        agent_id=thread.agent_id,
        processor=turn.processor,
        profile=given.profile(tx, services, thread, sender.mailbox.address),
        mails=turn.mails,
        thread=history,
        past=turn.past,
        case=open_case(
            tx,
            thread,
            turn_id=turn.id,
            thread=thread,
            mails=turn.mails,
            followed=bool(history.entries),
        ),
        summary=given.summary_of(tx, claim.id) if thread.has_summary else None,
        reminders=reminding.of_turn(tx, turn.id) if left or thread.has_reminders else (),
        callback=callbacks.answer_of(tx, services, turn.id, new=left is None),
    )


@dataclass(frozen=True, slots=True)
class _Running:
    """A turn that runs now: a new one, or what a dead process left of one."""

    id: str
    processor: str
    mails: tuple[Mail, ...]
    past: tuple[Step, ...] = ()


def _left_turn(tx: Transaction, thread_id: str) -> _Running | None:
    """The turn that a dead process left in this thread, with the steps it had recorded."""
    turn = tx.row(_RUNNING, {"thread": thread_id})
    if turn is None:
        return None
    of_turn = select(deliveries.c.id).where(deliveries.c.turn_id == turn.id)
    past = tx.rows(
        select(turn_steps.c.kind, turn_steps.c.content)
        .where(turn_steps.c.turn_id == turn.id)
        .order_by(turn_steps.c.position)
    )
    return _Running(
        turn.id,
        turn.processor,
        tuple(load_mails(tx, [row.id for row in tx.rows(of_turn)])),
        tuple(Step(row.kind, row.content) for row in past),
    )


@dataclass(frozen=True, slots=True)
class _AfterOthers:
    """The turns that run may use up what is left of a day's replies: when they end, we know."""


def _new_turn(
    tx: Transaction, services: Services, thread: AnyRow
) -> _Running | _AfterOthers | None:
    """Open a turn for what waits in the thread; None when nothing may be thought now."""
    mails = tuple(waiting_mails(tx, thread.id))
    if not mails:
        return None
    waiting, newest = list(dict.fromkeys(mail.delivery_id for mail in mails)), mails[-1]
    # Two turns that count at the same time would both take the last one of a budget.
    tx.lock(f"turns {tx.workspace_id}")
    foresee_judging(tx, thread.id, mails[0], answers=thread.has_answers)
    threads.foresee_history(
        tx,
        thread.id,
        without=[mail.delivery_id for mail in mails],
        answered=thread.has_answers,
    )
    sender = newest.content.from_[0].address.lower()
    set_ = limits.merged_of(thread.workspace_settings or {}, thread.agent_settings or {})
    stopped = what_stops(tx, services.settings, set_, thread, sender)
    if stopped is not None:
        _stop(tx, services, thread, newest, waiting, stopped)
        return None
    whose = {"agent_id": thread.agent_id, "thread_id": thread.id, "sender": sender}
    if limits.promised(tx, set_, **whose):
        return _AfterOthers()
    turn_id = new_id("trn")
    processor = thread.processor or services.settings.default_processor
    tx.insert(
        turns,
        {
            "id": turn_id,
            "thread_id": thread.id,
            "agent_id": thread.agent_id,
            "sender": sender,
            "state": "running",
            "processor": processor,
            "started_at": tx.now,
        },
    )
    if thread.has_reminders:
        reminding.give(tx, thread.id, turn_id)
    thinking = {"state": DeliveryState.THINKING, "reason": "the agent thinks", "turn_id": turn_id}
    purged = LostClaim(f"think {thread.id}: a mail was purged since it was looked at")
    tx.expect(_WAITED, {"delivery_ids": waiting, **thinking}, met=len(waiting), otherwise=purged)
    for mail in mails:
        note(tx, "think", f"turn {turn_id} of {len(mails)} mail(s)", delivery_id=mail.delivery_id)
        for finding in screen(mail.content):
            # For people: neither the agent nor the policy hears of it.
            note(tx, "hint", finding.kind, finding.words, delivery_id=mail.delivery_id)
    return _Running(turn_id, processor, mails)


_BEGAN = (
    select(turns.c.started_at)
    .where(turns.c.started_at >= bindparam("since"))
    .order_by(turns.c.started_at.desc())
    .limit(1)
    .offset(bindparam("newer", type_=Integer))
)
_BEGAN_OF_SENDER = _BEGAN.where(turns.c.sender == bindparam("sender"))


@dataclass(frozen=True, slots=True)
class Stopped:
    """What forbids a turn: the state its mails get, why, and until when."""

    state: DeliveryState
    reason: str
    until: datetime | None = None
    of_thread: bool = False
    """Whether it is about this thread alone: else people are told once for all threads."""


def what_stops(
    tx: Transaction, settings: FlowSettings, set_: Limits, thread: AnyRow, sender: str
) -> Stopped | None:
    """What forbids a turn for this writer now; `thread` is a row of `SITUATION`."""
    if thread.workspace_retired_at is not None:
        return Stopped(DeliveryState.HELD, "the workspace is retired", of_thread=True)
    own = thread.workspace_settings or {}
    since_hour = tx.now - timedelta(hours=1)
    replies = threads.replies_within(tx, thread.id, since_hour) if thread.has_answers else 0
    if replies >= settings.replies_per_thread_an_hour:
        reason = f"{replies} answers in this thread within an hour: it may be two machines talking"
        return Stopped(DeliveryState.LOOPED, reason, of_thread=True)
    # A machine that drops every header of ours opens a new thread with each mail.
    most_an_hour = set_.replies_per_correspondent_an_hour
    if most_an_hour is not None and limits.answers_to(tx, sender, since_hour) >= most_an_hour:
        reason = f"{most_an_hour} answers to {sender} within an hour"
        return Stopped(DeliveryState.LOOPED, f"{reason}: it may be two machines talking")
    day = timedelta(days=1)
    for name, whose, began, cap in (
        ("sender", sender, _BEGAN_OF_SENDER, settings.turns_per_sender_a_day),
        ("workspace", "the workspace", _BEGAN, settings.turns_per_workspace_a_day),
    ):
        set_to = own.get(f"turns_per_{name}_a_day")
        most = cap if set_to is None else int(set_to)
        if most >= _NO_CAP:
            continue
        # The turn that must be a day old before the next one may begin.
        last = {"since": tx.now - day, "sender": sender, "newer": max(most - 1, 0)}
        began_at = tx.value(began, last) if most > 0 else tx.now
        if began_at is not None:
            reason = f"{most} turns a day for {whose} are spent"
            return Stopped(DeliveryState.HELD, reason, began_at + day)
    money = budgets.exhausted(
        tx,
        workspace=own,
        agent=thread.agent_settings or {},
        agent_id=thread.agent_id,
        handle=thread.handle,
    )
    spent = money or limits.exhausted(
        tx,
        set_,
        agent_id=thread.agent_id,
        handle=thread.handle,
        thread_id=thread.id,
        sender=sender,
    )
    return None if spent is None else Stopped(DeliveryState.HELD, spent.reason, spent.until)


def _stop(
    tx: Transaction,
    services: Services,
    thread: AnyRow,
    newest: Mail,
    waiting: Sequence[str],
    stopped: Stopped,
) -> None:
    state, reason = stopped.state, stopped.reason
    tx.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(waiting))
        .values(state=state, reason=reason, held_until=stopped.until)
    )
    for delivery_id in waiting:
        note(tx, "think", str(state), reason, delivery_id=delivery_id)
    # Once for a thread that is parked, once a day for what is spent: a flood of mail must not
    # become a flood of notices.
    if stopped.of_thread:
        same = deliveries.c.thread_id == thread.id
    else:
        today = deliveries.c.received_at >= tx.now - timedelta(days=1)
        same = and_(deliveries.c.reason == reason, today, of_workspace())
    told_before = tx.value(
        select(deliveries.c.id)
        .where(same, deliveries.c.state == state, deliveries.c.id.not_in(waiting))
        .limit(1)
    )
    if told_before is None:
        people.hand_over(tx, services, newest, thread.agent_id, reason)


# --- closing ----------------------------------------------------------------------------------


def _later(tx: Transaction, claim: Claim, opened: _Opened, error: TransientFailure) -> None:
    """The model is away or busy: the turn stays open and goes on where it stopped."""
    again = tx.now + backoff(claim.attempts)
    if error.retry_at is not None:
        again = max(again, error.retry_at)
    if tx.value(_ANSWERED_LATER, {"turn": opened.turn_id}) is not None:
        again = tx.now  # it came before we had begun to wait for it
    _put_off(tx, claim, again)
    for mail in opened.mails:
        note(
            tx, "think", f"goes on at {again:%H:%M:%S}", error.reason, delivery_id=mail.delivery_id
        )


def _put_off(tx: Transaction, claim: Claim, until: datetime) -> None:
    # Waiting is no failure: however long it lasts, two starts are left for real ones.
    attempts = min(claim.attempts + 1, MOST_ATTEMPTS - 2)
    finish(tx, THINKING, claim, attempts=attempts, not_before=until)


_ANSWERED_LATER = select(turn_callbacks.c.turn_id).where(
    turn_callbacks.c.turn_id == bindparam("turn")
)
_OF_TURN = update(deliveries).where(deliveries.c.turn_id == bindparam("turn"))
_TURN = update(turns).where(turns.c.id == bindparam("turn"))


def _close(
    tx: Transaction, services: Services, claim: Claim, opened: _Opened, outcome: Outcome, steps: int
) -> None:
    closing = Closing(
        opened.turn_id, claim.id, opened.agent_id, opened.mails, bool(opened.thread.entries)
    )
    state, reason = conclude(tx, services, closing, outcome)
    assessing.keep(tx, opened.turn_id, outcome)
    tx.execute(_OF_TURN, {"turn": opened.turn_id, "state": state, "reason": reason[:500]})
    for mail in opened.mails:
        note(tx, "decide", str(state), reason, delivery_id=mail.delivery_id)
    used = given.usage(tx, opened.turn_id) if steps else {}
    _end_turn(tx, opened.turn_id, type(outcome).__name__.lower(), reason, used)
    finish(tx, THINKING, claim, ready=False, not_before=tx.now)
    threads.set_ready_if_waited_for(tx, claim.id)
    tx.wake("think")


def _end_turn(
    tx: Transaction, turn_id: str, outcome: str, reason: str, used: Mapping[str, Any]
) -> None:
    state = "failed" if outcome == "failed" else "done"
    ended = {"state": state, "outcome": f"{outcome}: {reason}"[:500], "finished_at": tx.now}
    tx.execute(_TURN, {"turn": turn_id, **ended, **used})
