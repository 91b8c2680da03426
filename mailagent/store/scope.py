"""Does a statement stay inside one workspace? The one place that keeps tenants apart.

A statement on tenants' tables gets `workspace_id = …` for each of them (so an outer join becomes an
inner one); a select inside another one must compare it itself, in a condition that always holds.
What cannot be scoped is refused, never run. The walk looks at elements only (no compilation): it
runs for every statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Alias,
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnClause,
    ColumnElement,
    Delete,
    FromClause,
    Select,
    Table,
    TableClause,
    TextClause,
    Update,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.selectable import (
    AliasedReturnsRows,
    SelectBase,
    TableValuedAlias,
    TextualSelect,
)

__all__ = ["AnySelect", "Statement", "Unscoped", "scoped"]

AnySelect = Select[*tuple[Any, ...]]
Statement = AnySelect | Update | Delete | TextClause
Workspace = str | BindParameter[str]
"""A workspace's id, or the parameter that will hold it: then a nested select must compare its
workspace with that of a table around it.
"""


class Unscoped(RuntimeError):
    """A statement would touch rows of a tenant without naming the workspace: a bug of ours."""


def scoped(statement: Statement, workspace_id: Workspace) -> Statement:
    """The statement, bound to one workspace. Raises Unscoped when that cannot be made sure."""
    if isinstance(statement, TextClause):
        if ":workspace_id" not in statement.text:
            raise Unscoped(f"a text statement without :workspace_id: {statement.text}")
        # A parameter is given its value by whoever runs the statement.
        given = isinstance(workspace_id, BindParameter)
        return statement if given else statement.bindparams(workspace_id=workspace_id)
    if not isinstance(statement, Select | Update | Delete):
        raise Unscoped(f"cannot scope a {type(statement).__name__}")
    named = _walk(statement)
    if isinstance(statement, Update | Delete):
        named.tables.add(statement.table)
    named.check_nested(workspace_id, named.tables)
    for table in named.tables:
        if (owner := _owner(table)) is not None:
            statement = statement.where(owner == workspace_id)
    return statement


@dataclass
class _Named:
    """What one level of a statement names."""

    tables: set[FromClause] = field(default_factory=set)
    inner: dict[int, SelectBase] = field(default_factory=dict)
    """Selects in its conditions and columns: they may correlate to its tables."""
    derived: dict[int, SelectBase] = field(default_factory=dict)
    """Selects in its FROM, common table expressions too: they see nothing around them."""

    def check_nested(self, workspace_id: Workspace, around: set[FromClause]) -> None:
        """Raises Unscoped unless every select inside proves itself."""
        for select in self.inner.values():
            _must_be_scoped(select, workspace_id, around)
        for select in self.derived.values():
            _must_be_scoped(select, workspace_id, set())


def _must_be_scoped(select: SelectBase, workspace_id: Workspace, around: set[FromClause]) -> None:
    """A nested select fixes the workspace of each tenant's table that it reads: compared with ours,
    or with that of a table that is fixed already.
    """
    named = _walk(select)
    if not isinstance(select, Select):
        named.check_nested(workspace_id, around)
        return
    # As SQLAlchemy does: a table of the statement around is that one's, unless none else is left.
    correlated = named.tables & around if named.tables - around else set()
    own = named.tables - correlated
    fixed = _fixed(select, workspace_id, correlated)
    for table in own:
        if _owner(table) is not None and table not in fixed:
            raise Unscoped(f"a nested select on {table} does not fix its workspace_id")
    named.check_nested(workspace_id, own)


def _walk(statement: Any) -> _Named:
    """The tables a statement names itself and the selects nested in it. Raises Unscoped."""
    named = _Named()
    stack: list[Any] = list(statement.get_children())
    while stack:
        element = stack.pop()
        if isinstance(element, TextClause | TextualSelect | UpdateBase):
            raise Unscoped(f"cannot scope a {type(element).__name__} inside a statement")
        if isinstance(element, SelectBase):
            named.inner[id(element)] = element
        elif isinstance(element, ColumnClause):
            if element.table is not None:
                _name(element.table, named)
        elif isinstance(element, TableClause | AliasedReturnsRows):
            _name(element, named)
        else:
            stack.extend(element.get_children())
    return named


def _name(source: Any, named: _Named) -> None:
    match source:
        case Table() | Alias(element=Table()):
            named.tables.add(source)
        case AliasedReturnsRows(element=SelectBase() as select):
            named.derived[id(select)] = select
        case TableValuedAlias():
            pass  # a function's rows, of no table
        case _:
            raise Unscoped(f"cannot scope rows of {source}")


def _fixed(
    select: Select[Any], workspace_id: Workspace, correlated: set[FromClause]
) -> set[FromClause]:
    """The tables whose workspace the WHERE of a select fixes."""
    fixed = set(correlated)
    pairs: list[list[FromClause]] = []
    for one in _always(select.whereclause):
        if isinstance(one, BinaryExpression) and one.operator is operators.eq:
            sides = (one.left, one.right)
            owners = [side.table for side in sides if _is_owner(side)]
            values = [side.value for side in sides if isinstance(side, BindParameter)]
            if len(owners) == 2:
                pairs.append(owners)
            elif isinstance(workspace_id, str) and values == [workspace_id]:
                fixed.update(owners)
    for _ in pairs:  # a chain of n comparisons is followed to its end in n rounds
        for pair in pairs:
            if not fixed.isdisjoint(pair):
                fixed.update(pair)
    return fixed


def _always(condition: Any) -> Iterator[Any]:
    """The parts of a condition that hold for every row it lets through: under no OR, no NOT."""
    match condition:
        case BooleanClauseList() if condition.operator is operators.and_:
            for part in condition.clauses:
                yield from _always(part)
        case Grouping():
            yield from _always(condition.element)
        case None:
            pass
        case _:
            yield condition


def _is_owner(side: Any) -> bool:
    if not isinstance(side, ColumnClause) or side.table is None:
        return False
    owner = _owner(side.table)
    return owner is not None and owner.name == side.name


def _owner(table: FromClause) -> ColumnElement[Any] | None:
    """The column that says whose a table's rows are: `workspace_id`, or what its `info` names."""
    if "workspace_id" in table.c:
        return table.c.workspace_id
    named = table.element if isinstance(table, Alias) else table
    key = named.info.get("workspace_key") if isinstance(named, Table) else None
    return None if key is None else table.c[key]
