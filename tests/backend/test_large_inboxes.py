"""What is asked of a large inbox is found along an index, never by reading all there is.

Held on SQLite, whose plans stand still: it plans by the statistics that we write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event

from backend import health
from backend.inboxes import listing
from backend.inboxes.filtering import Filter, selected
from backend.inboxes.story import story
from backend.inboxes.words import Status
from backend.outbound import listing as outbound
from backend.paging import Window
from mailagent.errors import NotFound
from mailagent.flow import waiting
from mailagent.flow.read import READING_QUEUE
from mailagent.flow.states import DeliveryState
from mailagent.flow.think import THINKING
from mailagent.store.engine import Store
from mailagent.store.tables import deliveries
from mailagent.store.transaction import Transaction
from mailagent.work import claim as claim_due
from mailagent.work import claim_fairly

_GROW = ("deliveries", "messages", "outbound_mails", "threads", "ledger", "turns", "raw_messages")
Ask = Callable[[Transaction], Any]


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    opened = Store(sqlite_url)
    yield opened
    opened.close()


def plans(store: Store, ask: Ask, *, workspace_id: str | None) -> str:
    """How SQLite would run what `ask` runs, a line for each table."""
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.split(maxsplit=1)[0] in {"SELECT", "UPDATE"}:
            statements.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        store.write_now(workspace_id, ask)
    except NotFound:
        pass
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    with store.engine.connect() as connection:
        return "\n".join(
            str(row[3])
            for statement, parameters in statements
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        )


def inbox(which: Filter) -> Ask:
    return lambda tx: listing.listing(tx, which, Window())


def sent(**which: str) -> Ask:
    return lambda tx: outbound.listing(tx, outbound.Filter(**which), Window())


HELD, ANSWERED = DeliveryState.HELD, DeliveryState.ANSWERED


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (inbox(Filter("a")), "ix_deliveries_agent_id_received_at"),
        (inbox(Filter("a", state=HELD)), "ix_deliveries_agent_id_state_received_at"),
        (inbox(Filter("a", state=ANSWERED)), "ix_deliveries_agent_id_state_received_at"),
        (inbox(Filter("a", Status.ESCALATED)), "ix_deliveries_agent_id_state_received_at"),
        (inbox(Filter("a", Status.PENDING)), "ix_deliveries_due"),
        (inbox(Filter()), "ix_deliveries_workspace_id_received_at"),
        (inbox(Filter(state=HELD)), "ix_deliveries_state_workspace_id_received_at"),
        (inbox(Filter(status=Status.ARCHIVED)), "ix_deliveries_archived"),
        (inbox(Filter(thread_id="t")), "ix_deliveries_thread_id"),
        (inbox(Filter(priority="urgent")), "ix_deliveries_priority"),
        (inbox(Filter("a", priority="normal")), "ix_deliveries_agent_id_received_at"),
        (sent(), "ix_outbound_mails_workspace_id_created_at"),
        (sent(agent_id="a"), "ix_outbound_mails_agent_id_created_at"),
        (sent(state="refused"), "ix_outbound_mails_state_workspace_id_created_at"),
        (sent(state="queued"), "ix_outbound_mails_due"),
        (sent(purpose="person"), "ix_outbound_mails_purpose_workspace_id_created_at"),
        (partial(story, id_="<x@y.example>"), "ix_messages_message_id_workspace_id"),
        (partial(story, id_="dlv_x"), "ix_deliveries_source_id"),
        (health.count, "ix_deliveries_state_workspace_id_received_at"),
        (health.count, "ix_outbound_recipients_unknown"),
    ],
)
def test_what_people_ask_for_is_found_along_its_index(store: Store, ask: Ask, index: str) -> None:
    goes_along(index, plans(store, ask, workspace_id="w"))


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (partial(story, id_="<x@y.example>"), "ix_messages_message_id_workspace_id"),
        (health.count, "ix_deliveries_due"),
        (partial(claim_due, queue=READING_QUEUE, limit=5), "ix_deliveries_due"),
        (partial(claim_fairly, queue=THINKING, limit=5, cap=5), "ix_threads_ready"),
    ],
)
def test_what_is_asked_across_workspaces_is_found_along_its_index(
    store: Store, ask: Ask, index: str
) -> None:
    goes_along(index, plans(store, ask, workspace_id=None))


def test_hand_overs_nobody_heard_of_are_counted_without_a_look_at_any_row(store: Store) -> None:
    plan = plans(store, waiting.count, workspace_id=None)
    assert "USING COVERING INDEX ix_deliveries_handed" in plan
    assert "USING COVERING INDEX ix_outbound_mails_told (answers_delivery_id=?" in plan


def goes_along(index: str, plan: str) -> None:
    found = plan.splitlines()
    assert any(f"USING INDEX {index}" in line or f"COVERING INDEX {index}" in line
               for line in found), found  # fmt: skip
    read_whole = [line for line in found if line in {f"SCAN {table}" for table in _GROW}]
    assert read_whole == []


@pytest.mark.parametrize(
    "which",
    [
        Filter("a"),
        Filter("a", state=HELD),
        Filter("a", status=Status.RESPONDED),
        Filter(),
        Filter(state=HELD),
        Filter(archived=True),
        Filter(status=Status.ARCHIVED),
        Filter(priority="urgent"),
        Filter("a", priority="normal"),
    ],
)
def test_a_page_is_read_in_its_order_and_not_sorted_from_all(store: Store, which: Filter) -> None:
    def first_page(tx: Transaction) -> None:
        for statement in selected(which):
            tx.rows(statement.order_by(deliveries.c.received_at.desc()).limit(5))

    assert "USE TEMP B-TREE" not in plans(store, first_page, workspace_id="w")
