"""What becomes of a call that an agent may make only with a person's yes?

The yes is for this call as it was asked, with these words; it is done once, as the gate would have
done it, and the agent hears of it in a further turn of the case, as of a no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from mailagent.agents.tools import Tool, ToolResult
from mailagent.agents.trust import DEFAULT, Standing
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import reminding
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.tools import mcp
from mailagent.flow.tools.case import Case
from mailagent.flow.tools.families import INSIDE
from mailagent.flow.tools.gate import finished, perform
from mailagent.flow.tools.opening import tools_of
from mailagent.flow.values import load_mails
from mailagent.store.tables import agents, threads, tool_calls
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["AskedCall", "agree", "asked", "get", "refuse"]

_GOOD_FOR = timedelta(days=14)
_MOST = 200


@dataclass(frozen=True, slots=True)
class AskedCall:
    """One call of a tool, as people see it."""

    id: str
    agent: str
    tool: str
    wish: Mapping[str, Any]
    state: str
    why: str
    thread_id: str
    delivery_id: str
    created_at: datetime
    decided_by: str | None


def asked(
    tx: Transaction, *, state: str = "asked", but_agent: str | None = None
) -> Sequence[AskedCall]:
    """The calls in a state, newest first, at most 200: those that wait for a person, or others.

    `but_agent` is the agent whose key asks, here as below: what is its own is not there for it.
    """
    statement = (
        select(tool_calls, agents.c.handle)
        .join(agents, agents.c.id == tool_calls.c.agent_id)
        .where(tool_calls.c.state == state)
        .order_by(tool_calls.c.created_at.desc())
        .limit(_MOST)
    )
    if but_agent is not None:
        statement = statement.where(tool_calls.c.agent_id != but_agent)
    return [_call(row) for row in tx.rows(statement)]


def get(tx: Transaction, call_id: str, *, but_agent: str | None = None) -> AskedCall:
    """One call. Raises NotFound."""
    row = _row(tx, call_id)
    if but_agent is not None and row.agent_id == but_agent:
        raise NotFound(f"there is no call {call_id[:80]}")
    return _get(tx, call_id)


async def agree(services: Services, workspace_id: str, call_id: str, actor: str) -> AskedCall:
    """Do what was asked for. Raises NotFound, Conflict for one that is decided or too old."""
    store = services.store
    row, case = await store.read(workspace_id, _case, call_id)
    tool = case.tools.get(row.name)
    if tool is None and row.name.startswith(mcp.PREFIX):
        tool = (await mcp.tools_of(services, case)).get(row.name)
    if tool is None:
        raise Conflict(f"the agent has no tool {row.name} any more")
    inside = INSIDE.get(row.name)
    if inside is None:
        await store.write(workspace_id, _begin, row, actor)
        result = await perform(services, case, row.id, tool, row.wish)
    else:
        try:
            result = await store.write(workspace_id, _done_inside, services, case, row, tool, actor)
        except Malformed as error:
            result = await store.write(workspace_id, _failed, case, row, tool, actor, str(error))
    await store.write(workspace_id, _tell, row, f"A person agreed. {result.text}", actor)
    return await store.read(workspace_id, _get, call_id)


def refuse(
    tx: Transaction,
    call_id: str,
    actor: str,
    *,
    reason: str = "",
    but_agent: str | None = None,
) -> AskedCall:
    """Leave it undone. Raises NotFound, Conflict."""
    get(tx, call_id, but_agent=but_agent)
    row = _row(tx, call_id)
    _decide(tx, row, "refused", actor)
    _tell(tx, row, f"A person did not agree{f': {reason}' if reason else ''}.", actor)
    return _get(tx, call_id)


def _begin(tx: Transaction, row: AnyRow, actor: str) -> None:
    _decide(tx, row, "started", actor)
    # From here on it may have been done: what died half way is `started` and never done again.
    tx.execute(update(tool_calls).where(tool_calls.c.id == row.id).values(result=None))


def _done_inside(
    tx: Transaction, services: Services, case: Case, row: AnyRow, tool: Tool, actor: str
) -> ToolResult:
    _decide(tx, row, "started", actor)
    result = INSIDE[row.name](tx, services, case, row.wish)
    return finished(tx, case, row.id, tool, "done", f"approved by {actor}", result)


def _failed(
    tx: Transaction, case: Case, row: AnyRow, tool: Tool, actor: str, why: str
) -> ToolResult:
    _decide(tx, row, "started", actor)
    return finished(tx, case, row.id, tool, "failed", why, ToolResult(why, is_error=True))


def _decide(tx: Transaction, row: AnyRow, state: str, actor: str) -> None:
    if tx.now - row.created_at > _GOOD_FOR:
        raise Conflict(f"{row.id} was asked more than {_GOOD_FOR.days} days ago: write yourself")
    moved = tx.execute(
        update(tool_calls)
        .where(tool_calls.c.id == row.id, tool_calls.c.state == "asked")
        .values(state=state, decided_by=actor, finished_at=tx.now)
    )
    if not moved.rowcount:
        raise Conflict(f"{row.id} is decided already")
    note(tx, "tool", f"{row.name}: {state}", f"by {actor}", delivery_id=row.delivery_id)


def _tell(tx: Transaction, row: AnyRow, text: str, actor: str) -> None:
    reminding.remind(
        tx,
        row.thread_id,
        "answer",
        at=tx.now,
        text=f"About {row.name}: {text}",
        author=actor.removeprefix("person:"),
        keep=True,
    )


def _row(tx: Transaction, call_id: str) -> AnyRow:
    row = tx.row(select(tool_calls).where(tool_calls.c.id == call_id))
    if row is None:
        raise NotFound(f"there is no call {call_id[:80]}")
    return row


def _case(tx: Transaction, call_id: str) -> tuple[AnyRow, Case]:
    row = _row(tx, call_id)
    agent = tx.row(select(agents).where(agents.c.id == row.agent_id))
    mails = load_mails(tx, [row.delivery_id])
    if agent is None or not mails:
        raise Conflict(f"the mail of {call_id} is gone")
    subject = tx.value(select(threads.c.subject).where(threads.c.id == row.thread_id))
    return row, Case(
        workspace_id=str(tx.workspace_id),
        agent_id=row.agent_id,
        handle=agent.handle,
        thread_id=row.thread_id,
        subject=subject or "",
        turn_id=row.turn_id,
        mail=mails[0],
        standing=Standing.UNPROVEN,
        policy=DEFAULT,
        tools=tools_of(tx, row.agent_id, agent.settings),
        settings=agent.settings,
    )


def _get(tx: Transaction, call_id: str) -> AskedCall:
    row = tx.row(
        select(tool_calls, agents.c.handle)
        .join(agents, agents.c.id == tool_calls.c.agent_id)
        .where(tool_calls.c.id == call_id)
    )
    assert row is not None
    return _call(row)


def _call(row: AnyRow) -> AskedCall:
    return AskedCall(
        row.id,
        row.handle,
        row.name,
        row.wish,
        row.state,
        row.why,
        row.thread_id,
        row.delivery_id,
        row.created_at,
        row.decided_by,
    )
