"""What does a caller in an event loop hand to a thread of the store, and how is it told?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, ParamSpec

__all__ = ["HandedIn", "tell"]

P = ParamSpec("P")


@dataclass(slots=True, eq=False)
class HandedIn(Generic[P]):
    """What one caller wants done, and how it went."""

    function: Callable[P, object]
    future: asyncio.Future[object]
    result: object = None
    error: BaseException | None = None


def tell(done: Sequence[HandedIn[P]]) -> None:
    """Hand the outcomes to their callers, with one wake-up of each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[HandedIn[P]]] = {}
    for one in done:
        by_loop.setdefault(one.future.get_loop(), []).append(one)
    for loop, of_loop in by_loop.items():
        with contextlib.suppress(RuntimeError):  # nobody waits in a loop that is closed
            loop.call_soon_threadsafe(_resolve, of_loop)


def _resolve(done: Sequence[HandedIn[P]]) -> None:
    for one in done:
        if one.future.done():
            continue
        if one.error is not None:
            one.future.set_exception(one.error)
        else:
            one.future.set_result(one.result)
