"""How is a turn answered later, by the program that was asked? Once, at the URL that it was given.

The URL proves which turn; it is of no use once the turn has ended or was answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from mailagent.agents import decision
from mailagent.agents.turn import JsonValue
from mailagent.errors import Conflict, NotFound
from mailagent.flow.services import Services
from mailagent.store.tables import threads, turn_callbacks, turns
from mailagent.store.transaction import Transaction

__all__ = ["TurnCallback", "answer", "answer_of"]


@dataclass(frozen=True, slots=True)
class TurnCallback:
    """The way to answer one turn, and what came by it."""

    url: str
    answer: JsonValue


def answer_of(tx: Transaction, services: Services, turn_id: str, *, new: bool) -> TurnCallback:
    """The callback of a turn; of a `new` one nobody knows the URL yet."""
    token = services.secrets.callback_token(turn_id)
    url = f"{services.settings.ui_url.rstrip('/')}/api/v1/callbacks/{token}"
    return TurnCallback(url, None if new else tx.value(_ANSWER, {"turn": turn_id}))


_ANSWER = select(turn_callbacks.c.answer).where(turn_callbacks.c.turn_id == bindparam("turn"))


def answer(tx: Transaction, services: Services, token: str, said: JsonValue) -> str:
    """Take the answer to a turn, in an unscoped transaction; returns the turn's id.

    Raises NotFound for a token that is not ours, Conflict for a turn that has ended or is answered,
    Malformed for a decision that makes no sense: it may be sent again, mended.
    """
    turn_id = services.secrets.read_callback_token(token)
    found = turn_id and tx.row(
        select(turns.c.id, turns.c.workspace_id, turns.c.thread_id, turns.c.state)
        .where(turns.c.id == turn_id)
        # A purge that ends the turn must not overlook what is said now.
        .with_for_update()
    )
    if not found:
        raise NotFound("there is no turn to answer at this address")
    if found.state != "running":
        raise Conflict("the turn has ended: its answer comes too late")
    decision.read(said, done=("schedule_follow_up", "create_task"), required=("action",))
    inside = tx.of(found.workspace_id)
    row = {"turn_id": found.id, "answered_at": tx.now, "answer": said}
    if not inside.insert_new(turn_callbacks, row, unique=["turn_id"]):
        raise Conflict("the turn is answered already")
    inside.execute(update(threads).where(threads.c.id == found.thread_id).values(not_before=tx.now))
    inside.wake("think")
    return str(found.id)
