"""Does a statement stay inside one workspace? The one place that keeps tenants apart.

A statement on tenants' tables gets `workspace_id = …` for each of them; a select inside another one
must compare it itself. What cannot be scoped is refused, never run. The walk looks at elements only
(no compilation): it runs for every statement.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Alias,
    BinaryExpression,
    ColumnClause,
    Delete,
    FromClause,
    Select,
    Table,
    TextClause,
    Update,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.selectable import AliasedReturnsRows, SelectBase

__all__ = ["AnySelect", "Statement", "Unscoped", "scoped"]

AnySelect = Select[*tuple[Any, ...]]
Statement = AnySelect | Update | Delete | TextClause


class Unscoped(RuntimeError):
    """A statement would touch rows of a tenant without naming the workspace: a bug of ours."""


def scoped(statement: Statement, workspace_id: str) -> Statement:
    """The statement, bound to one workspace. Raises Unscoped when that cannot be made sure."""
    if isinstance(statement, TextClause):
        if ":workspace_id" not in statement.text:
            raise Unscoped(f"a text statement without :workspace_id: {statement.text}")
        return statement.bindparams(workspace_id=workspace_id)
    if not isinstance(statement, Select | Update | Delete):
        raise Unscoped(f"cannot scope a {type(statement).__name__}")
    tables, nested, _ = _walk(statement)
    for inner in nested:
        _must_be_scoped(inner)
    if isinstance(statement, Update | Delete):
        tables.add(statement.table)
    for table in tables:
        if "workspace_id" in table.c:
            statement = statement.where(table.c.workspace_id == workspace_id)
    return statement


def _must_be_scoped(select: SelectBase) -> None:
    """A nested select compares the workspace of each tenant's table that it names.

    Also of an outer table that it correlates to: whether SQLAlchemy correlates depends on the whole
    statement, so a nested select proves itself alone.
    """
    tables, nested, compared = _walk(select)
    for table in tables:
        if "workspace_id" in table.c and table not in compared:
            raise Unscoped(f"a nested select on {table} does not compare its workspace_id")
    for inner in nested:
        _must_be_scoped(inner)


def _walk(statement: Any) -> tuple[set[FromClause], list[SelectBase], set[FromClause]]:
    """The tables a statement names itself, the selects nested in it, and the tables whose
    `workspace_id` it compares for equality outside of any OR.
    """
    tables: set[FromClause] = set()
    nested: list[SelectBase] = []
    compared: set[FromClause] = set()
    stack: list[Any] = list(statement.get_children())
    while stack:
        element = stack.pop()
        if isinstance(element, SelectBase):
            nested.append(element)
        elif isinstance(element, ColumnClause):
            _name(element.table, tables, nested)
        elif isinstance(element, Table | AliasedReturnsRows):
            _name(element, tables, nested)
        else:
            if isinstance(element, BinaryExpression) and element.operator is operators.eq:
                compared |= _sides(element)
            stack.extend(element.get_children())
    return tables, nested, compared


def _name(source: Any, tables: set[FromClause], nested: list[SelectBase]) -> None:
    if isinstance(source, Table) or (
        isinstance(source, Alias) and isinstance(source.element, Table)
    ):
        tables.add(source)
    elif isinstance(source, AliasedReturnsRows) and isinstance(source.element, SelectBase):
        nested.append(source.element)


def _sides(equality: BinaryExpression[Any]) -> set[FromClause]:
    return {
        side.table
        for side in (equality.left, equality.right)
        if isinstance(side, ColumnClause) and side.name == "workspace_id" and side.table is not None
    }
