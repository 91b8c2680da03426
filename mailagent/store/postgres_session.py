"""How do the statements of a transaction reach PostgreSQL with as few waits as can be?

What is run for its rows is waited for; what only changes rows is queued in libpq and goes with the
next that is waited for, at the latest with the COMMIT: a step writes two rows for each that it
reads. The end of the transaction goes along with its last statement, where a step says which that
is. https://www.postgresql.org/docs/current/libpq-pipeline-mode.html.

Statements that cannot be prepared (`prepared.py`) are left to SQLAlchemy, once what is queued has
been answered, and so is then the end of the transaction. Between two transactions a connection is
kept: to have SQLAlchemy lend it for each, set up and reset, cost as much as two statements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from itertools import count
from typing import Any

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import DivisionByZero, InFailedSqlTransaction, error_from_result
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait
from sqlalchemy import (
    Connection,
    Engine,
    Integer,
    Select,
    Update,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError

from mailagent.store.prepared import (
    AnyRow,
    AnyStatement,
    Changed,
    Parameters,
    Prepared,
    Session,
)
from mailagent.store.scope import Statement
from mailagent.store.step_thread import SteppingConnection

__all__ = ["Bounds", "PostgresSession", "PostgresSessions"]

_MOST_PREPARED = 400
"""Statements that a server session keeps planned: a mail's way takes about a hundred."""
_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)
_KNOWN = "mailagent_known"
_MET = "rows_met"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What begins and what ends a transaction."""

    begin: bytes
    end: bytes


class PostgresSessions:
    """Connections of an engine, kept between transactions, for threads that ask for them."""

    def __init__(self, engine: Engine, most: int) -> None:
        """`most` are kept."""
        self._engine, self._most = engine, most
        self._idle: list[_Kept] = []

    def begin(self, bounds: Bounds) -> PostgresSession:
        """A session for one transaction. Raises OperationalError where the server is away."""
        try:
            kept = self._idle.pop()
        except IndexError:
            kept = _Kept(self._engine.connect())
        return PostgresSession(kept, bounds, self)

    def take_back(self, kept: _Kept, *, keep: bool) -> None:
        """Keep a connection that is between two transactions, or give it to its pool; one that is
        lost is given up, with all others: they have most likely died of the same.
        """
        if kept.connection.invalidated:
            kept.connection.close()
            self.close()
        elif keep and len(self._idle) < self._most:
            self._idle.append(kept)
        else:
            kept.leave_pipeline()
            kept.connection.close()

    def close(self) -> None:
        """End all connections that are kept."""
        while self._idle:
            kept = self._idle.pop()
            kept.connection.invalidate()
            kept.connection.close()


class PostgresSession(Session):
    """A connection within one transaction, which begins with its first statement.

    What a change is refused for is raised by whatever waits next.
    """

    def __init__(self, kept: _Kept, bounds: Bounds, owner: PostgresSessions) -> None:
        super().__init__(kept.connection)
        self._kept, self._known, self._bounds, self._owner = kept, kept.known, bounds, owner
        self._driver, self._libpq = kept.driver, kept.driver.pgconn
        self._queued: list[_Queued] = []
        self._foreseen: dict[AnyStatement, tuple[Parameters | None, _Queued | None]] = {}
        self._has_begun = False
        self._is_answered = False
        self._end: _Queued | None = None

    def change(self, statement: AnyStatement, parameters: Parameters | None) -> Changed:
        """Queue a statement for what it changes; asking how many rows it met waits for it."""
        prepared = None if parameters is None else self._prepared(statement, parameters)
        if prepared is None or parameters is None:
            self._leave_to_sqlalchemy()
            return super().change(statement, parameters)
        return self._send(prepared, parameters)

    def expect(
        self,
        statement: Statement,
        parameters: Parameters | None,
        met: int,
        otherwise: Exception,
    ) -> None:
        """Queue a statement for what it changes. `otherwise` is raised by what waits next, unless
        it meets so many rows: the server itself refuses then, and commits nothing.
        """
        given: dict[str, Any] = {_MET: met}
        prepared = None
        if parameters is not None and isinstance(statement, Update):
            exactly, new = _exactly(statement, frozenset(parameters))
            given |= {new.get(name, name): value for name, value in parameters.items()}
            prepared = self._prepared(exactly, given)
        if prepared is None:
            super().expect(statement, parameters, met, otherwise)
        else:
            self._send(prepared, given).otherwise = otherwise

    def change_many(self, statement: AnyStatement, rows: Sequence[Parameters]) -> None:
        """Queue a statement once for each of these parameters."""
        prepared = self._prepared(statement, rows[0])
        if prepared is None or any(row.keys() != rows[0].keys() for row in rows):
            self._leave_to_sqlalchemy()
            super().change_many(statement, rows)
            return
        for row in rows:
            self._send(prepared, row)

    def rows(
        self, statement: AnyStatement, parameters: Parameters | None, *, last: bool = False
    ) -> Sequence[AnyRow]:
        """Run a statement for its rows; the end of the transaction goes along with the `last`."""
        prepared = None if parameters is None else self._prepared(statement, parameters)
        if prepared is None or parameters is None:
            self._leave_to_sqlalchemy()
            return super().rows(statement, parameters, last=last)
        foreseen, asked = self._foreseen.pop(statement, (None, None))
        if asked is None or foreseen != parameters:
            asked = self._send(prepared, parameters)
        if last and asked.result is None and not self._connection.in_transaction():
            self._ask_for_the_end()
        self.is_over = last
        result = asked.wait()
        if not result.ntuples:
            return ()
        reader = self._known.reader
        reader.set_pgresult(result)
        found = reader.load_rows(0, result.ntuples, tuple)
        return prepared.read(found, lambda: _description(result))

    def foresee(self, statement: Statement, parameters: Parameters) -> None:
        """Queue a statement whose rows will be asked for."""
        prepared = self._prepared(statement, parameters)
        if prepared is not None:
            self._foreseen[statement] = parameters, self._send(prepared, parameters)

    def commit(self) -> None:
        """Commit what was done. Raises as the statements do."""
        if self._end is None and self._has_begun:
            # A connection that was kept may have died since: before COMMIT that means that nothing
            # was done, and all may be done again.
            by_sqlalchemy = self._connection.in_transaction()
            if self._queued and (by_sqlalchemy or not self._is_answered):
                self.wait()
            if self._libpq.transaction_status == TransactionStatus.INERROR:
                raise self._undone()
            if by_sqlalchemy:
                self._kept.leave_pipeline()
                super().commit()
                return
            self._ask_for_the_end()
        if self._end is not None and self._end.wait().command_status != self._bounds.end:
            raise self._undone()

    def rollback(self) -> None:
        """Undo what was done. Raises for a change that was queued and is refused."""
        if self._end is None and self._has_begun:
            self._ask_for_the_end()
            self.wait()

    def leave(self) -> None:
        """Give the connection up, which undoes what is not committed."""
        for one in self._queued:
            one.otherwise = None  # it is undone, done or not, and who waits has heard of worse
        with suppress(DBAPIError):
            if self._queued:
                self.wait()
        with suppress(DBAPIError, psycopg.Error):
            if self._libpq.transaction_status != TransactionStatus.IDLE:
                self._ask(b"ROLLBACK").wait()
            if self._connection.in_transaction():
                self._kept.leave_pipeline()
                self._connection.rollback()
        if self._libpq.transaction_status != TransactionStatus.IDLE:
            self._connection.invalidate()
        self._owner.take_back(self._kept, keep=not self._listened_to)

    def wait(self) -> None:
        """Send what is queued and wait until all of it is answered. Raises its first error."""
        queued, self._queued = self._queued, []
        try:
            self._libpq.pipeline_sync()
            results = self._driver.wait(_answers(self._libpq, len(queued)))
        except psycopg.Error as error:
            raise self._refusal(queued[0].sql, error) from error
        self._is_answered = True
        failed = None
        for one, result in zip(queued, results, strict=True):
            one.result = result
            if result.status in _FAILED:
                failed = failed or one
                if one.is_preparation:
                    self._known.names.pop(one.sql, None)
        if failed is not None and failed.result is not None:
            refused = error_from_result(failed.result)
            if failed.otherwise is not None and isinstance(refused, DivisionByZero):
                raise failed.otherwise
            raise self._refusal(failed.sql, refused) from refused

    def _refusal(self, sql: bytes, error: psycopg.Error) -> BaseException:
        return self._as_sqlalchemy(sql.decode(), (), error, None)

    def _undone(self) -> BaseException:
        undone = InFailedSqlTransaction("the server has undone it instead")
        refusal = self._refusal(self._bounds.end, undone)
        refusal.__cause__ = undone
        return refusal

    def _send(self, prepared: Prepared, parameters: Parameters) -> _Queued:
        self._begin()
        values = prepared.values(parameters)
        sql, places = _numbered(prepared)
        return self._ask(sql, [values[place] for place in places])

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._ask(self._bounds.begin)

    def _ask_for_the_end(self) -> None:
        self.is_committing = self._bounds.end == b"COMMIT"
        self._end = self._ask(self._bounds.end)

    def _leave_to_sqlalchemy(self) -> None:
        """To where statements are answered one by one."""
        self._begin()
        if self._queued:
            self.wait()
        self._kept.leave_pipeline()

    def _ask(self, sql: bytes, values: Sequence[Any] = ()) -> _Queued:
        self._kept.enter_pipeline()
        octets, formats = self._octets(values)
        names = self._known.names
        name = names.pop(sql, None)
        if name is None:
            name = b"own_%d" % next(self._known.numbers)
            if len(names) >= _MOST_PREPARED:
                (oldest, its_name), *_ = names.items()
                del names[oldest]
                self._libpq.send_query_params(b"DEALLOCATE " + its_name, None)
                self._queued.append(_Queued(self, oldest))
            self._libpq.send_prepare(name, sql, [self._type(value) for value in values])
            self._queued.append(_Queued(self, sql, is_preparation=True))
        names[sql] = name  # the last used is the last
        self._libpq.send_query_prepared(name, octets, formats)
        queued = _Queued(self, sql)
        self._queued.append(queued)
        return queued

    def _octets(
        self, values: Sequence[Any]
    ) -> tuple[Sequence[Buffer | None], Sequence[Format] | None]:
        """Values as texts, which the server reads as what the statement takes there; but bytes."""
        octets: list[Buffer | None] = []
        formats: list[Format] | None = None
        for place, value in enumerate(values):
            if value is None:
                octets.append(None)
            elif isinstance(value, str):
                if "\0" in value:  # where libpq would end it
                    error = psycopg.DataError("a text with a NUL")
                    raise self._refusal(b"", error) from error
                octets.append(value.encode())
            elif isinstance(value, bytes):
                octets.append(value)
                formats = formats or [Format.TEXT] * len(values)
                formats[place] = Format.BINARY
            elif type(value) is int:
                octets.append(b"%d" % value)
            elif type(value) is datetime:
                octets.append(str(value).encode())
            else:
                octets.append(self._known.reader.get_dumper(value, PyFormat.TEXT).dump(value))
        return octets, formats

    def _type(self, value: Any) -> int:
        """What a statement is told of a parameter by its first value; 0: it is to find out."""
        if value is None or isinstance(value, str) or type(value) is int:
            return 0
        return self._known.reader.get_dumper(value, PyFormat.TEXT).oid


class _Kept:
    """A connection that was lent by its pool, and what is known of its session of the server."""

    def __init__(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, SteppingConnection)
        driver.steps = True
        self.connection, self.driver = connection, driver
        known = connection.info.get(_KNOWN)
        if known is None:
            known = connection.info[_KNOWN] = _Known(driver)
        self.known: _Known = known
        self._is_piped = False

    def enter_pipeline(self) -> None:
        """To where commands are queued."""
        if not self._is_piped:
            self.driver.pgconn.enter_pipeline_mode()
            self._is_piped = True

    def leave_pipeline(self) -> None:
        """To where the driver sends commands one by one; nothing is queued any more."""
        if self._is_piped:
            self.driver.pgconn.exit_pipeline_mode()
            self._is_piped = False


class _Known:
    """What is known of one session of the server, as long as it lives."""

    def __init__(self, driver: SteppingConnection) -> None:
        self.names: dict[bytes, bytes] = {}
        """Of each prepared statement, the one used last at the end."""
        self.numbers = count()
        self.reader = Transformer(driver)


class _Queued:
    """A command that was queued, and what the server has answered."""

    __slots__ = ("_session", "is_preparation", "otherwise", "result", "sql")

    def __init__(
        self, session: PostgresSession, sql: bytes, *, is_preparation: bool = False
    ) -> None:
        self._session, self.sql, self.is_preparation = session, sql, is_preparation
        self.result: PGresult | None = None
        self.otherwise: Exception | None = None

    @property
    def rowcount(self) -> int:
        return self.wait().command_tuples or 0

    def wait(self) -> PGresult:
        if self.result is None:
            self._session.wait()
        assert self.result is not None
        return self.result


def _answers(libpq: PGconn, commands: int) -> PQGen[list[PGresult]]:
    """Send what is queued and read the answer of each command; psycopg's protocol for waits."""
    while libpq.flush():
        if (yield Wait.RW) & Ready.R:
            libpq.consume_input()
    results: list[PGresult] = []
    # The last is that of the end of the pipeline: the server is ready for the next.
    while len(results) <= commands:
        while libpq.is_busy():
            yield Wait.R
            libpq.consume_input()
        result = libpq.get_result()
        if result is not None:  # None ends the results of one command
            results.append(result)
    return results[:-1]


@cache
def _exactly(statement: Update, names: frozenset[str]) -> tuple[Select[Any], Mapping[str, str]]:
    """The statement as one that divides by zero unless it meets `_MET` rows; and what those of the
    parameters are called there that are new values of columns.
    """
    columns = {name: column for name, column in statement.table.columns.items() if name in names}
    new = {name: f"new_{name}" for name in columns}
    values = {name: bindparam(new[name], type_=columns[name].type) for name in columns}
    if values:
        statement = statement.values(values)
    changed = statement.returning(literal_column("1")).cte("changed")
    count_ = select(func.count()).select_from(changed).scalar_subquery()
    met = count_ == bindparam(_MET, type_=Integer)
    return select(1 / case((met, 1), else_=0)), new


@lru_cache(_MOST_PREPARED * 4)
def _numbered(prepared: Prepared) -> tuple[bytes, Sequence[int]]:
    """SQL in the driver's style with `$1`, `$2`… and the places of their values."""
    names: dict[str, int] = {}

    def mark(found: re.Match[str]) -> str:
        name = found[1]
        return "%" if name is None else f"${names.setdefault(name, len(names) + 1)}"

    sql = re.sub(r"%%|%\(([^)]+)\)s", mark, prepared.sql).encode()
    return sql, [prepared.names.index(name) for name in names]


def _description(result: PGresult) -> Sequence[tuple[str, int]]:
    return [
        ((result.fname(column) or b"").decode(), result.ftype(column))
        for column in range(result.nfields)
    ]
