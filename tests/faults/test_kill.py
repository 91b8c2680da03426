"""Kill -9 at any moment: nothing acknowledged is lost, nothing is sent twice.

`make test` runs a few rounds and points; `make faults` a hundred rounds on each database, and every
numbered commit point of a mail, until it is through before its node comes to the next one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bench.node import Node, descendants, furnish
from bench.smtp_targets import free_port
from tests.databases import DATABASES, PostgresDatabases, SqliteDatabases
from tests.faults.evidence import Counts, Evidence, Verdict, judge
from tests.faults.peers import SinkProcess, Writers, mail, write
from tests.faults.report import LONG, Report, rounds

ROUNDS = rounds(100, 3)
SOME_POINTS = {"sqlite": (2, 6, 11, 14), "postgresql": (7,)}
AT_ONCE = 4
SETTLE_SECONDS = 180


@pytest.mark.timeout(3600 if LONG else 300)
def test_kill_9_under_load_loses_nothing_and_sends_nothing_twice(
    database_url: str, tmp_path: Path, faults: Report
) -> None:
    furnish(database_url)
    evidence = Evidence(database_url)
    database = database_url.partition(":")[0]
    in_flight: set[str] = set()
    with (
        faults.scenario("kill -9 of the node or its sandbox under load", database) as entry,
        SinkProcess(tmp_path / "taken.log") as sink,
        Node(tmp_path, database_url, smtp_port=free_port(), relay_port=sink.port) as node,
    ):
        nodes_killed = 0
        with Writers(node.port, threads=3) as writers:
            for round_ in range(ROUNDS):
                time.sleep(entry.random.uniform(0.2, 1.6))
                # The short form has one of each kind at the least.
                if round_ and (round_ == 1 or entry.random.random() < 0.4):
                    kill_one_below(node, entry.random.choice)
                    continue
                node.kill()
                nodes_killed += 1
                in_flight |= evidence.in_flight()
                node.start()
        evidence.wait_until_settled(SETTLE_SECONDS)
        verdict = judge(
            evidence,
            writers.acknowledged,
            sink.log,
            maybe_unknown=in_flight,
            may_wait_for_a_person=was_read_twice_in_vain,
        )
        told = f"{nodes_killed} nodes and {ROUNDS - nodes_killed} sandbox workers killed"
        counts = entry.concludes(verdict, told, rounds=ROUNDS)
    assert counts.acknowledged > ROUNDS


def kill_one_below(node: Node, choose: Callable[[Sequence[int]], int]) -> None:
    """Kill a process of the node's sandbox, if one is there at this moment."""
    below = descendants(node.pid)
    if below:
        try:
            os.kill(choose(below), signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended of idleness just now


def was_read_twice_in_vain(delivery: Any) -> bool:
    """Two killed readers of one mail are the mail's fault, as far as anybody can tell."""
    reason: str = delivery.reason
    return delivery.state == "quarantined" and reason.startswith("reading it failed twice")


@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("kind", DATABASES)
def test_a_node_that_dies_around_any_commit_of_a_mail_finishes_it_when_it_is_back(
    kind: str,
    sqlite_databases: SqliteDatabases,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    faults: Report,
) -> None:
    def run(point: int) -> tuple[bool, Verdict]:
        folder = tmp_path / str(point)
        folder.mkdir()
        with ExitStack() as kept:
            if kind == "sqlite":
                url = sqlite_databases.create(folder)
            else:
                databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
                url = kept.enter_context(databases.create())
            return die_once(point, url, folder)

    if kind == "postgresql":
        request.getfixturevalue("postgres_databases")  # made here, not in one of the threads
    runs: list[tuple[bool, Verdict]] = []
    with (
        faults.scenario("death at each commit of one mail", kind) as entry,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        if LONG:
            points = count(1)
            while all(died for died, _ in runs):
                runs += threads.map(run, [next(points) for _ in range(AT_ONCE)])
        else:
            runs += threads.map(run, SOME_POINTS[kind])
        entry.concludes(together([verdict for _, verdict in runs]), rounds=len(runs))
    assert any(died for died, _ in runs)


def die_once(point: int, url: str, folder: Path) -> tuple[bool, Verdict]:
    """One mail to a node that dies at a commit point of it, and to its successor.

    Whether it died: a mail has only so many commits.
    """
    furnish(url)
    evidence = Evidence(url)
    sender = f"point-{point}@writer.example"
    acknowledged: dict[str, bytes] = {}
    in_flight: set[str] = set()
    with SinkProcess(folder / "taken.log") as sink:
        node = Node(folder, url, relay_port=sink.port)
        try:
            node.start(die_at=point)
            if write(node.port, sender):
                acknowledged[sender] = mail(sender)
            while node.alive and evidence.unsettled():
                time.sleep(0.05)
            died = not node.alive
            if died:
                node.kill()
                in_flight = evidence.in_flight()
                node.start()
            evidence.wait_until_settled(SETTLE_SECONDS)
        finally:
            node.stop()
        return died, judge(evidence, acknowledged, sink.log, maybe_unknown=in_flight)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The sum of several runs."""
    sums = {
        field.name: sum(getattr(one.counts, field.name) for one in verdicts)
        for field in fields(Counts)
    }
    return Verdict(Counts(**sums), tuple(word for one in verdicts for word in one.broken))
