"""The machine's clock jumps forward and back under load: nothing is done twice or stays behind.

What became due by a clock that was ahead waits until that time comes again, and no longer. On
PostgreSQL what is due is told by the server's clock, so there it is the node's that is wrong: each
step of its mail waits for as long as it is ahead.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bench.node import Node, furnish
from tests.faults.clock import turn
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import SinkProcess, Writers
from tests.faults.report import LONG, Report

ROUNDS = 10 if LONG else 1
JUMPS = {
    "sqlite": (timedelta(minutes=10), timedelta(minutes=10, seconds=-5), timedelta(hours=2)),
    "postgresql": (timedelta(seconds=3), timedelta(hours=-30), timedelta(seconds=1)),
}
"""By how much it is ahead, one after the other: more than leases last, in all rounds together less
than the three days after which a reply expires.
"""
SETTLE_SECONDS = 240


@pytest.mark.timeout(900 if LONG else 300)
def test_when_the_clock_jumps_nothing_is_done_twice_and_nothing_stays_behind(
    some_database_url: str, tmp_path: Path, faults: Report
) -> None:
    url = some_database_url
    furnish(url)
    evidence = Evidence(url)
    database = url.partition(":")[0]
    jumps, clock = JUMPS[database], tmp_path / "clock"
    drift = max(jumps) if database == "sqlite" else timedelta()
    turn(clock, timedelta())
    with (
        faults.scenario("the clock jumps", database) as entry,
        SinkProcess(tmp_path / "taken.log") as sink,
        Node(
            tmp_path,
            url,
            relay_port=sink.port,
            program="tests.faults.clock",
            asked={"clock": str(clock)},
        ) as node,
        Writers(node.port, threads=3) as writers,
    ):
        for round_ in range(ROUNDS):
            for ahead in jumps:
                turn(clock, round_ * drift + ahead)
                writers.wait_for(15, SETTLE_SECONDS)
        writers.stop()
        evidence.wait_until_settled(SETTLE_SECONDS)
        assert node.alive
        verdict = judge(evidence, writers.acknowledged, sink.log)
        entry.concludes(verdict, rounds=ROUNDS * len(jumps))
