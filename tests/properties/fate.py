"""What may befall a process while it works on a row, at which of its commits?

A step runs as a task with a `Fate` of its own. At the commit point that the fate names it stops:
before a commit, or after it and before the next line. From there it is thawed (a frozen process
wakes, its lease perhaps gone) or cancelled (the process died, and all it had in memory with it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction

__all__ = ["Fate", "Frozen", "MortalStore", "fate", "start"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Fate:
    """What one run of a step meets."""

    stops_at: int | None = None
    """2n: before its commit number n; 2n + 1: after it. None: never."""
    agent: str = "replies"
    far_side: str = "takes"
    dns_answers: bool = True
    reader_dies: bool = False
    answered_before: int = 0
    """How many answers of models were recorded before the step began."""
    at_commit: list[Callable[[], None]] = field(default_factory=list)
    """Called once, when the next commit of the step has gone through."""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    _passed: int = 0

    async def commit_point(self) -> None:
        """Stop here, if this is the place."""
        here, self._passed = self._passed, self._passed + 1
        if here == self.stops_at:
            self.stopped.set()
            await self.thawed.wait()


_FATE: ContextVar[Fate] = ContextVar("fate")


def fate() -> Fate:
    """The fate of the step that asks."""
    return _FATE.get()


@dataclass
class Frozen:
    """A step that stopped at a commit point."""

    task: asyncio.Task[None]
    fate: Fate

    async def thaw(self) -> None:
        """Let it go on to its end."""
        self.fate.thawed.set()
        await self.task

    async def die(self) -> None:
        """Its process is gone."""
        self.task.cancel()
        await asyncio.wait([self.task])


async def start(step: Coroutine[Any, Any, None], with_fate: Fate) -> Frozen | None:
    """Run a step until its end, or until it is frozen."""
    context = copy_context()
    context.run(_FATE.set, with_fate)
    task = asyncio.get_running_loop().create_task(step, context=context)
    stopped = asyncio.ensure_future(with_fate.stopped.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        return Frozen(task, with_fate)
    task.result()
    return None


class MortalStore(Store):
    """The real store, whose writers may stop before and after every commit."""

    async def write(
        self,
        workspace_id: str,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await _mortally(super().write(workspace_id, work, *args, **kwargs))

    async def write_unscoped(
        self, work: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await _mortally(super().write_unscoped(work, *args, **kwargs))


async def _mortally(write: Coroutine[Any, Any, T]) -> T:
    met = _FATE.get(None)
    if met is None:
        return await write
    try:
        await met.commit_point()
    except asyncio.CancelledError:
        write.close()
        raise
    result = await write
    for tell in met.at_commit:
        tell()
    met.at_commit.clear()
    await met.commit_point()
    return result
