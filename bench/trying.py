"""How long does it take to try past mail against another prompt, and is nothing sent by it?

    python -m bench.trying [--mails N] [--at-once N] [--database sqlite|postgresql] [--report FILE]

Answers N mails (200), every tenth by handing it over, then tries all of them with another prompt on
a model server on loopback that answers at once. Prints seconds, milliseconds a mail (with one at a
time beside several), what came out otherwise, and how many rows of all tables are not as before.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from backend.agents import agent_file, transfer
from backend.trying.past import Comparison
from backend.trying.report import summary
from backend.trying.run import Bounds
from backend.trying.service import try_past
from bench.report import Report
from mailagent.agents import Agent
from mailagent.agents.claude import Claude
from mailagent.outgoing import Handoff, Reply
from mailagent.sandbox import Sandbox
from mailagent.store.migrations import upgrade
from tests.backend.mailroom import Mailroom, mail, open_mailroom
from tests.backend.test_idempotency import everything
from tests.databases import DATABASES, PostgresServer, SqliteDatabases
from tests.model_server import ModelServer, decide

_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_SENDERS = 40  # so that none of them has spent its turns of a day
_FILE = agent_file.parse("instructions: Be exact.")


async def _fill(room: Mailroom, mails: int) -> None:
    limits = agent_file.parse("limits: {replies_per_agent_a_day: null}")
    await room.do(transfer.apply, room.agent_id, limits, author="the benchmark")
    for number, sender in zip(range(mails), itertools.cycle(range(_SENDERS)), strict=False):
        hands_over = number % 10 == 0
        room.agent_says(Handoff("a refund") if hands_over else Reply("From nine to five."))
        author = f"p{sender}@customer.example"
        await room.deliver(mail(subject=f"Question {number}", author=author), mail_from=author)
        await room.work()


async def _tried(room: Mailroom, mails: int, at_once: int) -> tuple[Comparison, float]:
    begin = time.monotonic()
    found = await try_past(
        room.services,
        room.workspace_id,
        "hello",
        _LONG_AGO,
        file=_FILE,
        most=mails,
        bounds=Bounds(at_once, Decimal(10)),
    )
    return found, time.monotonic() - begin


async def _measure(url: str, mails: int, at_once: int) -> list[str]:
    sandbox = Sandbox(workers=2)
    try:
        async with (
            open_mailroom(url, sandbox) as room,
            ModelServer([decide("From nine to six.")]) as server,
        ):
            await _fill(room, mails)
            before = await everything(room)
            model = Claude("a-key-of-the-benchmark", base_url=server.url)

            def processor(_: str) -> Agent:
                return model

            room.services = replace(room.services, processor=processor)
            lines = []
            for many in (1, at_once):
                found, took = await _tried(room, mails, many)
                rate = f"{took:.1f} | {took / mails * 1_000:.0f}"
                after = await everything(room)
                changed = sum(before[name] != after[name] for name in before)
                lines.append(f"| {many} | {rate} | {changed} | {summary(found)} |")
            await model.close()
            return lines
    finally:
        await sandbox.close()


def _run(kind: str, mails: int, at_once: int, folder: Path) -> Sequence[str]:
    head = [
        f"## {kind}, {mails} mails",
        "",
        "| at once | seconds | ms a mail | tables changed | what came of it |",
        "|---|---|---|---|---|",
    ]
    if kind == "sqlite":
        url = SqliteDatabases(folder, upgrade).create(folder)
        return [*head, *asyncio.run(_measure(url, mails, at_once)), ""]
    server = PostgresServer()
    try:
        server.start()
        upgrade(server.url)
        return [*head, *asyncio.run(_measure(server.url, mails, at_once)), ""]
    finally:
        server.remove()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--mails", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--report", type=Path)
    asked = parser.parse_args()
    with (
        Report("Past mail tried", "bench.trying", asked.report) as report,
        tempfile.TemporaryDirectory() as folder,
    ):
        for kind in asked.database or DATABASES:
            report.add(_run(kind, asked.mails, asked.at_once, Path(folder)))


if __name__ == "__main__":
    main()
