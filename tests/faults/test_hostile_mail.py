"""Mails that hang, kill or fill the process that reads them cost nobody else an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bench.node import Node, furnish
from mailagent.store.tables import deliveries
from tests.faults import hostile_jobs
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import SinkProcess, Writers, mail, write
from tests.faults.report import LONG, Report

EACH = 10 if LONG else 1
FATAL = [word.decode() for word in hostile_jobs.DEEDS if word != b"leak"]
LEAKS = 40 if LONG else 16
NEIGHBOURS = 200 if LONG else 20
SETTLE_SECONDS = 600 if LONG else 180


@pytest.mark.timeout(900 if LONG else 300)
def test_what_breaks_its_reader_is_quarantined_and_its_neighbours_are_answered(
    some_database_url: str, tmp_path: Path, faults: Report
) -> None:
    furnish(some_database_url)
    evidence = Evidence(some_database_url)
    database = some_database_url.partition(":")[0]
    hostile = {f"{word}-{n}@hostile.example": word for word in FATAL for n in range(EACH)}
    leaking = {f"leak-{n}@hostile.example": "leak" for n in range(LEAKS)}
    acknowledged: dict[str, bytes] = {}
    with (
        faults.scenario("mails that break their reader", database) as entry,
        SinkProcess(tmp_path / "taken.log") as sink,
        Node(
            tmp_path,
            some_database_url,
            relay_port=sink.port,
            program="tests.faults.node",
            asked={"hostile_mail": True},
        ) as node,
    ):
        with Writers(node.port, threads=2) as writers:
            for sender, word in (hostile | leaking).items():
                raw = mail(sender, subject=word)
                assert write(node.port, sender, raw)
                acknowledged[sender] = raw
            writers.wait_for(NEIGHBOURS, SETTLE_SECONDS)
        evidence.wait_until_settled(SETTLE_SECONDS)
        assert node.alive
        verdict = judge(
            evidence,
            acknowledged | writers.acknowledged,
            sink.log,
            may_wait_for_a_person=lambda delivery: delivery.mail_from in hostile,
        )
        told = f"{len(hostile)} mails that break their reader, {len(leaking)} that leak"
        entry.concludes(verdict, told, rounds=len(hostile) + len(leaking))
        assert {row.mail_from: why(row) for row in quarantined(evidence)} == {
            sender: EXPECTED[word] for sender, word in hostile.items()
        }


EXPECTED = {"hang": "took more than 1 s", "swell": "memory", "crash": "died", "talk": "died"}
"""What a person is told of each."""


def quarantined(evidence: Evidence) -> list[Any]:
    return evidence.rows(
        select(deliveries.c.mail_from, deliveries.c.reason).where(
            deliveries.c.state == "quarantined"
        )
    )


def why(row: Any) -> str:
    """The word that the reason has of those expected; all of it when it has none."""
    assert row.reason.startswith("reading it failed twice")
    return next((word for word in EXPECTED.values() if word in row.reason), str(row.reason))
