"""How is a statement that is a constant of the program run, again and again, for little?

SQLAlchemy works out at each run what is the same at each run: which columns are set, how a value is
bound, how a row is read. That takes several times as long as SQLite takes for the statement itself.
Here it is worked out once, from what SQLAlchemy has compiled, with its types; then the driver is
called. What cannot be fixed beforehand (a list of any length, a default that Python makes) is left
to SQLAlchemy, as is everything while somebody listens to the engine's statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Dialect, Insert, Row, TextClause, Update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler

from mailagent.store.scope import Statement

__all__ = [
    "AnyRow", "AnyStatement", "Changed", "Parameters", "Prepared", "Session", "prepare",
]  # fmt: skip

AnyRow = Row[*tuple[Any, ...]]
AnyStatement = Statement | Insert
Parameters = Mapping[str, Any]
Process = Callable[[Any], Any]
_Description = Sequence[Sequence[Any]]
"""Of each column its name and the server's number of its type."""
_MOST = 2_000


class Changed(Protocol):
    """What became of a statement that changes rows."""

    @property
    def rowcount(self) -> int:
        """How many rows it met. Where changes are queued this waits, and may raise for them."""


@dataclass(frozen=True, slots=True)
class _Counted:
    rowcount: int


class Session:
    """A connection within one transaction: each statement is run in the cheapest way there is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect
        self._cursor: DBAPICursor | None = None
        self.is_committing = False
        """Whether a connection that is lost now leaves open what became of the transaction."""
        self.is_over = False
        """Whether the last statement was run."""
        heard = connection.dispatch
        self._listened_to = bool(heard.before_cursor_execute or heard.after_cursor_execute)

    def change(self, statement: AnyStatement, parameters: Parameters | None) -> Changed:
        """Run a statement for what it changes.

        Raises DBAPIError as SQLAlchemy does, and gives up a connection that is lost; so do all.
        """
        if parameters is None or (prepared := self._prepared(statement, parameters)) is None:
            return _Counted(self._connection.execute(statement, parameters).rowcount)
        cursor = self._call("execute", prepared.sql, prepared.bind(parameters))
        if prepared.has_rows:
            self._fetched(prepared, cursor)  # SQLite ends a statement only then
        return _Counted(cursor.rowcount)

    def expect(
        self,
        statement: Statement,
        parameters: Parameters | None,
        met: int,
        otherwise: Exception,
    ) -> None:
        """Run a statement for what it changes. Raises `otherwise` unless it meets so many rows."""
        if self.change(statement, parameters).rowcount != met:
            raise otherwise

    def change_many(self, statement: AnyStatement, rows: Sequence[Parameters]) -> None:
        """Run a statement once for each of these parameters, for what it changes."""
        first, *others = rows
        if not others:
            self.change(statement, first)
            return
        prepared = self._prepared(statement, first)
        if prepared is None or any(row.keys() != first.keys() for row in others):
            self._connection.execute(statement, rows)
        else:
            self._call("executemany", prepared.sql, [prepared.bind(row) for row in rows])

    def rows(
        self, statement: AnyStatement, parameters: Parameters | None, *, last: bool = False
    ) -> Sequence[AnyRow]:
        """Run a statement for its rows. After the `last` only the end of the transaction comes:
        where it costs a wait, it goes along.
        """
        self.is_over = last
        if parameters is None or (prepared := self._prepared(statement, parameters)) is None:
            return self._connection.execute(statement, parameters).all()
        cursor = self._call("execute", prepared.sql, prepared.bind(parameters))
        found = self._fetched(prepared, cursor)
        return prepared.read(found, lambda: cursor.description or ()) if found else ()

    def foresee(self, statement: Statement, parameters: Parameters) -> None:
        """Say that `rows` will be asked for this. Where a wait costs more than the statement, it is
        run along with the next that is waited for.
        """

    def commit(self) -> None:
        """Commit what was done. Raises as the statements do."""
        self.is_committing = True
        self._connection.commit()

    def rollback(self) -> None:
        """Undo what was done. Raises for a change that was queued and is refused."""
        self._connection.rollback()

    def leave(self) -> None:
        """Give the connection up, which undoes what is not committed."""
        self._connection.close()

    def _prepared(self, statement: AnyStatement, parameters: Parameters) -> Prepared | None:
        if self._listened_to:
            return None
        return prepare(statement, frozenset(parameters), self._connection.dialect)

    def _call(self, method: str, sql: str, bound: Any) -> DBAPICursor:
        cursor = self._cursor
        try:
            if cursor is None:
                if not self._connection.in_transaction():
                    self._connection.begin()
                cursor = self._cursor = self._connection.connection.cursor()
            getattr(cursor, method)(sql, bound)
        except self._connection.dialect.loaded_dbapi.Error as error:
            raise self._as_sqlalchemy(sql, bound, error, cursor) from error
        return cursor

    def _fetched(self, prepared: Prepared, cursor: DBAPICursor) -> Sequence[Any]:
        try:
            return cursor.fetchall()
        except self._connection.dialect.loaded_dbapi.Error as error:
            raise self._as_sqlalchemy(prepared.sql, (), error, cursor) from error

    def _as_sqlalchemy(
        self, sql: str, parameters: Any, error: Any, cursor: DBAPICursor | None
    ) -> BaseException:
        dialect, driver = self._connection.dialect, self._connection.dialect.loaded_dbapi
        there = None if self._connection.invalidated else self._connection.connection
        lost = dialect.is_disconnect(error, there, cursor)
        if lost:
            self._connection.invalidate(error)
        wrapped: BaseException = DBAPIError.instance(
            sql,
            parameters,
            error,
            driver.Error,
            hide_parameters=self._connection.engine.hide_parameters,
            connection_invalidated=lost,
            dialect=dialect,
        )
        return wrapped


class Prepared:
    """One statement, for one dialect and the names of its parameters."""

    def __init__(
        self,
        compiled: SQLCompiler,
        dialect: Dialect,
        columns: Sequence[ColumnElement[Any]],
    ) -> None:
        self.sql = compiled.string
        self._dialect = dialect
        self._columns = columns
        self.has_rows = bool(columns)
        self._reading: _Reading | None = None
        names = {name: bind for bind, name in compiled.bind_names.items()}
        self.names: list[str] = []
        self._binds = []
        for name in compiled.positiontup or names:
            bind = names[name]
            process = bind.type.dialect_impl(dialect).bind_processor(dialect)
            fixed = None if bind.required else bind.effective_value
            self.names.append(name)
            self._binds.append((bind.key, bind.required, fixed, process))
        self._positional = compiled.positional

    def bind(self, parameters: Parameters) -> Any:
        """The driver's parameters. Raises KeyError for one that is not given."""
        values = self.values(parameters)
        return tuple(values) if self._positional else dict(zip(self.names, values, strict=True))

    def values(self, parameters: Parameters) -> Sequence[Any]:
        """Their values, in the order of `names`. Raises KeyError for one that is not given."""
        found: list[Any] = []
        for key, required, fixed, process in self._binds:
            value = parameters[key] if required else parameters.get(key, fixed)
            found.append(value if process is None else process(value))
        return found

    def read(self, found: Sequence[Any], told: Callable[[], _Description]) -> Sequence[AnyRow]:
        """Rows of the driver as SQLAlchemy gives them; `told` is asked once for their columns."""
        if self._reading is None:
            # Only now: it may hang on what the server says of a column.
            self._reading = _Reading.of(self._columns, told(), self._dialect)
        return self._reading.rows(found)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a row is, and how those of its columns are read that the driver does not read alone."""

    row: Callable[[Sequence[Any]], Any]
    processes: Sequence[tuple[int, Process]]

    @classmethod
    def of(
        cls,
        columns: Sequence[ColumnElement[Any]],
        description: _Description,
        dialect: Dialect,
    ) -> _Reading:
        names: list[str] = []
        processes: list[tuple[int, Process]] = []
        for place, (column, told) in enumerate(zip(columns, description, strict=True)):
            names.append(told[0] if column.key is None else str(column.key))
            process = column.type.dialect_impl(dialect).result_processor(dialect, told[1])
            if process is not None:
                processes.append((place, process))
        return cls(_row_type(names), processes)

    def rows(self, found: Sequence[Any]) -> Sequence[AnyRow]:
        if self.processes:
            found = [self._processed(row) for row in found]
        return [self.row(one) for one in found]

    def _processed(self, row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for place, process in self.processes:
            values[place] = process(values[place])
        return values


def _row_type(names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """Tuples whose values have names, as SQLAlchemy's rows, and are made in a third of the time."""

    def mapping(row: Sequence[Any]) -> Mapping[str, Any]:
        return dict(zip(names, row, strict=True))

    named = {name: property(itemgetter(place)) for place, name in enumerate(names)}
    return type("Row", (tuple,), {"__slots__": (), "_mapping": property(mapping), **named})


@lru_cache(_MOST)
def prepare(
    statement: Statement | Insert, names: frozenset[str], dialect: Dialect
) -> Prepared | None:
    """What is run for a statement with parameters of these names; None where each run differs."""
    parts = visitors.iterate(statement)
    if isinstance(statement, TextClause) or any(isinstance(one, TextClause) for one in parts):
        return None  # what it selects has no names or types here
    columns = list(statement.exported_columns)
    compiled = statement.compile(dialect=dialect, column_keys=sorted(names))
    assert isinstance(compiled, SQLCompiler)
    if compiled.post_compile_params or compiled.literal_execute_params:
        return None
    if compiled.escaped_bind_names:
        return None
    if any(bind.callable is not None for bind in compiled.bind_names):
        return None
    if isinstance(statement, Insert) and compiled.insert_prefetch:
        return None
    if isinstance(statement, Update) and compiled.update_prefetch:
        return None
    return Prepared(compiled, dialect, columns)
