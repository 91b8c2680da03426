"""How is a call done that a person has said yes to?

The yes made its row work that is claimed like any other: whoever does it may be killed and another
goes on. It is done once, as the gate would have done it, and its agent hears of it in a further
turn of the case.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select, update

from mailagent.agents.tools import Tool, ToolResult
from mailagent.agents.trust import DEFAULT, Standing
from mailagent.errors import Malformed, TransientFailure
from mailagent.flow import asked_calls
from mailagent.flow.services import Services
from mailagent.flow.tools import mcp
from mailagent.flow.tools.case import Case
from mailagent.flow.tools.families import INSIDE, repeatable
from mailagent.flow.tools.gate import Came, attempt, in_doubt, record
from mailagent.flow.tools.opening import tools_of
from mailagent.flow.values import load_mails
from mailagent.store.tables import agents, threads, tool_calls
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.store.types import verbatim
from mailagent.work import MOST_ATTEMPTS, Claim, Queue, backoff, finish, holds

__all__ = ["AGREED", "do_agreed", "give_up"]

AGREED = Queue("call", tool_calls, tool_calls.c.state == verbatim("agreed"))


async def do_agreed(services: Services, claim: Claim) -> None:
    """Do one call that was agreed to, and tell its agent."""
    store, workspace_id = services.store, claim.workspace_id
    row, case = await store.read(workspace_id, _open, claim.id)
    if case is None:
        await store.write(workspace_id, _mail_is_gone, claim)
        return
    tool = case.tools.get(row.name)
    if tool is None and row.name.startswith(mcp.PREFIX):
        tool = (await mcp.tools_of(services, case)).get(row.name)
    if tool is None:
        came = _failed(f"the agent has no tool {row.name} any more")
    elif tool.name in INSIDE:
        try:
            await store.write(workspace_id, _inside, services, claim, case, row)
        except Malformed as error:
            came = _failed(str(error))
        else:
            return
    else:
        begun = await store.write(workspace_id, _begin, services, claim, case, tool)
        if not begun:
            return
        try:
            came = await attempt(services, case, row.id, tool, row.wish)
        except TransientFailure as error:
            if claim.attempts + 1 < MOST_ATTEMPTS:
                await store.write(workspace_id, _later, claim)
                return
            came = _failed(f"the far side cannot be reached: {error.reason}")
    await store.write(workspace_id, _close, services, claim, case, row.name, came)


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """The end of a call that cannot be made: its starts failed, or its workers died."""
    row = _row(tx, claim.id)
    state = "failed" if row.begun_at is None else "unknown"
    told = ToolResult(f"Not known whether it was done: {reason}", is_error=True)
    result = {"text": told.text, "documents": [], "is_error": True, "hand_over": None}
    values = {"state": state, "why": reason[:500], "result": result, "finished_at": tx.now}
    finish(tx, AGREED, claim, **values)
    asked_calls.tell(tx, row, told.text)


_ROW = select(tool_calls).where(tool_calls.c.id == bindparam("call"))


def _row(tx: Transaction, call_id: str) -> AnyRow:
    row = tx.row(_ROW, {"call": call_id})
    assert row is not None
    return row


def _open(tx: Transaction, call_id: str) -> tuple[AnyRow, Case | None]:
    row = _row(tx, call_id)
    agent = tx.row(select(agents).where(agents.c.id == row.agent_id))
    mails = load_mails(tx, [row.delivery_id])
    if agent is None or not mails:
        return row, None
    subject = tx.value(select(threads.c.subject).where(threads.c.id == row.thread_id))
    return row, Case(
        workspace_id=str(tx.workspace_id),
        agent_id=row.agent_id,
        handle=agent.handle,
        thread_id=row.thread_id,
        subject=subject or "",
        turn_id=row.turn_id,
        mail=mails[0],
        # A person has decided: what the policy gives the writer counts no more.
        standing=Standing.UNPROVEN,
        policy=DEFAULT,
        tools=tools_of(tx, row.agent_id, agent.settings),
        settings=agent.settings,
    )


def _inside(tx: Transaction, services: Services, claim: Claim, case: Case, row: AnyRow) -> None:
    holds(tx, AGREED, claim)
    result = INSIDE[row.name](tx, services, case, row.wish)
    by = (row.decided_by or "").removeprefix("person:")
    _close(tx, services, claim, case, row.name, Came("done", f"approved by {by}", result))


def _begin(tx: Transaction, services: Services, claim: Claim, case: Case, tool: Tool) -> bool:
    """Note that the far side may hear of it from now on; False for one that it may have heard of
    already, and that must not be repeated.
    """
    holds(tx, AGREED, claim)
    row = _row(tx, claim.id)
    again = row.begun_at is not None
    if again and tool.effect != "reads" and not repeatable(tx, case, tool):
        _close(tx, services, claim, case, tool.name, in_doubt("the process died"))
        return False
    _set(tx, claim.id, begun_at=tx.now)
    return True


def _later(tx: Transaction, claim: Claim) -> None:
    """The far side has not heard of it."""
    again = tx.now + backoff(claim.attempts)
    finish(tx, AGREED, claim, attempts=claim.attempts + 1, not_before=again, begun_at=None)


def _close(
    tx: Transaction, services: Services, claim: Claim, case: Case, name: str, came: Came
) -> None:
    result = record(tx, services, case, claim.id, name, came)
    finish(tx, AGREED, claim)
    asked_calls.tell(tx, _row(tx, claim.id), f"A person agreed. {result.text}")


def _mail_is_gone(tx: Transaction, claim: Claim) -> None:
    finish(tx, AGREED, claim, state="refused", why="its mail is gone", finished_at=tx.now)


def _failed(why: str) -> Came:
    return Came("failed", why, ToolResult(why, is_error=True))


def _set(tx: Transaction, call_id: str, **values: Any) -> None:
    tx.execute(update(tool_calls).where(tool_calls.c.id == call_id).values(**values))
