"""How does code read and write rows, and what keeps one workspace's rows from another?

A step is a plain function over one `Transaction`; it runs whole in a database thread, so that a
statement costs no hop between threads (docs/decisions/0002). `Transaction.execute` is the one place
where tenant scope is enforced: it adds `workspace_id = …` to every statement on a tenant's table,
and refuses what it cannot scope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    Table,
    TextClause,
    Update,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from mailagent.store.constant import spread, with_fixed_lists
from mailagent.store.prepared import AnyRow, Changed, Session
from mailagent.store.scope import Statement, Unscoped, scoped

__all__ = ["AnyRow", "Changed", "Transaction"]

_WORKSPACE = "scope_workspace_id"


class Transaction:
    """One transaction, bound to one workspace, or (`workspace_id` None) to none: operator's work.

    Unscoped transactions are for claims, doors and operator commands only; they hand on
    (workspace, id) and everything else happens in a scoped one.
    """

    def __init__(self, session: Session, workspace_id: str | None, now: datetime) -> None:
        self._session = session
        self.workspace_id = workspace_id
        self.now = now
        """The start of the transaction by the store's clock; aware."""
        self.on_sqlite = session.dialect.name == "sqlite"
        self._woken: set[str] = set()
        self._at_end: dict[Table, list[dict[str, Any]]] = {}

    def of(self, workspace_id: str) -> Transaction:
        """The same transaction, scoped: for an operator's work that comes upon a tenant's row."""
        scoped = Transaction(self._session, workspace_id, self.now)
        scoped._woken, scoped._at_end = self._woken, self._at_end
        return scoped

    @property
    def _open(self) -> Session:
        if self._session.is_over:
            raise RuntimeError("the transaction has had its last statement")
        return self._session

    # --- statements ---

    def execute(self, statement: Statement, parameters: Mapping[str, Any] | None = None) -> Changed:
        """Run one statement inside the workspace. Raises Unscoped when it cannot be scoped.

        With `parameters` for its `bindparam`s, the statement is a constant of the program: it is
        built, scoped and compiled once, which makes it several times cheaper than a fresh one.
        """
        return self._open.change(*self._scoped(statement, parameters))

    def expect(
        self,
        statement: Update,
        parameters: Mapping[str, Any],
        *,
        met: int = 1,
        otherwise: Exception,
    ) -> None:
        """`execute`; unless it meets so many rows, `otherwise` ends the transaction, raised here or
        by a later statement or the commit.
        """
        self._open.expect(*self._scoped(statement, parameters), met, otherwise)

    def rows(
        self,
        statement: Statement,
        parameters: Mapping[str, Any] | None = None,
        *,
        last: bool = False,
    ) -> Sequence[AnyRow]:
        """All rows. The end of the transaction may go along with its `last` statement, which saves
        a wait; what is run after it raises RuntimeError.
        """
        scoped = self._scoped(statement, parameters)
        if last:
            self.end()
        return self._open.rows(*scoped, last=last)

    def foresee(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        """Say that this will be asked for, and that what is written until then does not change its
        rows: what a step foresees costs it one wait in all.
        """
        if self.on_sqlite:
            return  # a wait costs nothing there
        given, named = self._scoped(statement, parameters)
        assert named is not None
        self._open.foresee(given, named)

    def row(
        self,
        statement: Statement,
        parameters: Mapping[str, Any] | None = None,
        *,
        last: bool = False,
    ) -> AnyRow | None:
        """The first row, or None; `last` as in `rows`."""
        found = self.rows(statement, parameters, last=last)
        return found[0] if found else None

    def value(self, statement: Statement, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row, or None."""
        found = self.rows(statement, parameters)
        return found[0][0] if found else None

    def _scoped(
        self, statement: Statement, parameters: Mapping[str, Any] | None
    ) -> tuple[Statement, Mapping[str, Any] | None]:
        if parameters is None:
            if self.workspace_id is not None:
                statement = scoped(statement, self.workspace_id)
            return statement, None
        if self.workspace_id is None:
            return spread(_once(statement), parameters)
        name = "workspace_id" if isinstance(statement, TextClause) else _WORKSPACE
        parameters = {**parameters, name: self.workspace_id}
        return spread(_scoped_once(statement), parameters)

    def insert(self, table: Table, *rows: Mapping[str, Any]) -> None:
        """Insert rows; on a tenant's table each gets this transaction's workspace."""
        if rows:
            owned = [self._owned(table, row) for row in rows]
            self._open.change_many(_insert(table), owned)

    def insert_at_end(self, table: Table, row: Mapping[str, Any]) -> None:
        """Insert a row just before the commit, with others of its table by one statement: for what
        this transaction does not read.
        """
        self._at_end.setdefault(table, []).append(self._owned(table, row))

    def end(self) -> None:
        """Insert what `insert_at_end` kept; whoever commits calls it."""
        for table, rows in self._at_end.items():
            self._open.change_many(_insert(table), rows)
        self._at_end.clear()

    def insert_new(self, table: Table, row: Mapping[str, Any], *, unique: Sequence[str]) -> bool:
        """Insert a row unless one with the same `unique` columns is there; says whether it did."""
        statement = _insert_new(self.on_sqlite, table, tuple(unique))
        return self._open.change(statement, self._owned(table, row)).rowcount == 1

    def insert_unless_there(
        self, table: Table, row: Mapping[str, Any], *, unique: Sequence[str]
    ) -> None:
        """`insert_new` for who need not know: it costs no wait."""
        statement = _insert_new(self.on_sqlite, table, tuple(unique))
        self._open.change(statement, self._owned(table, row))

    def insert_or_update(
        self,
        table: Table,
        row: Mapping[str, Any],
        *,
        unique: Sequence[str],
        keep: Sequence[str] = (),
        only: ColumnElement[bool] | None = None,
    ) -> None:
        """Insert a row, or give the one with the same `unique` columns its other values, but for
        those to `keep`, and `only` where that is true of it.
        """
        kept = frozenset((*unique, *keep))
        statement = _insert_or_update(self.on_sqlite, table, tuple(unique), tuple(row), kept, only)
        self._open.change(statement, self._owned(table, row))

    def _owned(self, table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
        if "workspace_id" not in table.c or self.workspace_id is None:
            return dict(row)
        if row.get("workspace_id", self.workspace_id) != self.workspace_id:
            raise Unscoped(f"{table.name}: a row of another workspace")
        return {**row, "workspace_id": self.workspace_id}

    # --- wake-up ---

    def wake(self, queue: str) -> None:
        """Tell the workers of a queue, at commit, that a row of theirs is due."""
        self._woken.add(queue)

    @property
    def woken(self) -> frozenset[str]:
        """The queues to wake once this has committed."""
        return frozenset(self._woken)

    def lock(self, what: str) -> None:
        """Let no other transaction that locks `what` run at the same time, until this one ends.

        On SQLite nothing is to do: it has one writer.
        """
        if not self.on_sqlite:
            self._open.change(_LOCK, {"what": what})


_LOCK = select(
    func.pg_advisory_xact_lock(func.hashtextextended(bindparam("what"), literal_column("0")))
)


@cache
def _once(statement: Statement) -> Statement:
    return with_fixed_lists(statement)


@cache
def _scoped_once(statement: Statement) -> Statement:
    return with_fixed_lists(scoped(statement, bindparam(_WORKSPACE)))


@cache
def _insert(table: Table) -> Insert:
    # Inline: nobody asks for the number that the database gives a row.
    return insert(table).inline()


@cache
def _insert_new(on_sqlite: bool, table: Table, unique: tuple[str, ...]) -> Insert:
    statement: Insert
    if on_sqlite:
        statement = sqlite.insert(table).on_conflict_do_nothing(index_elements=unique)
    else:
        statement = postgresql.insert(table).on_conflict_do_nothing(index_elements=unique)
    # Without the option the driver's count is gone by the time it is asked for (PostgreSQL).
    return statement.execution_options(preserve_rowcount=True)


@cache
def _insert_or_update(
    on_sqlite: bool,
    table: Table,
    unique: tuple[str, ...],
    columns: tuple[str, ...],
    kept: frozenset[str],
    only: ColumnElement[bool] | None,
) -> Insert:
    statement = sqlite.insert(table) if on_sqlite else postgresql.insert(table)
    values = {name: statement.excluded[name] for name in columns if name not in kept}
    where = [] if only is None else [only]
    if "workspace_id" in table.c:
        # A row of another workspace in the same place is left alone.
        where.append(table.c.workspace_id == statement.excluded.workspace_id)
    return statement.on_conflict_do_update(
        index_elements=unique, set_=values, where=and_(*where) if where else None
    )
