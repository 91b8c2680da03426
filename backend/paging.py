"""Which part of a long list is asked for, and where does the next one begin?

A page goes on after the last key of the one before (never at an offset), so that rows that come or
go in between neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_

from mailagent.errors import Malformed
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "DEFAULT_LIMIT",
    "EVERYTHING",
    "MOST",
    "Page",
    "Window",
    "before",
    "ended",
    "newest",
    "page",
]

T = TypeVar("T")
U = TypeVar("U")

DEFAULT_LIMIT = 50
MOST = 200
"""The longest page that the API gives."""


@dataclass(frozen=True, slots=True)
class Window:
    """How many rows at most, after which one. `cursor` is a `Page.next_cursor`, opaque."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


EVERYTHING = Window(limit=1_000_000)
"""For a person at a shell, who pages by other means."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list; `next_cursor` is None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None = None

    def map(self, made: Callable[[T], U]) -> Page[U]:
        """The same page of other values."""
        return Page(tuple(made(item) for item in self.items), self.next_cursor)


def page(
    tx: Transaction,
    statement: Select[*tuple[Any, ...]],
    window: Window,
    *,
    by: ColumnElement[Any],
    newest_first: bool = False,
) -> Page[AnyRow]:
    """The rows of `statement` in the window, ordered by the unique column `by` (text or number).

    `by` must be among the selected columns. Raises Malformed for a cursor that is not ours.
    """
    if window.cursor is not None:
        last = _read(window.cursor)
        statement = statement.where(by < last if newest_first else by > last)
    ordered = statement.order_by(by.desc() if newest_first else by).limit(window.limit + 1)
    rows = tx.rows(ordered)
    items = tuple(rows[: window.limit])
    following = len(rows) > window.limit
    return Page(items, _encoded(items[-1]._mapping[by]) if following else None)


def newest(
    tx: Transaction,
    statements: Sequence[Select[*tuple[Any, ...]]],
    window: Window,
    *,
    at: ColumnElement[datetime],
    id_: ColumnElement[str],
) -> Page[AnyRow]:
    """The rows of all `statements` in the window, by the time `at`, the newest first.

    Each statement is one walk along an index that has `at` last, so the page costs the same however
    long the list is; no row may be in two of them. Both columns must be among the selected ones.
    Raises Malformed for a cursor that is not ours.
    """
    where: list[ColumnElement[bool]] = []
    if window.cursor is not None:
        last_at, last_id = _read_moment(window.cursor)
        where = [at <= last_at, or_(at < last_at, and_(at == last_at, id_ < last_id))]
    rows = [
        row
        for statement in statements
        for row in tx.rows(
            statement.where(*where).order_by(at.desc(), id_.desc()).limit(window.limit + 1)
        )
    ]
    rows.sort(key=lambda row: (row._mapping[at], row._mapping[id_]), reverse=True)
    items = tuple(rows[: window.limit])
    if len(rows) <= window.limit:
        return Page(items)
    last = items[-1]._mapping
    return Page(items, _encoded([last[at].isoformat(), last[id_]]))


def before(window: Window) -> int | None:
    """The number that the page before ended with. Raises Malformed for a cursor not ours."""
    if window.cursor is None:
        return None
    number = _read(window.cursor)
    if not isinstance(number, int):
        raise _not_ours()
    return number


def ended(items: Sequence[T], key: int | None) -> Page[T]:
    """A page after which a list goes on below the number `key`; None ends the list."""
    return Page(tuple(items), None if key is None else _encoded(key))


def _encoded(key: str | int | list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _read(cursor: str) -> str | int:
    match _decoded(cursor):
        case str() | int() as key:
            return key
    raise _not_ours()


def _read_moment(cursor: str) -> tuple[datetime, str]:
    match _decoded(cursor):
        case [str() as at, str() as id_]:
            try:
                moment = datetime.fromisoformat(at)
            except ValueError as error:
                raise _not_ours() from error
            if moment.tzinfo is not None:
                return moment, id_
    raise _not_ours()


def _decoded(cursor: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error


def _not_ours() -> Malformed:
    return Malformed("cursor", "is not one of ours: take next_cursor of the page before")
