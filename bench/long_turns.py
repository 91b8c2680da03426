"""What do two hundred turns that wait for a slow model cost everybody else?

    python -m bench.long_turns [--wait SECONDS] [--database sqlite|postgresql] [--report FILE]

Runs the whole system as one process (`bench.node`) with the `claude` processor and a model's
service of ours that answers after --wait seconds (30). Prints the memory of 200 turns in flight,
how many mails a second are accepted while they wait, as ratio to a node that rests beside it,
and how long another workspace's first turn waits behind 500 threads of one. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import smtplib
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import ColumnElement, Table, func, select

from backend.agents import service as agents
from backend.workspaces import service as workspaces
from bench.node import DOMAIN, QUESTION, Node, memory_mib
from bench.report import Report
from bench.smtp_targets import cpu_seconds
from mailagent.flow.think import THINKING
from mailagent.store.engine import Store
from mailagent.store.migrations import upgrade
from mailagent.store.tables import agents as agent_rows
from mailagent.store.tables import deliveries
from mailagent.store.types import verbatim
from tests.databases import DATABASES, PostgresDatabases, PostgresServer

TURNS = 200
WORKSPACES = 10
WAITING = 500
ACCEPTING_SECONDS = 0.4
ACCEPTING_ROUNDS = 6
MOST_DELAY = 2.0
LEAST_RATIO = 0.9
_CONNECTIONS = 4
_LONGEST = 120.0


_DECISION = {
    "action": "reply",
    "text": "From nine to five.",
    "intent": "opening hours",
    "sentiment": "neutral",
    "urgency": "normal",
    "topics": [],
    "summary": "",
    "confidence": 0.9,
    "reasoning": "",
}


class SlowModel:
    """A service that speaks the Messages API and takes `wait` seconds for each answer."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self.waiting = 0
        self.most = 0
        self.asked: dict[str, float] = {}
        """The 8 characters after `marked-` in a question → `time.monotonic()` when it was asked."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1_000)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.partition("content-length:")[2].split("\r\n")[0])
                body = (await reader.readexactly(length)).decode()
                await self._answer(body, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            writer.close()  # whoever asked has gone, or all ends

    async def _answer(self, body: str, writer: asyncio.StreamWriter) -> None:
        _, marked, rest = body.rpartition("marked-")
        if marked:
            self.asked.setdefault(rest[:8], time.monotonic())
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.sleep(self.wait)
        finally:
            self.waiting -= 1
        answer = json.dumps(
            {
                "id": "msg_01",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-5-5",
                "content": [
                    {"type": "tool_use", "id": "toolu_1", "name": "decide", "input": _DECISION}
                ],
                "stop_reason": "tool_use",
                "usage": {"input_tokens": 100, "output_tokens": 20},
            }
        ).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}"
        writer.write(head.encode() + b"\r\n\r\n" + answer)
        await writer.drain()


def furnish(url: str, count: int) -> list[str]:
    """Workspaces whose one agent asks Claude; the addresses of the agents."""
    upgrade(url)
    store = Store(url)
    try:
        for number in range(count):
            made = store.write_now(None, workspaces.create, f"w{number}", f"Workspace {number}")
            store.write_now(made.id, agents.create, DOMAIN, handle="hello")
        store.write_now(
            None, lambda tx: tx.execute(agent_rows.update().values(processor="claude")).rowcount
        )
    finally:
        store.close()
    return [f"hello@w{number}.{DOMAIN}" for number in range(count)]


def write(port: int, to: str, name: str, *, automatic: bool = False) -> None:
    """One mail by a writer of its own; an automatic one is accepted and read, and makes no turn."""
    with smtplib.SMTP("127.0.0.1", port, "client.bench.test", 30) as client:
        deliver(client, to, name, automatic=automatic)


def deliver(client: smtplib.SMTP, to: str, name: str, *, automatic: bool = False) -> None:
    sender = f"{name}@client.bench.test"
    kind = "Auto-Submitted: auto-generated\r\n" if automatic else ""
    content = (
        f"From: {sender}\r\nTo: {to}\r\nSubject: opening hours\r\nMessage-ID: <{sender}>\r\n{kind}"
        f"\r\n{QUESTION} {name}\r\n"
    )
    client.sendmail(sender, [to], content.encode())


def accepted(port: int, to: str, phase: str) -> float:
    """Mails a second that the door takes over several connections."""
    end = time.monotonic() + ACCEPTING_SECONDS

    def connection(number: int) -> int:
        done = 0
        with smtplib.SMTP("127.0.0.1", port, "client.bench.test", 30) as client:
            while time.monotonic() < end:
                deliver(client, to, f"{phase}-{number}-{done}", automatic=True)
                done += 1
        return done

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return sum(pool.map(connection, range(_CONNECTIONS))) / ACCEPTING_SECONDS


def until(true: Callable[[], bool], what: str) -> None:
    """Wait. Raises SystemExit when it takes too long."""
    end = time.monotonic() + _LONGEST
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {_LONGEST:.0f} s")
        time.sleep(0.02)


class Rows:
    """What the node has still to do, watched from here."""

    def __init__(self, url: str) -> None:
        self._store = Store(url)

    def count(self, table: Table, condition: ColumnElement[bool]) -> int:
        """How many rows of a table meet it."""
        counted = select(func.count()).select_from(table).where(condition)
        return int(self._store.read_now(None, lambda tx: tx.value(counted)))

    def close(self) -> None:
        """Let the database be dropped."""
        self._store.close()


UNREAD = (deliveries, deliveries.c.state == verbatim("accepted"))
READY = (THINKING.table, THINKING.due)


def measure(urls: Sequence[str], folder: Path, wait: float) -> list[str]:
    """The lines of two databases of one kind: of a node that thinks, and of one that rests."""
    addresses = furnish(urls[0], WORKSPACES)
    furnish(urls[1], 1)
    rows, _ = both = [Rows(url) for url in urls]
    with ExitStack() as stack:
        model = stack.enter_context(SlowModel(wait))
        for one in both:
            stack.callback(one.close)
        thinking, resting = (
            _node(stack, folder / f"node-{number}", url, model) for number, url in enumerate(urls)
        )
        write(thinking.port, addresses[0], "marked-warmup00")
        until(lambda: model.most > 0 and not rows.count(*READY), "the first answer")
        at_rest = memory_mib(thinking.pid)
        for number in range(TURNS):
            write(thinking.port, addresses[number % WORKSPACES], f"long-{number}")
        until(lambda: model.waiting == TURNS, f"{TURNS} turns in flight")
        in_flight = memory_mib(thinking.pid)
        # In turns, and each with all that was accepted before read: whatever else this machine does
        # meets both nodes alike.
        nodes = {"thinking": thinking, "resting": resting}
        rates: dict[str, list[float]] = {name: [] for name in nodes}
        cpu = dict.fromkeys(nodes, 0.0)
        for number in range(ACCEPTING_ROUNDS):
            for name in sorted(nodes, reverse=number % 2 == 0):
                before = cpu_seconds(nodes[name].pid)
                rates[name].append(accepted(nodes[name].port, addresses[0], f"{number}"))
                until(lambda: not any(one.count(*UNREAD) for one in both), "reading")
                cpu[name] += cpu_seconds(nodes[name].pid) - before
        still = model.waiting
        until(lambda: not rows.count(*READY), "all answers")
        number = 0
        while (behind := rows.count(*READY)) < WAITING:
            for _ in range(max(WAITING - behind, 20)):
                write(thinking.port, addresses[0], f"many-{number}")
                number += 1
            until(lambda: not rows.count(*UNREAD), "reading what waits")
        delays = [_delay(thinking, model, address) for address in addresses[1:]]
    idle, busy = (statistics.median(rates[name]) for name in ("resting", "thinking"))
    ratio = busy / idle
    idle_ms, busy_ms = (
        cpu[name] * 1000 / (sum(rates[name]) * ACCEPTING_SECONDS)
        for name in ("resting", "thinking")
    )
    return [
        line("turns in flight when accepting began and ended", f"{TURNS}, {still}"),
        line("memory at rest, PSS of the tree", f"{at_rest:.0f} MiB"),
        line(f"memory with {TURNS} turns in flight", f"{in_flight:.0f} MiB"),
        line("accepted by a node without turns", f"{idle:.0f} mails/s"),
        line(f"accepted by the node with {TURNS} turns", f"{busy:.0f} mails/s"),
        line(
            "ratio (aim 0.9)" + ("" if still == TURNS else ", of turns that ended meanwhile"),
            f"{ratio:.2f}",
            met=ratio >= LEAST_RATIO if still == TURNS else None,
        ),
        line(
            "CPU of a mail accepted and read, without and with the turns",
            f"{idle_ms:.1f}, {busy_ms:.1f} ms",
        ),
        line(
            f"first turn of another workspace behind {behind} threads of one, longest of "
            f"{len(delays)} (aim {MOST_DELAY:.0f} s)",
            f"{max(delays):.2f} s",
            met=max(delays) < MOST_DELAY,
        ),
        "",
    ]


def _node(stack: ExitStack, folder: Path, url: str, model: SlowModel) -> Node:
    folder.mkdir()
    settings = {
        "LLM_PROVIDER": "claude",
        "ANTHROPIC_API_KEY": "no-key-at-all",
        "ANTHROPIC_BASE_URL": model.url,
    }
    node = Node(folder, url, settings=settings)
    node.start()
    # Killed, not stopped: it would wait for the turns that are in flight.
    stack.callback(node.kill)
    return node


def _delay(node: Node, model: SlowModel, address: str) -> float:
    """Seconds from the 250 of a mail to the question that it makes."""
    mark = secrets.token_hex(4)
    write(node.port, address, f"marked-{mark}")
    begin = time.monotonic()
    until(lambda: mark in model.asked, "the first turn of another workspace")
    return model.asked[mark] - begin


def line(what: str, value: str, *, met: bool | None = None) -> str:
    """One row of the table."""
    return f"| {what} | {value} | {({True: 'met', False: 'MISSED', None: ''})[met]} |"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wait", type=float, default=30.0, help="seconds of each answer")
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: both")
    parser.add_argument("--report", type=Path, help="write the table there, as Markdown")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    with Report("Long turns", "bench.long_turns", chosen.report) as report:
        for kind in chosen.database or DATABASES:
            report.add([f"## {kind}", "", "| | | |", "|---|---|---|"])
            with tempfile.TemporaryDirectory(prefix="bench-turns-") as name, ExitStack() as stack:
                folder = Path(name)
                if kind == "sqlite":
                    urls = [f"sqlite:///{folder / f'{number}.db'}" for number in range(2)]
                else:
                    server = PostgresServer()
                    stack.callback(server.remove)
                    server.start()
                    databases = PostgresDatabases(server.url, upgrade)
                    urls = [stack.enter_context(databases.create_empty()) for _ in range(2)]
                report.add(measure(urls, folder, chosen.wait))


if __name__ == "__main__":
    main()
