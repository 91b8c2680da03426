"""Which part of a long list is asked for, and where does the next one begin?

A page goes on after the last key of the one before (never at an offset), so that rows that come or
go in between neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select

from mailagent.errors import Malformed
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["DEFAULT_LIMIT", "EVERYTHING", "MOST", "Page", "Window", "page"]

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
    return Page(items, _written(items[-1]._mapping[by]) if following else None)


def _written(key: str | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _read(cursor: str) -> str | int:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        key = None
    if not isinstance(key, str | int):
        raise Malformed("cursor", "is not one of ours: take next_cursor of the page before")
    return key
