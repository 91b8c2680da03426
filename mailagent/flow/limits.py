"""Which limit of a day is spent, and when may the next turn begin?

A day is the 24 hours that end now, so that no midnight lets twice a limit through. Money of a
workspace and of an agent is `budgets`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import Integer, Select, bindparam, case, exists, func, literal, or_, select

from mailagent.agents.limits import Counted, Counter, Limits, Per, counters, merged
from mailagent.flow.budgets import Exhausted
from mailagent.store.tables import agents, outbound_mails, turns, workspaces
from mailagent.store.transaction import Transaction

__all__ = ["SETTING", "answers_to", "exhausted", "merged_of", "of_agent", "promised"]

SETTING = "limits"
"""Where a workspace and an agent keep what they set, among their settings."""
_DAY = timedelta(days=1)

_SET = (
    select(workspaces.c.settings.label("of_workspace"), agents.c.settings.label("of_agent"))
    .join(agents, agents.c.workspace_id == workspaces.c.id)
    .where(agents.c.id == bindparam("agent"))
)


_OF_WORKSPACE = select(workspaces.c.settings).where(workspaces.c.id == bindparam("workspace"))


def of_agent(tx: Transaction, agent_id: str | None) -> Limits:
    """The limits that hold for an agent now, or (None) for the workspace. Raises Malformed."""
    if agent_id is None:
        return merged_of(tx.value(_OF_WORKSPACE, {"workspace": tx.workspace_id}) or {}, {})
    row = tx.row(_SET, {"agent": agent_id})
    if row is None:
        return merged()
    return merged_of(row.of_workspace or {}, row.of_agent or {})


def merged_of(workspace: Mapping[str, Any], agent: Mapping[str, Any]) -> Limits:
    """As `of_agent`, of the settings of both."""
    return merged(workspace.get(SETTING), agent.get(SETTING))


def answers_to(tx: Transaction, sender: str, since: datetime) -> int:
    """How many automatic answers a writer has had since a time, whatever the thread. A turn that
    runs counts as one.
    """
    return int(tx.value(_ANSWERS_TO, {"sender": sender, "since": since}))


_ANSWERS_TO = (
    select(func.count())
    .select_from(turns)
    .where(
        turns.c.sender == bindparam("sender"),
        turns.c.started_at >= bindparam("since"),
        or_(
            turns.c.state == "running",
            exists().where(
                outbound_mails.c.workspace_id == turns.c.workspace_id,
                outbound_mails.c.turn_id == turns.c.id,
                outbound_mails.c.purpose == "reply",
            ),
        ),
    )
)


def exhausted(
    tx: Transaction, limits: Limits, *, agent_id: str, handle: str, thread_id: str, sender: str
) -> Exhausted | None:
    """Which limit forbids a turn now. Asks nothing of what is not limited."""
    asked = {"agent": agent_id, "thread": thread_id, "sender": sender, "since": tx.now - _DAY}
    for counter in counters(limits):
        reached = _reached_at(tx, counter, asked)
        if reached is not None:
            whose: dict[Per, str] = {
                "workspace": "the workspace",
                "agent": f"agent {handle}",
                "correspondent": sender,
                "thread": "this thread",
            }
            what = "US dollars" if counter.counted == "usd" else counter.counted
            reason = f"{counter.most:f} {what} a day for {whose[counter.per]} are spent"
            return Exhausted(reason, reached + _DAY)
    return None


def promised(
    tx: Transaction, limits: Limits, *, agent_id: str, thread_id: str, sender: str
) -> bool:
    """Whether what is left of a day's replies may be used up by the turns that run now."""
    asked = {"agent": agent_id, "thread": thread_id, "sender": sender, "since": tx.now - _DAY}
    for counter in counters(limits):
        if counter.counted != "replies":
            continue
        running = int(tx.value(_running(counter.per), asked))
        left = int(counter.most) - running
        nth = _nth_newest("replies", counter.per)
        if running and (left <= 0 or tx.value(nth, {**asked, "newer": left - 1}) is not None):
            return True
    return False


def _reached_at(tx: Transaction, counter: Counter, asked: Mapping[str, Any]) -> datetime | None:
    """When that happened which reached the limit: out of the day, there is room again."""
    if counter.most <= 0:
        return tx.now
    given = {**asked, "most": counter.most, "newer": int(counter.most) - 1}
    if counter.counted in ("turns", "replies"):
        reached: datetime | None = tx.value(_nth_newest(counter.counted, counter.per), given)
        return reached
    total, rows = _weights(counter.counted, counter.per)
    left = counter.most
    if (tx.value(total, given) or 0) < left:
        return None
    for row in tx.rows(rows, given):
        left -= Decimal(row.weight)
        if left <= 0:
            return row.at  # type: ignore[no-any-return]
    return None


def _narrowed(statement: Select[Any], per: Per) -> Select[Any]:
    """A statement on turns, of those that count for this limit."""
    match per:
        case "workspace":
            return statement
        case "agent":
            return statement.where(turns.c.agent_id == bindparam("agent"))
        case "correspondent":
            return statement.where(turns.c.sender == bindparam("sender"))
        case "thread":
            return statement.where(turns.c.thread_id == bindparam("thread"))


@cache
def _running(per: Per) -> Select[Any]:
    return _narrowed(select(func.count()).select_from(turns).where(turns.c.state == "running"), per)


@cache
def _nth_newest(counted: Counted, per: Per) -> Select[Any]:
    if counted == "turns":
        statement = _narrowed(select(turns.c.started_at.label("at")), per)
        at = turns.c.started_at
    else:
        at = outbound_mails.c.created_at
        statement = select(at.label("at")).where(outbound_mails.c.purpose == "reply")
        if per == "agent":
            statement = statement.where(outbound_mails.c.agent_id == bindparam("agent"))
        elif per != "workspace":
            joined = statement.join(turns, turns.c.id == outbound_mails.c.turn_id)
            statement = _narrowed(joined, per)
    newest = statement.where(at >= bindparam("since")).order_by(at.desc())
    return newest.limit(1).offset(bindparam("newer", type_=Integer))


@cache
def _weights(counted: Counted, per: Per) -> tuple[Select[Any], Select[Any]]:
    """The sum of a day, and the turns that make it, the newest first."""
    if counted == "tokens":
        weight: Any = turns.c.input_tokens + turns.c.output_tokens
    else:
        # What is not known counts as the whole limit (as in `budgets`).
        unpriced = turns.c.cost_usd.is_(None) & turns.c.model.is_not(None)
        most = bindparam("most", type_=turns.c.cost_usd.type)
        weight = case((unpriced, most), else_=func.coalesce(turns.c.cost_usd, literal(0)))
    since = turns.c.started_at >= bindparam("since")
    rows = _narrowed(select(turns.c.started_at.label("at"), weight.label("weight")), per)
    total = _narrowed(select(func.sum(weight)), per)
    return total.where(since), rows.where(since).order_by(turns.c.started_at.desc())
