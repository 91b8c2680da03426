"""A statement that is a constant gives what SQLAlchemy gives, for a fraction of its work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    bindparam,
    case,
    event,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from mailagent.store.engine import Store
from mailagent.store.prepared import Session, prepare
from mailagent.store.tables import versions
from mailagent.store.transaction import Transaction
from mailagent.store.types import Json, Moment

_AT = datetime(2026, 11, 30, 9, 30, 0, 123456, tzinfo=UTC)

_things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(40), nullable=False, unique=True),
    Column("kept", Json),
    Column("at", Moment),
    Column("on", Boolean),
    Column("cost", Numeric(12, 6)),
    Column("state", String(8), nullable=False, server_default="new"),
)
_ROWS: Sequence[dict[str, Any]] = (
    {"id": 1, "name": "é%s", "kept": {"a": [1, None]}, "at": _AT, "on": True,
     "cost": Decimal("1.500000"), "state": "new"},
    {"id": 2, "name": "two", "kept": None, "at": None, "on": False, "cost": None, "state": "old"},
    {"id": 3, "name": "three", "kept": [], "at": _AT, "on": None, "cost": Decimal(0),
     "state": "gone"},
)  # fmt: skip


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url, now=lambda: _AT)
    with opened.engine.begin() as connection:
        _things.create(connection)
    for row in _ROWS:
        opened.write_now(None, Transaction.insert, _things, row)
    yield opened
    with opened.engine.begin() as connection:
        _things.drop(connection)
    opened.close()


_ALL = select(_things).order_by(_things.c.id)
_STATEMENTS: Sequence[tuple[Any, Mapping[str, Any]]] = (
    (_ALL, {}),
    (_ALL.where(_things.c.name == bindparam("called")), {"called": "é%s"}),
    (_ALL.where(_things.c.at >= bindparam("since", type_=Moment())), {"since": _AT}),
    (_ALL.where(_things.c.state.in_(["new", "old"])), {}),
    (_ALL.where(_things.c.state.not_in(["new", "old"])), {}),
    (_ALL.where(_things.c.id.in_(bindparam("ids", expanding=True))), {"ids": [1, 3]}),
    (_ALL.where(_things.c.id.not_in(bindparam("ids", expanding=True))), {"ids": [1]}),
    (_ALL.where(_things.c.id.in_(bindparam("ids", expanding=True))), {"ids": []}),
    (_ALL.where(_things.c.id.in_(bindparam("ids", expanding=True))), {"ids": list(range(40))}),
    (select(func.count(), func.max(_things.c.cost)).select_from(_things), {}),
    (select(_things.c.id, _things.c.id.label("again"), case((_things.c.on, "y"), else_="n"))
     .order_by(_things.c.id).limit(bindparam("most", type_=Integer)), {"most": 2}),
    (select(_things.c.kept["a"], literal_column("'x'")).order_by(_things.c.id), {}),
    (text("SELECT id FROM things WHERE id > :above ORDER BY id"), {"above": 1}),
    (select(text("id")).select_from(_things).order_by(_things.c.id), {}),
)  # fmt: skip


@pytest.mark.parametrize(("statement", "given"), _STATEMENTS)
def test_rows_are_those_of_sqlalchemy(
    store: Store, statement: Any, given: Mapping[str, Any]
) -> None:
    with store.engine.connect() as connection:
        there = connection.execute(statement, dict(given)).all()
    ours = [store.read_now(None, lambda tx: tx.rows(statement, given)) for _ in range(2)]
    for rows in ours:
        assert [tuple(row) for row in rows] == [tuple(row) for row in there]
        assert [list(row._mapping.items()) for row in rows] == [
            list(row._mapping.items()) for row in there
        ]


_RENAME = (
    update(_things)
    .where(_things.c.id == bindparam("which"))
    .values(state="seen", name=bindparam("called"))
)


def test_a_change_tells_how_many_rows_it_met_and_gives_what_it_returns(store: Store) -> None:
    def change(tx: Transaction) -> tuple[int, int, Any]:
        met = tx.execute(_RENAME, {"which": 1, "called": "one"}).rowcount
        none = tx.execute(_RENAME, {"which": 9, "called": "nine"}).rowcount
        by_names = update(_things).where(_things.c.id == bindparam("which"))
        tx.execute(by_names, {"which": 2, "kept": {"b": 2}, "at": None, "on": True})
        returned = tx.row(_RENAME.returning(_things.c.kept), {"which": 3, "called": "3"})
        return met, none, returned

    met, none, returned = store.write_now(None, change)
    assert (met, none, returned.kept) == (1, 0, [])
    rows = store.read_now(None, lambda tx: tx.rows(_ALL, {}))
    assert [(row.name, row.state) for row in rows] == [
        ("one", "seen"),
        ("two", "old"),
        ("3", "seen"),
    ]
    assert (rows[1].kept, rows[1].on) == ({"b": 2}, True)


def test_what_the_database_refuses_is_raised_as_sqlalchemy_raises_it(store: Store) -> None:
    again = {"id": 1, "name": "what a customer wrote"}
    for insert_it in (
        lambda tx: tx.insert(_things, again),
        lambda tx: tx.execute(update(_things).values(again)),
    ):
        with pytest.raises(IntegrityError) as refused:
            store.write_now(None, insert_it)
        assert not refused.value.connection_invalidated
        assert "what a customer wrote" not in str(refused.value)
    assert len(store.read_now(None, lambda tx: tx.rows(_ALL, {}))) == 3


def test_a_parameter_that_is_missing_is_an_error_and_no_null(store: Store) -> None:
    with pytest.raises(KeyError, match="which"):
        store.write_now(None, lambda tx: tx.execute(_RENAME, {"called": "one"}))


def test_who_listens_to_the_engine_sees_every_statement(store: Store) -> None:
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    store.read_now(None, lambda tx: tx.rows(_ALL, {}))
    event.listen(store.engine, "before_cursor_execute", note)
    try:
        store.read_now(None, lambda tx: tx.rows(_ALL, {}))
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    assert sum("FROM things" in one for one in seen) == 1


def test_what_python_fills_in_is_left_to_sqlalchemy(store: Store) -> None:
    columns = Column("a", Integer), Column("b", Integer, default=7, onupdate=8)
    filled, dialect = Table("t", MetaData(), *columns), store.engine.dialect
    assert prepare(insert(filled), frozenset({"a"}), dialect) is None
    assert prepare(update(filled), frozenset({"a"}), dialect) is None
    assert prepare(insert(versions), frozenset({"name", "value"}), dialect) is not None


async def test_a_lost_connection_is_said_and_given_up(postgres_url: str) -> None:
    store, other = Store(postgres_url), Store(postgres_url)
    with store.engine.connect() as connection, other.engine.connect() as beside:
        number = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        beside.exec_driver_sql(f"SELECT pg_terminate_backend({number})")
        with pytest.raises(DBAPIError) as lost:
            Session(connection).rows(select(versions), {})
        assert lost.value.connection_invalidated
        assert connection.invalidated
    store.close()
    other.close()
