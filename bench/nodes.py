"""What happens, second by second, when one of two nodes on one PostgreSQL is killed?

    python -m bench.nodes [--seconds 20] [--kill-at 6] [--threads 4] [--report FOLDER]

Writers send through a balancer to both nodes; each node hands its replies to a relay of its own, so
that it shows who answered. Prints a timeline: mails acknowledged, replies taken by each relay, rows
in hand, and rows still in the hands of the dead node. Then all that was acknowledged is looked for.
Exit code 1 when a promise was broken: a mail lost, one answered twice, a takeover after 10 seconds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from bench.node import Node, furnish
from bench.smtp_targets import free_port
from mailagent.flow.states import RecipientState
from mailagent.store.migrations import upgrade
from mailagent.store.tables import metadata, outbound_recipients
from tests.databases import PostgresServer
from tests.faults.evidence import Evidence, Verdict, judge
from tests.faults.peers import SinkProcess, Writers, aside
from tests.nodes.balancer import Balancer

__all__ = ["claims"]

_SETTLE_SECONDS = 120.0
_PROMISED_SECONDS = 10.0
_TICK = 0.05


def claims(evidence: Evidence) -> set[str]:
    """The claims that are in somebody's hands: one for each batch of rows."""
    found: set[str] = set()
    for table in metadata.sorted_tables:
        if "claimed_by" in table.c:
            held = select(table.c.claimed_by).where(table.c.claimed_by.is_not(None))
            found |= {row.claimed_by for row in evidence.rows(held)}
    return found


@dataclass(frozen=True, slots=True)
class Second:
    """What was seen in one second of the run."""

    at: int
    accepted: int
    answered: tuple[int, int]
    in_hand: int
    orphaned: int
    """Claims of the time of the kill that nobody has finished or taken over yet."""
    event: str


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run."""

    seconds: tuple[Second, ...]
    takeover_seconds: float
    """From the kill until the last of them was taken over and done, or given back."""
    refusals: int
    verdict: Verdict

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.verdict.broken and self.takeover_seconds <= _PROMISED_SECONDS


class _Cluster:
    """Two nodes over one database, and all that surrounds them."""

    def __init__(self, stack: ExitStack, folder: Path, threads: int) -> None:
        server = PostgresServer()
        server.start()
        stack.callback(server.remove)
        upgrade(server.url)
        furnish(server.url)
        self.evidence = Evidence(server.url)
        self.sinks = [stack.enter_context(SinkProcess(folder / f"{n}.log")) for n in range(2)]
        self.nodes = [
            stack.enter_context(self._node(folder / f"node-{n}", server.url, sink.port))
            for n, sink in enumerate(self.sinks)
        ]
        balancer = stack.enter_context(aside(Balancer([node.port for node in self.nodes])))
        self.writers = Writers(balancer.port, threads)

    @staticmethod
    def _node(home: Path, url: str, relay_port: int) -> Node:
        home.mkdir()
        proxied = {"MAILAGENT_PROXY_NETWORKS": "127.0.0.0/8"}
        return Node(home, url, smtp_port=free_port(), relay_port=relay_port, settings=proxied)

    def answered(self) -> tuple[int, int]:
        first, second = (_lines(sink.log) for sink in self.sinks)
        return len(first), len(second)

    def sending(self) -> set[str]:
        column = outbound_recipients.c
        found = select(column.id).where(column.state == RecipientState.SENDING)
        return {row.id for row in self.evidence.rows(found)}


def run(folder: Path, *, seconds: int, kill_at: int, threads: int) -> Run:
    """One run; about `seconds` and what it takes to finish all that was accepted."""
    with ExitStack() as stack:
        cluster = _Cluster(stack, folder, threads)
        timeline: list[Second] = []
        orphans: set[str] = set()
        maybe_unknown: set[str] = set()
        killed = taken_over = 0.0
        with cluster.writers as writers:
            begin = time.monotonic()
            before = (0, (0, 0))
            for at in range(1, seconds + 1):
                event = ""
                if at == kill_at + 1:
                    cluster.nodes[1].kill()
                    killed = time.monotonic()
                    event = "node 2 killed (SIGKILL)"
                    # Some are the living one's: it is done with them within the second.
                    orphans = claims(cluster.evidence)
                for _ in _ticks(begin + at):
                    if killed and not taken_over:
                        orphans &= claims(cluster.evidence)
                        maybe_unknown |= cluster.sending()
                        if not orphans:
                            taken_over = time.monotonic()
                            event = f"all taken over, {taken_over - killed:.1f} s after the kill"
                now = (len(writers.acknowledged), cluster.answered())
                timeline.append(_second(at, before, now, cluster, orphans, event))
                print(_row(timeline[-1]), flush=True)
                before = now
        cluster.evidence.wait_until_settled(_SETTLE_SECONDS)
        taken = folder / "taken.log"
        taken.write_text("".join(line for sink in cluster.sinks for line in _lines(sink.log)))
        verdict = judge(cluster.evidence, writers.acknowledged, taken, maybe_unknown=maybe_unknown)
    took = taken_over - killed if taken_over else float("inf")
    return Run(tuple(timeline), took, writers.refusals.total(), verdict)


def _ticks(end: float) -> Iterator[None]:
    while time.monotonic() < end:
        yield
        time.sleep(_TICK)


def _second(
    at: int,
    before: tuple[int, tuple[int, int]],
    now: tuple[int, tuple[int, int]],
    cluster: _Cluster,
    orphans: set[str],
    event: str,
) -> Second:
    answered = (now[1][0] - before[1][0], now[1][1] - before[1][1])
    in_hand = len(claims(cluster.evidence))
    return Second(at, now[0] - before[0], answered, in_hand, len(orphans), event)


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines(keepends=True) if log.exists() else []


_HEAD = "| second | accepted | answered by node 1 | by node 2 | claims in hand | of the dead | |"


def _row(one: Second) -> str:
    first, second = one.answered
    return (
        f"| {one.at} | {one.accepted} | {first} | {second} | {one.in_hand} | {one.orphaned} "
        f"| {one.event} |"
    )


def report(run: Run) -> str:
    """The run as Markdown."""
    counts = run.verdict.counts
    shared = f"share {os.cpu_count()} cores"
    unknown = (
        f"{counts.unknown} in the middle of its hand-over: `unknown`, never sent again by itself"
    )
    promised = f"(promised: {_PROMISED_SECONDS:.0f} s)"
    lines = [
        f"# Two nodes, one killed, {datetime.now(UTC):%d %B %Y}\n",
        "`python -m bench.nodes` repeats it.",
        f"PostgreSQL, both nodes, their relays and the writers {shared}.\n",
        f"- {counts.acknowledged} mails acknowledged, {run.refusals} refused",
        f"- {counts.answered} answered, {counts.taken} replies taken by the relays",
        f"- **{counts.lost} lost, {counts.doubled} doubled**; {unknown}",
        f"- what the dead node had in hand was done after {run.takeover_seconds:.1f} s {promised}",
        *(f"- broken: {promise}" for promise in run.verdict.broken),
        f"\n{_HEAD}",
        "|" + "---|" * 7,
        *(_row(one) for one in run.seconds),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--kill-at", type=int, default=6)
    parser.add_argument("--threads", type=int, default=4, help="writers at a time")
    parser.add_argument("--report", type=Path, help="a folder for the run as Markdown")
    chosen = parser.parse_args()
    print(_HEAD)
    with tempfile.TemporaryDirectory(prefix="bench-nodes-") as name:
        done = run(
            Path(name),
            seconds=chosen.seconds,
            kill_at=chosen.kill_at,
            threads=chosen.threads,
        )
    print("\n" + report(done))
    if chosen.report is not None:
        file: Path = chosen.report / f"{datetime.now(UTC):%Y-%m-%d}-two-nodes.md"
        file.write_text(report(done))
    raise SystemExit(0 if done.kept else 1)


if __name__ == "__main__":
    main()
