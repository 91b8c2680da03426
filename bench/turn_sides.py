"""Who answers the same conversation in `bench.turns`: our part of a turn, or the SDK alone.

    python -m bench.turn_sides '{"side": "ours", "model": "http://127.0.0.1:…", …}'

One process a side, so that neither pays for the other or for the model's server: both are one event
loop (uvloop), both have so many conversations in flight at a time, both are measured in here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import uvloop
from sqlalchemy import func, select

from backend import logs
from backend.installation import installation
from bench.node import AGENT, QUESTION
from mailagent.flow import Services
from mailagent.flow.think import THINKING
from mailagent.flow.workers import workers
from mailagent.inbound import Accepted, Envelope, Inbound, Origin
from mailagent.settings import load
from mailagent.store.tables import deliveries, turns
from mailagent.store.transaction import Transaction
from mailagent.store.types import verbatim
from mailagent.tokens import new_id
from mailagent.work import Claim

_LOOK_EVERY = 0.02
_BATCH = 50

Side = Callable[[Mapping[str, Any]], Coroutine[Any, Any, Mapping[str, Any]]]


async def _ours(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Accept and read the mails first, with nobody thinking; then let one worker think alone."""
    settings = load(asked["settings"], env_file=None)
    async with installation(settings, demo=True) as shared:
        at_once = asked["at_once"]
        bounds = replace(
            shared.services.settings, turns_at_once=at_once, turns_at_once_per_workspace=at_once
        )
        services = replace(shared.services, settings=bounds)
        await _read(services, asked["turns"] + at_once)
        seconds: list[float] = []

        def watched(step: Any) -> Any:
            async def timed(services: Services, claim: Claim) -> None:
                begin = time.perf_counter()
                await step(services, claim)
                seconds.append(time.perf_counter() - begin)

            timed.__name__ = step.__name__
            return timed

        stop = asyncio.Event()
        worker = workers(services, watched)["think"]
        working = asyncio.create_task(worker.run(shared.wakeups.event("think"), stop))
        while len(seconds) < at_once:  # connections, imports and statements are had once
            await asyncio.sleep(_LOOK_EVERY)
        measured = _Measured()
        done = len(seconds)
        while await _count(services, THINKING.table, THINKING.due):
            await asyncio.sleep(_LOOK_EVERY)
        told = measured.told(seconds[done:])
        stop.set()
        await working
        failed = await _count(services, turns, turns.c.state != verbatim("done"))
        return {**told, "failed": failed}


async def _read(services: Services, mails: int) -> None:
    for first in range(0, mails, _BATCH):
        batch = [_inbound(n) for n in range(first, min(first + _BATCH, mails))]
        for outcome in await services.acceptor.accept(batch):
            assert isinstance(outcome, Accepted)
    stop = asyncio.Event()
    reading = asyncio.create_task(workers(services)["read"].run(asyncio.Event(), stop))
    while await _count(services, deliveries, deliveries.c.state == verbatim("accepted")):
        await asyncio.sleep(_LOOK_EVERY)
    stop.set()
    await reading


def _inbound(number: int) -> Inbound:
    """A mail by a writer of its own."""
    sender = f"turn-{number}@client.bench.test"
    raw = (
        f"From: {sender}\r\nTo: {AGENT}\r\nSubject: opening hours\r\nMessage-ID: <{sender}>\r\n"
        f"\r\n{QUESTION}\r\n"
    ).encode()
    origin = Origin(datetime.now(UTC), client_ip="127.0.0.1", helo="client.bench.test")
    return Inbound(Envelope(sender, (AGENT,)), raw, "smtp", new_id("smtp"), origin)


async def _count(services: Services, table: Any, condition: Any) -> int:
    statement = select(func.count()).select_from(table).where(condition)

    def counted(tx: Transaction) -> int:
        return int(tx.value(statement))

    return await services.store.read_unscoped(counted)


async def _sdk(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put the same questions by the SDK's own streaming helper, and keep nothing."""
    import anthropic

    questions: Sequence[Mapping[str, Any]] = asked["questions"]
    client = anthropic.AsyncAnthropic(
        api_key="no-key-at-all", base_url=asked["model"], max_retries=0
    )
    seconds: list[float] = []

    async def converse() -> None:
        begin = time.perf_counter()
        for question in questions:
            async with client.messages.stream(**question) as stream:
                await stream.get_final_message()
        seconds.append(time.perf_counter() - begin)

    async def share(conversations: int) -> None:
        for _ in range(conversations):
            await converse()

    at_once = asked["at_once"]
    await asyncio.gather(*(share(1) for _ in range(at_once)))
    measured = _Measured()
    done = len(seconds)
    await asyncio.gather(*(share(asked["turns"] // at_once) for _ in range(at_once)))
    told = measured.told(seconds[done:])
    await client.close()
    return told


class _Measured:
    """Time and processor time of this process from now on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def told(self, seconds: Sequence[float]) -> dict[str, Any]:
        """As JSON: how many a second, the processor's milliseconds each, how long each took."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {
            "rate": len(seconds) / wall,
            "cpu_ms": cpu * 1000 / len(seconds),
            "seconds": list(seconds),
        }


_SIDES: Mapping[str, Side] = {"ours": _ours, "sdk": _sdk}


def main() -> None:
    """Print what was measured, as JSON."""
    logs.configure(level=logging.WARNING)
    asked = json.loads(sys.argv[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_SIDES[asked["side"]](asked))))


if __name__ == "__main__":
    main()
