"""How do times and JSON stand in both databases?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, DateTime, Dialect, String, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = ["EPOCH", "Json", "Moment", "microseconds", "verbatim"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""No moment of ours is before it."""


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime: how SQLite keeps it."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def verbatim(word: str) -> ColumnElement[str]:
    """A constant that stands in the statement itself, as it does in the condition of a partial
    index: SQLite takes such an index for nothing less. Raises ValueError unless it is letters and
    spaces.
    """
    if not word.replace(" ", "").isalpha():
        raise ValueError(f"{word!r} are no plain words")
    return literal_column(f"'{word}'", String())


class Moment(TypeDecorator[datetime]):
    """An aware datetime: `timestamptz` on PostgreSQL, microseconds since 1970 on SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return EPOCH + timedelta(microseconds=value)


Json = JSON().with_variant(JSONB(), "postgresql")
"""A JSON value: `jsonb` on PostgreSQL, text on SQLite."""
