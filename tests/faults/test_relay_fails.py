"""A relay that hangs, hangs up or talks nonsense at any point: each reply has the right end.

What the relay may have taken is `unknown` and is never sent again; what it cannot have taken is
sent later. `make test` looks at the first try of each, `make faults` at the second one too.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bench.node import Node, furnish
from mailagent.store.tables import hand_overs, outbound_mails, outbound_recipients
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import aside, mail, write
from tests.faults.report import LONG, Report
from tests.smtp_sink import Behaviour, Fault, Sink

ROUNDS = 3 if LONG else 1
SETTLE_SECONDS = 300
NONSENSE = "I like this mail"
TROUBLE: tuple[tuple[str, Behaviour, str], ...] = (
    ("CONTENT", "554 5.6.0 never", "refused"),
    ("MIDWAY", Fault.RESET, "unknown"),
    ("CONTENT", Fault.HANG, "unknown"),
    ("CONTENT", Fault.DROP, "unknown"),
    ("CONTENT", Fault.CUT, "unknown"),
    ("CONTENT", Fault.RESET, "unknown"),
    ("CONTENT", NONSENSE, "unknown"),
    ("CONNECT", Fault.RESET, "later"),
    ("CONNECT", NONSENSE, "later"),
    ("MAIL", Fault.CUT, "later"),
    ("RCPT", Fault.DROP, "later"),
    ("DATA", Fault.HANG, "later"),
    ("DATA", Fault.RESET, "later"),
    ("DATA", NONSENSE, "later"),
    ("CONTENT", "451 4.3.0 not now", "later"),
)
"""Where what happens, and what the reply's first hand-over has come to then.

What is tried again comes last: a second try may meet the next trouble, and must not end by it.
What happens at CONNECT follows a connection that broke, for one that did not is used again.
"""
PATIENCE_SECONDS = 4


@pytest.mark.timeout(900 if LONG else 300)
def test_a_reply_is_unknown_only_where_the_relay_may_have_it_and_no_reply_leaves_twice(
    some_database_url: str, tmp_path: Path, faults: Report
) -> None:
    url = some_database_url
    furnish(url)
    evidence = Evidence(url)
    acknowledged: dict[str, bytes] = {}
    expected: dict[str, str] = {}
    script: dict[str, Behaviour] = {}
    log = tmp_path / "taken.log"
    with (
        faults.scenario("a relay that fails at any point", url.partition(":")[0]) as entry,
        aside(Sink(script=script, log=log)) as sink,
        Node(
            tmp_path,
            url,
            relay_port=sink.port,
            program="tests.faults.node",
            asked={"patience_seconds": PATIENCE_SECONDS},
        ) as node,
    ):
        for round_ in range(ROUNDS):
            for number, (point, behaviour, outcome) in enumerate(TROUBLE):
                sender = f"{point.lower()}-{round_}-{number}@writer.example"
                script[point] = behaviour
                assert write(node.port, sender)
                acknowledged[sender], expected[sender] = mail(sender), outcome
                evidence.wait_until(partial(first_outcome, evidence, sender), SETTLE_SECONDS)
                script.clear()
            if LONG:
                evidence.wait_until_settled(SETTLE_SECONDS)
        found = {sender: first_outcome(evidence, sender) for sender in expected}
        recipients = evidence.rows(select(outbound_recipients))
        verdict = judge(
            evidence,
            acknowledged,
            log,
            maybe_unknown={one.id for one in recipients if expected[one.address] == "unknown"},
            other_ends={"refused"} if LONG else {"refused", "queued"},
        )
        entry.concludes(verdict, f"{len(TROUBLE)} ways to fail", rounds=len(expected))
    assert found == expected
    ends = {"later": "sent" if LONG else "queued", "refused": "refused", "unknown": "unknown"}
    assert {one.address: one.state for one in recipients} == {
        sender: ends[outcome] for sender, outcome in expected.items()
    }


def first_outcome(evidence: Evidence, to: str) -> Any:
    """How the first hand-over of the reply to a writer ended; None while it has not."""
    rows = evidence.rows(
        select(hand_overs.c.outcome)
        .join(outbound_mails, outbound_mails.c.id == hand_overs.c.outbound_id)
        .join(outbound_recipients, outbound_recipients.c.outbound_id == outbound_mails.c.id)
        .where(outbound_recipients.c.address == to, hand_overs.c.finished_at.is_not(None))
        .order_by(hand_overs.c.started_at)
        .limit(1)
    )
    return rows[0].outcome if rows else None
