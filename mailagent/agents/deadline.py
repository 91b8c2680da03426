"""How does a turn end in time? What is not done at the deadline may be tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from mailagent.errors import TransientFailure

__all__ = ["now", "until"]


def now() -> datetime:
    """This moment, aware."""
    return datetime.now(UTC)


@asynccontextmanager
async def until(deadline: datetime) -> AsyncIterator[None]:
    """Run the block until `deadline` (aware) at most. Raises TransientFailure at that moment."""
    timer = asyncio.timeout((deadline - now()).total_seconds())
    try:
        async with timer:
            yield
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise TransientFailure("the turn did not end before its deadline") from error
