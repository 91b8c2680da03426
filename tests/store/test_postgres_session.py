"""Changes are queued and go with the next statement that is waited for (PostgreSQL)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import psycopg
import pytest
from psycopg.abc import PQGen
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Select, bindparam, delete, func, literal_column, select, table, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from mailagent.errors import LostClaim
from mailagent.store import postgres_session
from mailagent.store.engine import Store
from mailagent.store.tables import versions
from mailagent.store.transaction import Transaction

_ALL = select(versions.c.name, versions.c.value).order_by(versions.c.name)
_NAMED = select(versions.c.value).where(versions.c.name == bindparam("called"))
_RAISE = update(versions).where(versions.c.name == bindparam("called"))


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = Store(postgres_url)
    opened.write_now(None, lambda tx: tx.execute(delete(versions)))
    yield opened
    opened.close()


@pytest.fixture
async def either(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url)
    opened.write_now(None, lambda tx: tx.execute(delete(versions)))
    yield opened
    opened.close()


def _row(name: str, value: int = 0) -> dict[str, Any]:
    return {"name": name, "value": value}


def _kept(store: Store) -> Sequence[tuple[str, int]]:
    return [tuple(row) for row in store.read_now(None, lambda tx: tx.rows(_ALL, {}))]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each wait for what was queued."""
    seen: list[object] = []
    plain = postgres_session._answers

    def answers(libpq: PGconn, commands: int) -> PQGen[list[PGresult]]:
        seen.append(commands)
        return plain(libpq, commands)

    monkeypatch.setattr(postgres_session, "_answers", answers)
    return seen


def _waited(store: Store, waits: list[object], step: Callable[[Transaction], Any]) -> int:
    for _ in range(2):  # the first time a connection is made and statements are prepared
        before = len(waits)
        store.write_now(None, step)
    return len(waits) - before


def test_changes_cost_no_wait_of_their_own(store: Store, waits: list[object]) -> None:
    def step(tx: Transaction) -> None:
        tx.execute(_RAISE, {"called": "a", "value": 1})
        tx.lock("something")
        assert tx.rows(_NAMED, {"called": "nobody"}) == ()
        for name in "abc":
            tx.insert_unless_there(versions, _row(name), unique=["name"])

    assert _waited(store, waits, step) == 2  # for the rows, and for the commit
    assert _kept(store) == [("a", 1), ("b", 0), ("c", 0)]


def test_what_is_foreseen_is_waited_for_once(store: Store, waits: list[object]) -> None:
    store.write_now(None, Transaction.insert, versions, _row("a", 1), _row("b", 2))

    def step(tx: Transaction) -> None:
        tx.foresee(_ALL, {})
        tx.foresee(_NAMED, {"called": "a"})
        assert tx.value(_NAMED, {"called": "a"}) == 1
        assert len(tx.rows(_ALL, {})) == 2

    assert _waited(store, waits, step) == 2  # for both, and for the commit


def test_what_is_asked_otherwise_than_foreseen_or_again_is_asked_anew(either: Store) -> None:
    def step(tx: Transaction) -> Sequence[int]:
        tx.insert(versions, _row("a", 1), _row("b", 2))
        tx.foresee(_NAMED, {"called": "a"})
        other = tx.value(_NAMED, {"called": "b"})
        tx.foresee(_NAMED, {"called": "a"})
        before = tx.value(_NAMED, {"called": "a"})
        tx.execute(_RAISE, {"called": "a", "value": 5})
        return other, before, tx.value(_NAMED, {"called": "a"})

    assert either.write_now(None, step) == (2, 1, 5)


def test_the_end_goes_along_with_the_last_statement(store: Store, waits: list[object]) -> None:
    def step(tx: Transaction) -> None:
        tx.insert_unless_there(versions, _row("a", 1), unique=["name"])
        assert tx.row(_NAMED, {"called": "a"}, last=True) == (1,)

    assert _waited(store, waits, step) == 1
    assert _kept(store) == [("a", 1)]


def test_what_was_kept_for_the_end_goes_before_the_last_statement(either: Store) -> None:
    def step(tx: Transaction) -> Sequence[Any]:
        tx.insert_at_end(versions, _row("a", 1))
        return tx.rows(_NAMED, {"called": "a"}, last=True)

    assert [tuple(row) for row in either.write_now(None, step)] == [(1,)]


def test_a_statement_after_the_last_is_refused(either: Store) -> None:
    def step(tx: Transaction) -> None:
        tx.rows(_ALL, {}, last=True)
        tx.insert(versions, _row("a"))

    with pytest.raises(RuntimeError, match="last statement"):
        either.write_now(None, step)
    assert _kept(either) == []


async def test_a_rehearsal_is_undone_with_its_last_statement(either: Store) -> None:
    def step(tx: Transaction) -> Sequence[Any]:
        tx.insert(versions, _row("a", 1))
        return tx.rows(_NAMED, {"called": "a"}, last=True)

    rows = await either.rehearse("wsp_any", step)
    assert [tuple(row) for row in rows] == [(1,)]
    assert _kept(either) == []


def test_a_last_statement_that_is_refused_undoes_all(store: Store) -> None:
    def step(tx: Transaction) -> None:
        tx.insert(versions, _row("a"))
        tx.rows(select(literal_column("1") / literal_column("0")), {}, last=True)

    with pytest.raises(DataError):
        store.write_now(None, step)
    assert _kept(store) == []
    store.write_now(None, Transaction.insert, versions, _row("b"))
    assert _kept(store) == [("b", 0)]


@pytest.mark.parametrize("last", [False, True])
def test_what_sqlalchemy_runs_is_of_the_same_transaction(store: Store, *, last: bool) -> None:
    def step(tx: Transaction, *, fails: bool) -> None:
        tx.insert(versions, _row("a"))
        tx.execute(_RAISE.values(value=2).where(versions.c.name == "a"), {"called": "a"})
        tx.execute(update(versions).values(value=versions.c.value + 1))
        tx.insert(versions, _row("b"))
        assert tx.rows(select(func.count()).select_from(versions), last=last)[0][0] == 2
        if fails:
            raise LookupError

    if not last:
        with pytest.raises(LookupError):
            store.write_now(None, step, fails=True)
        assert _kept(store) == []
    store.write_now(None, step, fails=False)
    assert _kept(store) == [("a", 3), ("b", 0)]


@pytest.mark.parametrize("is_asked", [True, False], ids=["asked", "at the commit"])
def test_a_change_that_is_refused_undoes_all_and_the_next_transaction_is_well(
    store: Store, is_asked: bool
) -> None:
    def step(tx: Transaction) -> None:
        tx.insert(versions, _row("a"))
        tx.insert(versions, _row("a"))
        # Not prepared by then, and not run: to be prepared again another time.
        tx.execute(_RAISE, {"called": "a", "value": 7})
        if is_asked:
            tx.rows(_ALL, {})

    with pytest.raises(IntegrityError) as refused:
        store.write_now(None, step)
    assert not refused.value.connection_invalidated
    assert _kept(store) == []
    store.write_now(None, Transaction.insert, versions, _row("a"))
    assert store.write_now(None, Transaction.execute, _RAISE, _raised("a", 7)).rowcount == 1
    assert _kept(store) == [("a", 7)]


def _raised(name: str, value: int) -> dict[str, Any]:
    return {"called": name, "value": value}


@pytest.mark.parametrize("met", [0, 1, 2])
def test_a_change_that_meets_other_rows_than_expected_ends_the_transaction(
    either: Store, met: int
) -> None:
    either.write_now(None, Transaction.insert, versions, _row("a"))

    def step(tx: Transaction) -> None:
        tx.insert(versions, _row("b"))
        tx.expect(_RAISE, _raised("a", 9), met=met, otherwise=LostClaim("a"))

    if met == 1:
        either.write_now(None, step)
        assert _kept(either) == [("a", 9), ("b", 0)]
        return
    with pytest.raises(LostClaim, match="a"):
        either.write_now(None, step)
    assert _kept(either) == [("a", 0)]


def test_a_step_that_fails_raises_its_own_error_though_a_change_met_other_rows(
    either: Store,
) -> None:
    def step(tx: Transaction) -> None:
        with contextlib.suppress(LostClaim):  # raised at once on SQLite, later on PostgreSQL
            tx.expect(_RAISE, _raised("nobody", 9), otherwise=LostClaim("nobody"))
        raise LookupError

    with pytest.raises(LookupError):
        either.write_now(None, step)
    either.write_now(None, Transaction.insert, versions, _row("a"))
    assert _kept(either) == [("a", 0)]


def test_a_refusal_that_a_step_swallowed_is_no_commit(store: Store) -> None:
    def step(tx: Transaction) -> None:
        tx.insert(versions, _row("a"))
        with contextlib.suppress(DBAPIError):
            tx.rows(select(literal_column("1") / literal_column("0")), {})

    with pytest.raises(DBAPIError, match="undone"):
        store.write_now(None, step)
    assert _kept(store) == []


def test_a_text_with_a_nul_is_refused_and_not_cut(store: Store) -> None:
    with pytest.raises(DataError, match="NUL"):
        store.write_now(None, Transaction.insert, versions, _row("a\0b"))
    assert _kept(store) == []


@pytest.mark.parametrize("again", ["write", "read"])
def test_connections_that_died_while_they_were_kept_are_replaced(store: Store, again: str) -> None:
    def three(tx: Transaction, left: int = 2) -> None:
        tx.rows(_ALL, {})
        if left:
            store.write_now(None, three, left - 1)

    store.write_now(None, Transaction.insert, versions, _row("a"))
    store.write_now(None, three)
    with psycopg.connect(
        store.url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True
    ) as beside:
        beside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
    if again == "read":
        assert _kept(store) == [("a", 0)]
    store.write_now(None, Transaction.insert, versions, _row("b"))
    assert _kept(store) == [("a", 0), ("b", 0)]


async def test_connections_are_kept_and_used_again(store: Store) -> None:
    numbers = {
        store.write_now(None, lambda tx: tx.value(select(func.pg_backend_pid()), {}))
        for _ in range(5)
    }
    assert len(numbers) == 1


def test_more_statements_than_a_session_keeps_are_forgotten_the_oldest_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_session, "_MOST_PREPARED", 5)
    statements: list[Select[Any]] = [select(literal_column(str(number))) for number in range(12)]

    def step(tx: Transaction) -> tuple[Sequence[int], int]:
        found = [tx.value(statement, {}) for statement in (*statements, *statements)]
        return found, tx.value(_PREPARED, {})

    found, prepared = store.write_now(None, step)
    assert found == [*range(12), *range(12)]
    assert prepared <= 6  # those, and this question


_PREPARED = select(func.count()).select_from(table("pg_prepared_statements"))
