"""How much money may agents spend on their models, and is it spent?

A workspace and an agent may each have a cap for a day and for a month: windows of 24 hours and of
30 days that end now, so that no midnight lets twice the cap through. What counts is the cost that
turns have recorded, the running ones' so far. A cost that is not known cannot be counted, so under
a cap it counts as the whole cap: a cap that cannot be kept stops the agent, it does not leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric, bindparam, case, func, select

from mailagent.store.tables import turns
from mailagent.store.transaction import Transaction

__all__ = ["WINDOWS", "Exhausted", "Spending", "exhausted", "spending"]

WINDOWS: Mapping[str, tuple[str, timedelta]] = {
    "usd_a_day": ("a day", timedelta(days=1)),
    "usd_a_month": ("in 30 days", timedelta(days=30)),
}
"""The settings that cap money, of a workspace as of an agent: in words, and how far back."""

_DOLLARS = Numeric(12, 6)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A cap that is reached, and when the next turn may begin."""

    reason: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Spending:
    """What turns have cost since a time."""

    usd: Decimal
    unpriced_turns: int
    """How many have asked a model whose price is not known: they are not in `usd`."""


def exhausted(
    tx: Transaction,
    *,
    workspace: Mapping[str, Any],
    agent: Mapping[str, Any],
    agent_id: str,
    handle: str,
) -> Exhausted | None:
    """Which cap forbids a turn of this agent now. Asks nothing where none is set."""
    for whose, of, own in (
        ("the workspace", None, workspace),
        (f"agent {handle}", agent_id, agent),
    ):
        for cap, words, window in _caps(own):
            reached = _reached_at(tx, cap, tx.now - window, of)
            if reached is None:
                continue
            began, unpriced = reached
            reason = f"{cap:f} US dollars {words} for {whose} are spent"
            if unpriced:
                reason = (
                    f"the cap of {cap:f} US dollars {words} for {whose} cannot be kept: "
                    "what a turn cost is not known (set ANTHROPIC_PRICE)"
                )
            return Exhausted(reason, began + window)
    return None


def spending(tx: Transaction, since: datetime, agent_id: str | None = None) -> Spending:
    """What the turns of the workspace, or of one agent, have cost since then."""
    unpriced = func.sum(case((_UNPRICED, 1), else_=0))
    statement = select(func.sum(turns.c.cost_usd), unpriced).where(turns.c.started_at >= since)
    if agent_id is not None:
        statement = statement.where(turns.c.agent_id == agent_id)
    row = tx.row(statement)
    assert row is not None
    return Spending(Decimal(row[0] or 0), int(row[1] or 0))


def _caps(settings: Mapping[str, Any]) -> Iterator[tuple[Decimal, str, timedelta]]:
    for name, (words, window) in WINDOWS.items():
        if settings.get(name) is not None:
            yield Decimal(settings[name]), words, window


_UNPRICED = turns.c.cost_usd.is_(None) & turns.c.model.is_not(None)
_COST = case(
    (_UNPRICED, bindparam("cap", type_=_DOLLARS)), else_=func.coalesce(turns.c.cost_usd, 0)
)
_SINCE = turns.c.started_at >= bindparam("since")
_OF_AGENT = turns.c.agent_id == bindparam("agent")
_SUM = select(func.sum(_COST, type_=_DOLLARS)).where(_SINCE)
_SUM_OF_AGENT = _SUM.where(_OF_AGENT)
_TURNS = (
    select(turns.c.started_at, _COST.label("cost"), _UNPRICED.label("unpriced"))
    .where(_SINCE)
    .order_by(turns.c.started_at.desc())
)
_TURNS_OF_AGENT = _TURNS.where(_OF_AGENT)


def _reached_at(
    tx: Transaction, cap: Decimal, since: datetime, agent_id: str | None
) -> tuple[datetime, bool] | None:
    """When the turn began that reached the cap, and whether its cost is unknown; None: not yet.

    Once that turn is out of the window, what is left in it is under the cap.
    """
    if cap <= 0:
        return tx.now, False
    given = {"cap": cap, "since": since, "agent": agent_id}
    left = cap
    if (tx.value(_SUM if agent_id is None else _SUM_OF_AGENT, given) or 0) < cap:
        return None
    for row in tx.rows(_TURNS if agent_id is None else _TURNS_OF_AGENT, given):
        left -= row.cost
        if left <= 0:
            return row.started_at, bool(row.unpriced)
    return None
