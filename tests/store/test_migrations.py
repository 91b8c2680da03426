"""The revisions make exactly our tables, on both databases, once, whoever else migrates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import column, create_engine, inspect, select, text
from sqlalchemy import table as sa_table
from sqlalchemy.exc import DBAPIError, OperationalError

from mailagent.store import tables as t
from mailagent.store.engine import Store, driver_url
from mailagent.store.migrations import is_current, upgrade, upgrade_within
from mailagent.store.tables import account_preferences, agents, metadata, workspaces
from mailagent.store.types import Json, Moment
from tests.databases import PostgresDatabases


def test_an_empty_database_is_not_current_until_it_is_upgraded(empty_database_url: str) -> None:
    assert not is_current(empty_database_url)
    upgrade(empty_database_url)
    assert is_current(empty_database_url)


def test_an_upgrade_that_fails_on_its_way_has_changed_nothing(empty_database_url: str) -> None:
    engine = create_engine(driver_url(empty_database_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE turn_steps (foreign_to_us INTEGER)"))
    with pytest.raises(DBAPIError):
        upgrade(empty_database_url)
    assert inspect(engine).get_table_names() == ["turn_steps"]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE turn_steps"))
    engine.dispose()
    upgrade(empty_database_url)
    assert is_current(empty_database_url)


def test_upgrading_again_keeps_what_is_there(database_url: str) -> None:
    store = Store(database_url)
    row = {"id": "w", "slug": "w", "name": "w", "settings": {}, "created_at": store.now()}
    store.write_now(None, lambda tx: tx.insert(workspaces, row))
    upgrade(database_url)
    assert store.read_now(None, lambda tx: len(tx.rows(workspaces.select()))) == 1
    store.close()


def test_two_nodes_that_migrate_at_once_do_not_collide(empty_database_url: str) -> None:
    # On SQLite there is one node.
    nodes = 1 if empty_database_url.startswith("sqlite") else 2
    with ThreadPoolExecutor(nodes) as pool:
        list(pool.map(upgrade, [empty_database_url] * nodes))
    assert is_current(empty_database_url)


def test_a_migration_and_a_transaction_that_hold_tables_of_each_other_both_end(
    postgres_databases: PostgresDatabases,
) -> None:
    with postgres_databases.create_empty() as url, ThreadPoolExecutor(1) as pool:
        engine = create_engine(driver_url(url))
        with engine.begin() as connection:
            upgrade_within(connection, "0008")
        with engine.connect() as node, engine.connect() as onlooker:
            node.execute(text("LOCK TABLE workspaces IN ROW EXCLUSIVE MODE"))
            migrating = pool.submit(upgrade, url)
            while not onlooker.execute(_MIGRATION_WAITS).scalar():
                onlooker.rollback()
            with suppress(OperationalError):  # told to try again: a worker does
                node.execute(text("LOCK TABLE outbound_recipients IN ROW EXCLUSIVE MODE"))
            node.rollback()
        migrating.result()
        engine.dispose()
        assert is_current(url)


_MIGRATION_WAITS = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


def test_the_migrated_tables_are_those_of_the_metadata(database_url: str) -> None:
    engine = create_engine(driver_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _ours})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []


def test_preferences_that_stood_among_settings_move_to_their_table(empty_database_url: str) -> None:
    engine = create_engine(driver_url(empty_database_url))
    with engine.begin() as connection:
        upgrade_within(connection, "0008")
        now = datetime.now(UTC)
        space = {"id": "wsp_1", "slug": "shop", "name": "Shop", "created_at": now}
        kept = {"retention_days": 30}
        chosen = {**kept, "send_by": {"shop.example": ["ses", "smtp"]}}
        connection.execute(workspaces.insert().values(**space, settings=chosen))
        agent: dict[str, Any] = {
            "workspace_id": "wsp_1",
            "name": "",
            "processor": "",
            "instructions": "",
        }
        agent |= {"email_enabled": True, "created_at": now}
        for id_, settings in (("agt_1", {"send_by": ["smtp"]}), ("agt_2", {})):
            row = {**agent, "id": id_, "handle": id_, "settings": settings}
            connection.execute(agents.insert().values(**row))
    upgrade(empty_database_url)
    with engine.connect() as connection:
        found = connection.execute(account_preferences.select()).all()
        settings_of = connection.execute(select(workspaces.c.settings)).scalar_one()
        of_agents = connection.execute(select(agents.c.settings)).scalars().all()
    engine.dispose()
    assert {(row.workspace_id, row.whose, row.name, *row.accounts) for row in found} == {
        ("wsp_1", "domain", "shop.example", "ses", "smtp"),
        ("wsp_1", "agent", "agt_1", "smtp"),
    }
    assert (settings_of, of_agents) == (kept, [{}, {}])


def test_what_waited_in_two_places_waits_in_one_queue(empty_database_url: str) -> None:
    engine = create_engine(driver_url(empty_database_url))
    now = datetime.now(UTC)
    wide: dict[str, Any] = {"workspace_id": "w", "created_at": now}
    of_case = {**wide, "agent_id": "a", "thread_id": "h", "turn_id": "n", "delivery_id": "d"}
    thread = {"agent_id": "a", "subject": "", "reply_key": "k", "last_at": now, "ready": False}
    delivery = {
        "raw_id": "r",
        "source": "smtp",
        "source_id": "s",
        "recipient": "x",
        "origin": {},
        "place": "agent",
        "received_at": now,
        "state": "answered",
        "turn_id": "n",
    }
    old = sa_table(
        "approvals",
        *map(column, ("id", *of_case, "direction", "state", "digest", "at_expiry", "reminders")),
        *(column(name, Json) for name in ("reasons", "edits")),
        column("expires_at", Moment),
        column("created_at", Moment),
    )
    waits = {**of_case, "state": "waiting", "digest": "x", "at_expiry": "reject", "reminders": 0}
    waits |= {"reasons": [], "edits": [], "expires_at": now}
    call = {**of_case, "name": "note_contact", "wish": {}, "why": "stranger, changes"}
    with engine.begin() as connection:
        upgrade_within(connection, "0022")
        for into, row in (
            (t.workspaces, {"id": "w", "slug": "w", "name": "", "settings": {}, "created_at": now}),
            (t.agents, {**wide, "id": "a", "handle": "a", "name": "", "processor": "",
                        "instructions": "", "email_enabled": True, "settings": {}}),
            (t.threads, {**wide, **thread, "id": "h", "not_before": now}),
            (t.turns, {"workspace_id": "w", "id": "n", "thread_id": "h", "agent_id": "a",
                       "sender": "", "state": "done", "processor": "", "started_at": now}),
            (t.raw_messages, {"workspace_id": "w", "id": "r", "content": b"", "size_bytes": 0,
                              "sha256": "0" * 64, "received_at": now}),
            (t.deliveries, {"workspace_id": "w", "id": "d", **delivery, "not_before": now}),
            (t.assessments, {**wide, "turn_id": "n", "fields": {"urgency": "high"},
                             "suggested": ""}),
            (t.tool_calls, {**call, "id": "tcl_1", "call": "1", "state": "asked"}),
            (t.tool_calls, {**call, "id": "tcl_2", "call": "2", "state": "done"}),
            (old, {**waits, "id": "apr_d", "direction": "outbound"}),
            (old, {**waits, "id": "apr_m", "direction": "inbound", "turn_id": None}),
        ):  # fmt: skip
            connection.execute(into.insert().values(**row))
    upgrade(empty_database_url)
    with engine.connect() as connection:
        rows = connection.execute(t.approvals.select().order_by(t.approvals.c.id)).all()
        priority = connection.execute(select(t.deliveries.c.priority)).scalar_one()
        due = connection.execute(select(t.tool_calls.c.not_before)).scalars().all()
    engine.dispose()
    assert [(row.id, row.kind, row.call_id) for row in rows] == [
        ("apr_1", "call", "tcl_1"),
        ("apr_d", "draft", None),
        ("apr_m", "mail", None),
    ]
    assert (rows[0].reasons, rows[0].expires_at - now) == (
        ["stranger, changes"],
        timedelta(days=14),
    )
    assert (priority, due) == ("high", [now, now])


def test_every_partial_index_is_partial_on_both_databases(database_url: str) -> None:
    engine = create_engine(driver_url(database_url))
    kind = engine.dialect.name
    found: set[str] = set()
    for table in metadata.tables:
        for index in inspect(engine).get_indexes(table):
            if f"{kind}_where" in index.get("dialect_options", {}):
                found.add(str(index["name"]))
    engine.dispose()
    wanted = {
        str(index.name)
        for table in metadata.tables.values()
        for index in table.indexes
        if index.dialect_options[kind]["where"] is not None
    }
    assert found == wanted


def test_postgresql_does_not_compress_a_mail_while_its_sender_waits(postgres_url: str) -> None:
    engine = create_engine(driver_url(postgres_url))
    with engine.connect() as connection:
        storage = connection.execute(
            text(
                "SELECT attstorage::text FROM pg_attribute"
                " WHERE attrelid = 'raw_messages'::regclass AND attname = 'content'"
            )
        ).scalar()
    engine.dispose()
    assert storage == "e"  # EXTERNAL


def _ours(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
    """Not the full-text tables of SQLite nor the expression indexes: raw SQL of the revisions."""
    if kind == "table" and reflected:
        return name in metadata.tables
    if kind == "index" and reflected:
        return any(index.name == name for t in metadata.tables.values() for index in t.indexes)
    return True
