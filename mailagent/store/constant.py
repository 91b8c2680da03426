"""What makes a statement that is a constant of the program cheap to run again and again?

SQLAlchemy writes a list in `column IN (…)` anew at every run, because the next one may be longer; a
list that stands in the statement itself never is. As single parameters it costs nothing: half the
price of a short statement.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from sqlalchemy import BinaryExpression, BindParameter, TextClause, literal
from sqlalchemy.sql import operators, visitors

__all__ = ["with_fixed_lists"]

S = TypeVar("S")


def with_fixed_lists(statement: S) -> S:
    """The same statement, with one parameter for each value of a list that it holds."""
    if isinstance(statement, TextClause):
        return statement
    changed = visitors.replacement_traverse(cast("Any", statement), {}, _fixed)
    return cast("S", changed)


def _fixed(element: object, **_: object) -> BinaryExpression[bool] | None:
    if not isinstance(element, BinaryExpression):
        return None
    column, values = element.left, element.right
    # A list that is given at each run has no value here; an empty one is written in its own way.
    if not (isinstance(values, BindParameter) and values.expanding and values.value):
        return None
    single = [literal(one, column.type) for one in values.value]
    if element.operator is operators.in_op:
        return column.in_(single)
    if element.operator is operators.not_in_op:
        return column.not_in(single)
    return None
