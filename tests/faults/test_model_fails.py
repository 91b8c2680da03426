"""A node that dies in the middle of a turn, and a model that hangs or talks nonsense: one reply."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.node import Node, furnish
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import SinkProcess, aside, mail, write
from tests.faults.report import LONG, Report
from tests.model_server import Answer, Fault, ModelServer, decide, status, tool_use

SETTLE_SECONDS = 600 if LONG else 180
SENDER = "asks-claude@writer.example"
NONSENSE = Answer(b"<html>busy</html>")
TROUBLE: tuple[Answer | Fault, ...] = (
    (status(429, retry_after="1"), NONSENSE, Fault.CUT, Fault.DROP, status(529))
    if LONG
    else (status(429, retry_after="1"),)
)


@pytest.mark.timeout(900 if LONG else 300)
def test_a_turn_that_was_cut_off_goes_on_where_it_was_and_ends_with_one_reply(
    some_database_url: str, tmp_path: Path, faults: Report
) -> None:
    furnish(some_database_url, processor="claude")
    evidence = Evidence(some_database_url)
    script = [tool_use("opening hours"), Fault.HANG, *TROUBLE, decide("From 9 to 17.")]
    with (
        faults.scenario("the model fails in a turn", some_database_url.partition(":")[0]) as entry,
        aside(ModelServer(script)) as model,
        SinkProcess(tmp_path / "taken.log") as sink,
        Node(
            tmp_path,
            some_database_url,
            relay_port=sink.port,
            settings={"ANTHROPIC_API_KEY": "key-of-a-test", "ANTHROPIC_BASE_URL": model.url},
        ) as node,
    ):
        assert write(node.port, SENDER)
        evidence.wait_until(lambda: len(model.requests) == 2, SETTLE_SECONDS)
        node.kill()  # the model was asked, and whatever it says will be heard by nobody
        node.start()
        evidence.wait_until_settled(SETTLE_SECONDS)
        verdict = judge(evidence, {SENDER: mail(SENDER)}, sink.log)
        told = f"the model was asked {len(model.requests)} times"
        entry.concludes(verdict, told, rounds=len(script))
    assert len(model.requests) == len(script)
    later = [one["messages"] for one in model.requests[1:]]
    assert "tool_result" in json.dumps(later[0])
    assert all(one == later[0] for one in later)  # its first answer was not paid for twice
