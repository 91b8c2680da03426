"""How long may a look at a domain take, and what is said of what had no answer by then?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Self, TypeVar

from mailagent.dns_answers import Answer, Question, Unknown

__all__ = ["LONGEST_LOOK", "Patience"]

T = TypeVar("T")

LONGEST_LOOK = timedelta(seconds=45)
"""Less than the minute after which a proxy gives up on who asks for a look (nginx
`proxy_read_timeout`); DNS that is well needs less than a second."""
_TOO_LATE: Answer = Unknown("the look took too long, so that this was not answered in time")


@dataclass(frozen=True, slots=True)
class Patience:
    """Until when the parts of one look may take, by the running event loop's clock."""

    ends: float

    @classmethod
    def of(cls, longest: timedelta) -> Self:
        """The patience of a look that begins now."""
        return cls(asyncio.get_running_loop().time() + longest.total_seconds())

    async def within(self, work: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """What `work` returns, or `otherwise` when the time ends first; then it is cancelled.

        It is not begun when no time is left.
        """
        if asyncio.get_running_loop().time() >= self.ends:
            return otherwise
        try:
            async with asyncio.timeout_at(self.ends):
                return await work()
        except TimeoutError:
            return otherwise

    async def answers(
        self, ask: Callable[[Question], Awaitable[Answer]], questions: Iterable[Question]
    ) -> dict[Question, Answer]:
        """Every question with its answer, unknown where none came in time."""
        asked = list(dict.fromkeys(questions))
        told = await asyncio.gather(*(self.within(partial(ask, one), _TOO_LATE) for one in asked))
        return dict(zip(asked, told, strict=True))
