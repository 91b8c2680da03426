"""May this tool be used now, for whoever wrote, and has it been used already?

The one place through which every call goes. The policy is asked at the moment of the call, with the
standing of the mail's writer: do, ask a person, or refuse; the model is told which. What changes or
sends something has a row before it runs, under the turn and the agent's own name for the call: the
same call again, after a kill too, gives what it gave. A call to the outside that may have been done
is not repeated unless the far side knows repetitions by our key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select, update

from mailagent.agents.tools import Tool, ToolResult, checked
from mailagent.agents.trust import Ask, Do, Refuse, decide
from mailagent.errors import Malformed, TransientFailure, UncertainDelivery
from mailagent.flow import after_purge, asked_calls, people
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case
from mailagent.flow.tools.families import INSIDE, outside, repeatable
from mailagent.store.tables import tool_calls
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, Queue, holds

__all__ = ["Came", "Toolbox", "attempt", "in_doubt", "key_of", "perform", "record"]

_MOST_CALLS = 60
"""In one turn: a model that calls in circles is stopped by its questions long before."""
_ASKED = (
    "Not done: a person must agree first, and has been asked. If they do, you will hear of it in a"
    " later turn. Do not try it another way."
)
_REFUSED = "Not done: this may not be done for whoever wrote this mail."
_UNKNOWN = "It may have been done or not: no answer came. Do not repeat it. A person has been told."


class Toolbox:
    """The tools of one turn."""

    def __init__(self, services: Services, claim: Claim, queue: Queue, case: Case) -> None:
        self._services, self._claim, self._queue, self._case = services, claim, queue, case

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that are not refused to this writer, in a stable order."""
        case = self._case
        verdicts = {
            name: decide(case.policy, case.standing, tool.action)
            for name, tool in case.tools.items()
        }
        return [tool for name, tool in case.tools.items() if not isinstance(verdicts[name], Refuse)]

    async def use(self, call_id: str, name: str, wish: object) -> ToolResult:
        """Do what was asked for, once. Raises TransientFailure, LostClaim."""
        tool = self._case.tools.get(name)
        if tool is None:
            return ToolResult("There is no such tool.", is_error=True)
        if name.startswith("mcp_"):
            given = wish  # its own server knows its schema
        else:
            try:
                given = checked(tool.input_schema, wish)
            except Malformed as error:
                return ToolResult(str(error), is_error=True)
        if not isinstance(given, Mapping):
            return ToolResult("input must be an object", is_error=True)
        store, workspace_id = self._services.store, self._case.workspace_id
        try:
            begun = await store.write(workspace_id, self._begin, call_id[:128], tool, dict(given))
        except Malformed as error:
            return await store.write(
                workspace_id, self._failed, call_id[:128], tool, dict(given), str(error)
            )
        if isinstance(begun, ToolResult):
            return begun
        return await perform(self._services, self._case, begun, tool, dict(given))

    def _begin(
        self, tx: Transaction, call: str, tool: Tool, wish: Mapping[str, Any]
    ) -> ToolResult | str:
        """The result, where there is one already or it is had inside; else the id of the row under
        which it may be done outside.
        """
        holds(tx, self._queue, self._claim)
        case = self._case
        known = tx.row(_KNOWN, {"turn": case.turn_id, "call": call})
        if known is not None:
            return self._again(tx, known, tool)
        verdict = decide(case.policy, case.standing, tool.action)
        if isinstance(verdict, Do) and tool.effect == "reads":
            run = INSIDE.get(tool.name)
            # Nothing is changed, so nothing must be kept: the turn's steps hold what it gave.
            return run(tx, self._services, case, wish) if run else ""
        count = len(tx.rows(_OF_TURN, {"turn": case.turn_id}))
        if count >= _MOST_CALLS:
            return ToolResult(f"{_MOST_CALLS} calls in one turn are the most.", is_error=True)
        row_id = self._insert(tx, call, tool, wish)
        match verdict:
            case Refuse(reason, rule):
                return self._record(
                    tx, row_id, tool, Came("refused", f"{reason} ({rule})", _error(_REFUSED))
                )
            case Ask(reason, rule):
                why = f"{reason} ({rule})"
                told = self._record(tx, row_id, tool, Came("asked", why, _error(_ASKED)))
                asked_calls.ask(tx, self._services, row_id, case.mail, reasons=[why])
                return told
            case Do(rule):
                run = INSIDE.get(tool.name)
                if run is None:
                    return row_id
                result = run(tx, self._services, case, wish)
                return self._record(tx, row_id, tool, Came("done", rule, result))

    def _again(self, tx: Transaction, known: AnyRow, tool: Tool) -> ToolResult | str:
        if known.result is not None:
            return _result(known.result)
        # Whoever did it has died: the far side may have done it.
        if tool.effect == "reads" or repeatable(tx, self._case, tool):
            return str(known.id)
        return self._record(tx, known.id, tool, in_doubt("the process died"))

    def _insert(self, tx: Transaction, call: str, tool: Tool, wish: Mapping[str, Any]) -> str:
        case = self._case
        row_id = new_id("tcl")
        tx.insert(
            tool_calls,
            {
                "id": row_id,
                "turn_id": case.turn_id,
                "call": call,
                "thread_id": case.thread_id,
                "agent_id": case.agent_id,
                "delivery_id": case.mail.delivery_id,
                "name": tool.name,
                "wish": dict(wish),
                "state": "started",
                "why": "",
                "created_at": tx.now,
                "not_before": tx.now,
            },
        )
        return row_id

    def _failed(
        self, tx: Transaction, call: str, tool: Tool, wish: Mapping[str, Any], why: str
    ) -> ToolResult:
        holds(tx, self._queue, self._claim)
        if tool.effect == "reads":
            return _error(why)
        row_id = self._insert(tx, call, tool, wish)
        return self._record(tx, row_id, tool, Came("failed", why, _error(why)))

    def _record(self, tx: Transaction, row_id: str, tool: Tool, came: Came) -> ToolResult:
        return record(tx, self._services, self._case, row_id, tool.name, came)


class Came(NamedTuple):
    """What came of a call: its state, why, and what the agent is told."""

    state: str
    why: str
    result: ToolResult


async def perform(
    services: Services, case: Case, row_id: str, tool: Tool, wish: Mapping[str, Any]
) -> ToolResult:
    """Do outside what has a row (or none, when it only reads), and record what came of it."""
    try:
        came = await attempt(services, case, row_id, tool, wish)
    except TransientFailure as error:
        told = f"Not done, the far side cannot be reached: {error.reason}"
        came = Came("failed", error.reason, _error(told))
    if not row_id:
        return came.result
    write = services.store.write
    return await write(case.workspace_id, _record_late, services, case, row_id, tool.name, came)


def _record_late(
    tx: Transaction, services: Services, case: Case, row_id: str, name: str, came: Came
) -> ToolResult:
    """`record`; of a turn that was purged while its tool was used, the state alone."""
    if not after_purge.is_purged_turn(tx, case.turn_id):
        return record(tx, services, case, row_id, name, came)
    ended = {"state": came.state, "finished_at": tx.now}
    tx.execute(update(tool_calls).where(tool_calls.c.id == row_id).values(**ended))
    return came.result


async def attempt(
    services: Services, case: Case, row_id: str, tool: Tool, wish: Mapping[str, Any]
) -> Came:
    """Have the far side do a call, under the key of its row. Raises TransientFailure: not done."""
    try:
        result = await outside(tool)(services, case, key_of(row_id or new_id("tcl")), wish)
    except Malformed as error:
        return Came("failed", str(error), _error(str(error)))
    except UncertainDelivery as error:
        if tool.effect == "reads":
            return Came("failed", error.reason, _error(f"No answer came: {error.reason}"))
        return in_doubt(error.reason)
    return Came("failed" if result.is_error else "done", "the far side answered", result)


def in_doubt(why: str) -> Came:
    """A call that may have been done, or not."""
    return Came("unknown", why, _error(_UNKNOWN))


def record(
    tx: Transaction, services: Services, case: Case, row_id: str, name: str, came: Came
) -> ToolResult:
    """Record what became of a call; people are told when nobody knows."""
    result = came.result
    tx.execute(
        update(tool_calls)
        .where(tool_calls.c.id == row_id)
        .values(
            state=came.state,
            why=came.why[:500],
            result={
                "text": result.text,
                "documents": list(result.documents),
                "is_error": result.is_error,
                "hand_over": result.hand_over,
            },
            finished_at=tx.now,
        )
    )
    note(tx, "tool", f"{name}: {came.state}", came.why, delivery_id=case.mail.delivery_id)
    if came.state == "unknown":
        people.notify(
            tx,
            services.settings,
            case.agent_id,
            f"Was this done? {name}",
            f"The agent {case.handle} used {name}. {came.why}: look whether it was done. It is not"
            f" tried again. Call {row_id}.\n",
            delivery_id=case.mail.delivery_id,
        )
    return result


def key_of(row_id: str) -> str:
    """The key under which a far side hears of a call, the same at each attempt."""
    return f"mailagent-{row_id}"


_KNOWN = select(tool_calls).where(
    tool_calls.c.turn_id == bindparam("turn"), tool_calls.c.call == bindparam("call")
)
_OF_TURN = select(tool_calls.c.id).where(tool_calls.c.turn_id == bindparam("turn"))


def _result(kept: Mapping[str, Any]) -> ToolResult:
    return ToolResult(
        kept["text"], tuple(kept["documents"]), kept["is_error"], kept.get("hand_over")
    )


def _error(text: str) -> ToolResult:
    return ToolResult(text, is_error=True)
