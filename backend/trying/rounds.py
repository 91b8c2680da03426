"""How do the questions of many turns become few batches?

Turns think beside each other. When all of them wait for an answer, what they asked is one round;
each goes on with its answer, and what they ask next is the round after it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from mailagent.agents.claude_batches import MOST_OCTETS, BatchedAnswer

__all__ = ["Rounds"]

T = TypeVar("T")

Body = Mapping[str, Any]
Put = Callable[[Mapping[str, Body]], Awaitable[Mapping[str, BatchedAnswer]]]

_LIVE = 500
"""Turns that think beside each other: each holds its thread and its files in memory."""


class Rounds:
    """Gathers what is asked, and puts it together."""

    def __init__(self, put: Put, *, live: int = _LIVE, most_octets: int = MOST_OCTETS) -> None:
        """`put` asks all of a round; it may raise, which ends all turns."""
        self._put, self._live, self._most_octets = put, live, most_octets
        self._waiting: dict[str, tuple[Body, asyncio.Future[BatchedAnswer]]] = {}
        self._news = asyncio.Event()

    async def ask(self, name: str, body: Body) -> BatchedAnswer:
        """The answer to one question of this round; `name` is its own in this trial."""
        future: asyncio.Future[BatchedAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[name] = (body, future)
        self._news.set()
        return await future

    async def run(self, turns: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
        """Think all turns, in rounds; what one of them raises ends all."""
        results: dict[int, T] = {}
        todo = list(reversed(list(enumerate(turns))))
        live: dict[asyncio.Task[T], int] = {}
        try:
            while todo or live:
                while todo and len(live) < self._live:
                    number, turn = todo.pop()
                    live[asyncio.create_task(turn())] = number
                if len(self._waiting) == len(live):
                    await self._round()
                    continue
                for task in await self._change(live):
                    results[live.pop(task)] = task.result()
        finally:
            for task in live:
                task.cancel()
            await asyncio.gather(*live, return_exceptions=True)
        return [results[number] for number in range(len(turns))]

    async def _change(self, live: Mapping[asyncio.Task[T], int]) -> Sequence[asyncio.Task[T]]:
        """The turns that have ended, once one has ended or asked."""
        self._news.clear()
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({news, *live}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        return [task for task in live if task.done()]

    async def _round(self) -> None:
        bodies: dict[str, Body] = {}
        octets = 0
        for name, (body, _) in self._waiting.items():
            octets += len(json.dumps(body))
            if bodies and octets > self._most_octets:
                break
            bodies[name] = body
        asked = {name: self._waiting.pop(name)[1] for name in bodies}
        answers = await self._put(bodies)
        for name, future in asked.items():
            # No result at all is what an error of the service leaves, and may be asked again.
            future.set_result(answers.get(name) or BatchedAnswer("errored", status=500))
