"""How does a statement with a list in `column IN (…)` become one that is the same at each run?

SQLAlchemy writes such a list anew at every run, because the next one may be longer. With one
parameter for each of its values the statement is a constant: one for each length that is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import BinaryExpression, BindParameter, TextClause, bindparam, literal
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import ColumnElement

from mailagent.store.scope import Statement

__all__ = ["spread", "with_fixed_lists"]

S = TypeVar("S")
_LONGEST = 16
"""Of the lists that are given at a run; a longer one is left to SQLAlchemy."""


def with_fixed_lists(statement: S) -> S:
    """The same statement, with one parameter for each value of the lists that stand in it."""
    if isinstance(statement, TextClause):
        return statement
    return _replaced(statement, {})


def spread(
    statement: Statement, parameters: Mapping[str, Any]
) -> tuple[Statement, Mapping[str, Any]]:
    """The statement, and its parameters, with one for each value of the lists that are given."""
    names = _lists_in(statement)
    if not names:
        return statement, parameters
    lists = {name: parameters[name] for name in names}
    if not all(0 < len(values) <= _LONGEST for values in lists.values()):
        return statement, parameters
    given = {name: value for name, value in parameters.items() if name not in lists}
    for name, values in lists.items():
        given.update(zip(_names(name, len(values)), values, strict=True))
    return _of_lengths(statement, tuple((name, len(lists[name])) for name in names)), given


@cache
def _lists_in(statement: Statement) -> tuple[str, ...]:
    return tuple(sorted({values.key for _, values in _expanding(statement) if not values.value}))


@cache
def _of_lengths(statement: Statement, lengths: tuple[tuple[str, int], ...]) -> Statement:
    return _replaced(statement, dict(lengths))


def _names(name: str, length: int) -> Sequence[str]:
    return [f"{name}_{place}" for place in range(length)]


def _expanding(statement: Any) -> Iterator[tuple[ColumnElement[Any], BindParameter[Any]]]:
    for element in visitors.iterate(statement):
        if isinstance(element, BinaryExpression):
            values = element.right
            if isinstance(values, BindParameter) and values.expanding:
                yield element.left, values


def _replaced(statement: S, lengths: Mapping[str, int]) -> S:
    def fixed(element: object, **_: object) -> BinaryExpression[bool] | None:
        if not isinstance(element, BinaryExpression):
            return None
        column, values = element.left, element.right
        if not (isinstance(values, BindParameter) and values.expanding):
            return None
        if values.value:
            single: Sequence[ColumnElement[Any]] = [
                literal(one, column.type) for one in values.value
            ]
        elif values.key in lengths:
            names = _names(values.key, lengths[values.key])
            single = [bindparam(name, type_=column.type) for name in names]
        else:
            return None
        if element.operator is operators.in_op:
            return column.in_(single)
        if element.operator is operators.not_in_op:
            return column.not_in(single)
        return None

    changed = visitors.replacement_traverse(cast("Any", statement), {}, fixed)
    return cast("S", changed)
