"""How does a request say which page of a list it wants, and how does the answer look?"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from backend.paging import DEFAULT_LIMIT, MOST, Window

__all__ = ["PageOf", "Windowed"]

T = TypeVar("T")


class PageOf(BaseModel, Generic[T]):
    """One page; `next_cursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None = None


def _window(
    limit: Annotated[int, Query(ge=1, le=MOST)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=1_000)] = None,
) -> Window:
    return Window(limit, cursor)


Windowed = Annotated[Window, Depends(_window)]
"""`limit` and `cursor` of the query."""
