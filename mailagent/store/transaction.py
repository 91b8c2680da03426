"""How does code read and write rows, and what keeps one workspace's rows from another?

A step is a plain function over one `Transaction`; it runs whole in a database thread, so that a
statement costs no hop between threads (docs/decisions/0002). `Transaction.execute` is the one place
where tenant scope is enforced: it adds `workspace_id = …` to every statement on a tenant's table,
and refuses what it cannot scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Alias,
    BinaryExpression,
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Insert,
    Join,
    Row,
    Select,
    Table,
    TextClause,
    Update,
    func,
    insert,
    literal,
    text,
)
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.selectable import FromClause

from mailagent.store.types import Moment

__all__ = ["AnyRow", "Transaction", "Unscoped"]

AnyRow = Row[*tuple[Any, ...]]
Statement = Select[*tuple[Any, ...]] | Update | Delete | TextClause


class Unscoped(RuntimeError):
    """A statement would touch rows of a tenant without naming the workspace: a bug of ours."""


class Transaction:
    """One transaction, bound to one workspace, or (`workspace_id` None) to none: operator's work.

    Unscoped transactions are for claims, doors and operator commands only; they hand on
    (workspace, id) and everything else happens in a scoped one.
    """

    def __init__(self, connection: Connection, workspace_id: str | None, now: datetime) -> None:
        self._connection = connection
        self.workspace_id = workspace_id
        self.now = now
        """The start of the transaction by the store's clock; aware."""
        self.on_sqlite = connection.dialect.name == "sqlite"
        self._woken: set[str] = set()

    def of(self, workspace_id: str) -> Transaction:
        """The same transaction, scoped: for an operator's work that comes upon a tenant's row."""
        scoped = Transaction(self._connection, workspace_id, self.now)
        scoped._woken = self._woken
        return scoped

    # --- statements ---

    def execute(self, statement: Statement) -> CursorResult[Any]:
        """Run one statement inside the workspace. Raises Unscoped when it cannot be scoped."""
        if self.workspace_id is not None:
            statement = self._scope(statement)
        result = self._connection.execute(statement)
        assert isinstance(result, CursorResult)
        return result

    def rows(self, statement: Statement) -> Sequence[AnyRow]:
        """All rows."""
        return self.execute(statement).all()

    def row(self, statement: Statement) -> AnyRow | None:
        """The first row, or None."""
        return self.execute(statement).first()

    def value(self, statement: Statement) -> Any:
        """The first column of the first row, or None."""
        return self.execute(statement).scalar()

    def insert(self, table: Table, *rows: Mapping[str, Any]) -> None:
        """Insert rows; on a tenant's table each gets this transaction's workspace."""
        if rows:
            self._connection.execute(insert(table), [self._owned(table, row) for row in rows])

    def insert_new(self, table: Table, row: Mapping[str, Any], *, unique: Sequence[str]) -> bool:
        """Insert a row unless one with the same `unique` columns is there; says whether it did."""
        owned = self._owned(table, row)
        statement = _on_conflict_do_nothing(self.on_sqlite, table, owned, unique)
        return self._connection.execute(statement).rowcount == 1

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
            statement = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))")
            self._connection.execute(statement.bindparams(what=what))

    def clock(self) -> ColumnElement[Any]:
        """Now, as an expression: PostgreSQL's own clock, so that leases need no agreement
        between machines; this machine's on SQLite.
        """
        if self.on_sqlite:
            return literal(self.now, Moment)
        return func.clock_timestamp()

    # --- scope ---

    def _scope(self, statement: Any) -> Any:
        match statement:
            case Select():
                for source in _tables(statement.get_final_froms()):
                    if "workspace_id" in source.c:
                        statement = statement.where(source.c.workspace_id == self.workspace_id)
            case Update() | Delete():
                if "workspace_id" in statement.table.c:
                    statement = statement.where(statement.table.c.workspace_id == self.workspace_id)
            case TextClause():
                if ":workspace_id" not in statement.text:
                    raise Unscoped(f"a text statement without :workspace_id: {statement.text}")
                return statement.bindparams(workspace_id=self.workspace_id)
            case _:
                raise Unscoped(f"cannot scope a {type(statement).__name__}")
        for element in visitors.iterate(statement):
            if isinstance(element, Select) and element is not statement and not _scoped(element):
                raise Unscoped(f"a nested select without workspace_id: {element}")
        return statement


def _tables(sources: Sequence[FromClause]) -> Iterator[FromClause]:
    for source in sources:
        if isinstance(source, Join):
            yield from _tables([source.left, source.right])
        elif isinstance(source, Table | Alias):
            yield source


def _scoped(select: Select[Any]) -> bool:
    """Whether a nested select compares the workspace of each tenant's table in it."""
    compared: set[Any] = set()
    if select.whereclause is not None:
        for element in visitors.iterate(select.whereclause):
            if isinstance(element, BinaryExpression) and element.operator is operators.eq:
                compared |= {
                    side.table
                    for side in (element.left, element.right)
                    if getattr(side, "name", None) == "workspace_id"
                }
    return all(
        source in compared
        for source in _tables(select.get_final_froms())
        if "workspace_id" in source.c
    )


def _on_conflict_do_nothing(
    on_sqlite: bool, table: Table, row: Mapping[str, Any], unique: Sequence[str]
) -> Insert:
    if on_sqlite:
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(table).values(row).on_conflict_do_nothing(index_elements=unique)
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert

    return postgresql_insert(table).values(row).on_conflict_do_nothing(index_elements=unique)
