"""Which deliveries does a filter mean, and along which index are they found?

A list is read newest first from the end of an index, so a condition that few of a million rows meet
must be part of one. By state, that takes one statement for each state of the filter; the partial
indexes of `deliveries` leave out what their conditions name, so these stand in the statements too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, or_, select

from backend.inboxes.words import Status, states_of
from mailagent.flow.states import DeliveryState
from mailagent.outgoing import Urgency
from mailagent.store.standing import ACCEPTED, of_agent, of_workspace
from mailagent.store.tables import deliveries
from mailagent.store.types import EPOCH

__all__ = ["Filter", "selected"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries a list shows; None of a field shows all."""

    agent_id: str | None = None
    status: Status | None = None
    state: DeliveryState | None = None
    since: datetime | None = None
    """Received at this time or later; aware."""
    recipient: str | None = None
    thread_id: str | None = None
    archived: bool | None = None
    priority: Urgency | None = None


def selected(which: Filter) -> list[Select[*tuple[Any, ...]]]:
    """Statements on `deliveries` that together give each delivery of the filter once."""
    plain = list(_plain(which))
    return [select(deliveries).where(*plain, *standing) for standing in _standing(which)]


def _plain(which: Filter) -> Iterator[ColumnElement[bool]]:
    table = deliveries.c
    if which.agent_id is not None:
        yield table.agent_id == which.agent_id
    if which.since is not None:
        yield table.received_at >= which.since
    if which.recipient is not None:
        yield table.recipient == which.recipient
    if which.thread_id is not None:
        yield table.thread_id == which.thread_id
    if which.archived is not None:
        yield table.archived_at.is_not(None) if which.archived else table.archived_at.is_(None)
    if which.priority == "normal":
        yield or_(table.priority.is_(None), table.priority == which.priority)
    elif which.priority is not None:
        yield table.priority == which.priority


def _standing(which: Filter) -> Iterator[list[ColumnElement[bool]]]:
    """For each statement, what it says of state and archive."""
    table = deliveries.c
    away: list[ColumnElement[bool]] = [table.archived_at.is_not(None)]
    if which.state is not None:
        away.append(table.state == which.state)
    if which.status is None and which.state is None:
        yield []
    elif which.status is None and which.state is not None:
        yield _in_state(which, which.state)
        yield away
    elif which.status is not None:
        for state in states_of(which.status):
            if which.state in (None, state) and state is not DeliveryState.MERGED:
                yield _in_state(which, state)
        if which.state in (None, DeliveryState.MERGED):
            yield [*_in_state(which, DeliveryState.MERGED), _twin_stands(which.status)]
        if which.status is Status.ARCHIVED:
            yield away


def _in_state(which: Filter, state: DeliveryState) -> list[ColumnElement[bool]]:
    """In this state and not archived."""
    table = deliveries.c
    if state is DeliveryState.ACCEPTED:
        # The time says nothing but which index is meant: that of the few rows to read.
        return [table.archived_at.is_(None), table.state == ACCEPTED, table.not_before >= EPOCH]
    if which.agent_id is not None:
        return [table.state == state, of_agent()]
    if state is DeliveryState.ANSWERED:
        return [table.state == state, table.archived_at.is_(None)]
    return [table.state == state, of_workspace()]


def _twin_stands(status: Status) -> ColumnElement[bool]:
    """The delivery that a merged one was merged into has this status."""
    twin = deliveries.alias("twin")
    return exists(
        select(twin.c.id).where(
            twin.c.workspace_id == deliveries.c.workspace_id,
            twin.c.raw_id == deliveries.c.raw_id,
            twin.c.agent_id == deliveries.c.agent_id,
            twin.c.state.in_([one for one in states_of(status) if one is not DeliveryState.MERGED]),
        )
    )
