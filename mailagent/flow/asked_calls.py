"""How does a call of a tool wait for a person's yes, and what does the yes or no to it do?

The yes is for this call with these words. It makes the call work that a worker claims
(`flow.tools.agreed`); the agent hears in a further turn of its case what came of it, as of a no.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from mailagent.errors import Conflict
from mailagent.flow import approval_notices, approval_rows, reminding
from mailagent.flow.ledger import note
from mailagent.flow.limits import of_agent
from mailagent.flow.services import Services
from mailagent.mail import Mail
from mailagent.store.tables import agents, tool_calls
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["CallOfTool", "agree", "ask", "leave", "listing", "of_approval", "tell", "void"]

_MOST = 200


def ask(
    tx: Transaction, services: Services, call_id: str, mail: Mail, *, reasons: Sequence[str]
) -> None:
    """Let a call wait and ask people; `mail` is the newest of its turn. No lapse of time is a yes
    to what a tool changes or sends.
    """
    call = _call(tx, call_id)
    limits = of_agent(tx, call.agent_id)
    row = approval_rows.insert(
        tx,
        limits,
        kind="call",
        delivery_id=call.delivery_id,
        digest=_digest(call.name, call.wish),
        reasons=reasons,
        agent_id=call.agent_id,
        thread_id=call.thread_id,
        turn_id=call.turn_id,
        call_id=call_id,
    )
    approval_notices.tell(tx, services, row, mail, limits)


def agree(tx: Transaction, row: AnyRow, actor: str) -> None:
    """Have the call of an approval done. Raises Conflict when it waits no longer."""
    # Its result stays "a person has been asked" until it is done: a turn that goes on after a kill
    # must not take it for one that nobody finished.
    _decide(tx, row, actor, state="agreed", not_before=tx.now)
    tx.wake("call")


def leave(tx: Transaction, row: AnyRow, actor: str, why: str) -> None:
    """Leave the call of an approval undone, and tell its agent why. Raises Conflict."""
    _decide(tx, row, actor, state="refused", why=why[:500])
    tell(tx, _call(tx, row.call_id), why)


def void(tx: Transaction, row: AnyRow, why: str) -> None:
    """Take back what was asked: its turn is driven again, or its content is gone."""
    tx.execute(_asked(row).values(state="refused", why=why[:500], finished_at=tx.now))


def tell(tx: Transaction, call: AnyRow, text: str) -> None:
    """Give the agent a further turn of the case, in which it hears of the call."""
    author = (call.decided_by or "").removeprefix("person:")
    words = f"About {call.name}: {text}"
    reminding.remind(tx, call.thread_id, "answer", at=tx.now, text=words, author=author, keep=True)


def _decide(tx: Transaction, row: AnyRow, actor: str, **values: Any) -> None:
    moved = tx.execute(_asked(row).values(decided_by=actor, finished_at=tx.now, **values))
    if moved.rowcount != 1:
        raise Conflict(f"{row.id}: the call {row.call_id} is decided already")
    call = _call(tx, row.call_id)
    what = f"{call.name}: {call.state}"
    note(tx, "tool", what, f"by {actor}", actor=actor, delivery_id=row.delivery_id)


def _asked(row: AnyRow) -> Any:
    mine = update(tool_calls).where(tool_calls.c.id == row.call_id)
    return mine.where(tool_calls.c.state == "asked")


def _digest(name: str, wish: Mapping[str, Any]) -> str:
    asked = json.dumps([name, wish], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


# --- looking ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallOfTool:
    """One call that changes or sends something, as people see it."""

    id: str
    agent: str
    tool: str
    wish: Mapping[str, Any]
    state: str
    """`asked`, `agreed` (a worker does it), `started`, `done`, `failed`, `unknown`, `refused`."""
    why: str
    result: str
    """What its agent was told."""
    thread_id: str
    delivery_id: str
    created_at: datetime
    decided_by: str | None


def listing(
    tx: Transaction, *, state: str = "done", but_agent: str | None = None
) -> Sequence[CallOfTool]:
    """The calls in a state, newest first, at most 200, without what is `but_agent`'s own."""
    statement = _SHOWN.where(tool_calls.c.state == state)
    if but_agent is not None:
        statement = statement.where(tool_calls.c.agent_id != but_agent)
    rows = tx.rows(statement.order_by(tool_calls.c.created_at.desc()).limit(_MOST))
    return [_made(row) for row in rows]


def of_approval(tx: Transaction, row: AnyRow) -> CallOfTool | None:
    """The call that an approval is about."""
    if row.call_id is None:
        return None
    found = tx.row(_SHOWN.where(tool_calls.c.id == row.call_id))
    return None if found is None else _made(found)


_SHOWN = select(tool_calls, agents.c.handle).join(agents, agents.c.id == tool_calls.c.agent_id)


def _call(tx: Transaction, call_id: str) -> AnyRow:
    row = tx.row(select(tool_calls).where(tool_calls.c.id == call_id))
    assert row is not None
    return row


def _made(row: AnyRow) -> CallOfTool:
    return CallOfTool(
        row.id,
        row.handle,
        row.name,
        row.wish,
        row.state,
        row.why,
        (row.result or {}).get("text", ""),
        row.thread_id,
        row.delivery_id,
        row.created_at,
        row.decided_by,
    )
