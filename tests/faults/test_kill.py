"""Kill -9 at any moment: nothing acknowledged is lost, nothing is sent twice.

`make test` runs a few rounds; `make faults` (MAILAGENT_TEST_FAULTS=long) a hundred, and every
numbered commit point of a mail.
"""

from __future__ import annotations

import os
import random
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.node import AGENT, Node, furnish
from bench.smtp_targets import free_port
from tests.databases import DATABASES, PostgresDatabases, SqliteDatabases
from tests.faults.evidence import Counts, Evidence, judge
from tests.faults.peers import SinkProcess, Writers, mail

LONG = os.environ.get("MAILAGENT_TEST_FAULTS") == "long"
ROUNDS = 100 if LONG else 3
POINTS = range(1, 41) if LONG else (2, 6, 11, 14)
KINDS = DATABASES if LONG else DATABASES[:1]
AT_ONCE = 4
SETTLE_SECONDS = 90


@pytest.mark.timeout(3600 if LONG else 180)
def test_kill_9_under_load_loses_nothing_and_sends_nothing_twice(
    database_url: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("MAILAGENT_TEST_SEED", time.time_ns()))
    print(f"MAILAGENT_TEST_SEED={seed}")
    moments = random.Random(seed)
    furnish(database_url)
    evidence = Evidence(database_url)
    in_flight: list[set[str]] = []
    with SinkProcess(tmp_path / "taken.log") as sink:
        node = Node(tmp_path, database_url, smtp_port=free_port(), relay_port=sink.port)
        with node:
            with Writers(node.port, threads=3) as writers:
                for _ in range(ROUNDS):
                    time.sleep(moments.uniform(0.2, 1.6))
                    node.kill()
                    in_flight.append(evidence.in_flight())
                    node.start()
            evidence.wait_until_settled(SETTLE_SECONDS)
        counts = judge(evidence, writers.acknowledged, sink.log, in_flight)
    print(counts)
    assert counts.acknowledged > ROUNDS


@pytest.mark.timeout(3600 if LONG else 180)
@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_dies_around_any_commit_of_a_mail_finishes_it_when_it_is_back(
    kind: str,
    sqlite_databases: SqliteDatabases,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    with ExitStack() as kept:
        urls = {}
        for point in POINTS:
            folder = tmp_path / str(point)
            folder.mkdir()
            if kind == "sqlite":
                urls[point] = sqlite_databases.create(folder)
            else:
                databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
                urls[point] = kept.enter_context(databases.create())
        with ThreadPoolExecutor(AT_ONCE) as threads:
            runs = [
                threads.submit(die_once, point, url, tmp_path / str(point))
                for point, url in urls.items()
            ]
            counts = [run.result() for run in runs]
    print(*counts, sep="\n")
    assert any(one.kills for one in counts)


def die_once(point: int, url: str, folder: Path) -> Counts:
    """One mail to a node that dies at a commit point of it, and to its successor."""
    furnish(url)
    evidence = Evidence(url)
    sender = f"point-{point}@writer.example"
    acknowledged: dict[str, bytes] = {}
    in_flight: list[set[str]] = []
    with SinkProcess(folder / "taken.log") as sink:
        node = Node(folder, url, relay_port=sink.port)
        try:
            node.start(die_at=point)
            if write(node.port, sender):
                acknowledged[sender] = mail(sender)
            while node.alive and evidence.unsettled():
                time.sleep(0.05)
            if not node.alive:
                node.kill()
                in_flight.append(evidence.in_flight())
                node.start()
            evidence.wait_until_settled(SETTLE_SECONDS)
        finally:
            node.stop()
        return judge(evidence, acknowledged, sink.log, in_flight)


def write(port: int, sender: str) -> bool:
    """Send one mail; whether its 250 came before the node died."""
    try:
        with smtplib.SMTP("127.0.0.1", port, "writer.example", 10) as client:
            client.sendmail(sender, [AGENT], mail(sender))
    except (OSError, smtplib.SMTPException):
        return False
    return True
