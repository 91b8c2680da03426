"""Several machines on one PostgreSQL: each node here is a process, with a relay of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from bench.node import Node, furnish
from bench.nodes import claims
from bench.smtp_targets import free_port
from mailagent.flow.states import RecipientState
from mailagent.store.tables import outbound_recipients
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import SinkProcess, Writers, aside, mail, write
from tests.faults.report import LONG
from tests.nodes.balancer import Balancer

_SETTLE_SECONDS = 60.0
_TAKEOVER_SECONDS = 10.0 if LONG else 30.0
"""What is promised, and what is waited for on a machine that has other things to do."""


@dataclass(frozen=True)
class _Nodes:
    """Nodes that run, each with the relay that its replies go to."""

    nodes: Sequence[Node]
    sinks: Sequence[SinkProcess]
    evidence: Evidence
    folder: Path

    def sent_by(self) -> list[int]:
        """How many replies each node has handed over."""
        return [len(_lines(sink.log)) for sink in self.sinks]

    def keep_the_promises(
        self, acknowledged: dict[str, bytes], maybe_unknown: Collection[str] = ()
    ) -> None:
        """Wait until all is done and hold it to what we promise."""
        self.evidence.wait_until_settled(_SETTLE_SECONDS)
        taken = self.folder / "taken.log"
        taken.write_text("".join(line for sink in self.sinks for line in _lines(sink.log)))
        verdict = judge(self.evidence, acknowledged, taken, maybe_unknown=maybe_unknown)
        print(verdict.counts)
        assert not verdict.broken


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines(keepends=True) if log.exists() else []


@contextmanager
def _running(url: str, folder: Path, number: int, **settings: str) -> Iterator[_Nodes]:
    furnish(url)
    with ExitStack() as stack:
        sinks = [stack.enter_context(SinkProcess(folder / f"{n}.log")) for n in range(number)]
        nodes: list[Node] = []
        for n, sink in enumerate(sinks):
            home = folder / f"node-{n}"
            home.mkdir()
            node = Node(home, url, smtp_port=free_port(), relay_port=sink.port, settings=settings)
            nodes.append(stack.enter_context(node))
        yield _Nodes(nodes, sinks, Evidence(url), folder)


@pytest.mark.timeout(120)
def test_nodes_share_the_work_and_run_a_schedule_once(postgres_url: str, tmp_path: Path) -> None:
    with _running(postgres_url, tmp_path, 2) as running:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(_COUNT_RUNS)
            connection.execute("UPDATE schedules SET not_before = now() - interval '1 second'")
        # So many at once that there is more than one node does: of few, most stay where they came.
        with Writers(running.nodes[0].port, threads=24) as writers:
            while len(writers.acknowledged) < 120:
                time.sleep(0.02)
        running.keep_the_promises(writers.acknowledged)

        first, second = running.sent_by()
        print(first, second)
        assert min(first, second) >= (first + second) / 5
        with psycopg.connect(postgres_url) as connection:
            runs = connection.execute("SELECT id, count(*) FROM runs GROUP BY id").fetchall()
            schedules = connection.execute("SELECT id FROM schedules").fetchall()
        assert dict(runs) == {id_: 1 for (id_,) in schedules}


_COUNT_RUNS = """
CREATE TABLE runs (id text);
CREATE FUNCTION note_run() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO runs VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER noting AFTER UPDATE OF not_before ON schedules
    FOR EACH ROW WHEN (NEW.not_before > now()) EXECUTE FUNCTION note_run();
"""


@pytest.mark.timeout(180)
def test_what_a_killed_and_a_frozen_node_had_in_hand_goes_on_elsewhere_and_nothing_twice(
    postgres_url: str, tmp_path: Path
) -> None:
    with _running(postgres_url, tmp_path, 3) as running:
        lives, dies, freezes = running.nodes
        with Writers(lives.port, threads=1) as writers:
            while min(running.sent_by()) < 3:
                time.sleep(0.02)
            _freeze(freezes, postgres_url)
            dies.kill()
            begin = time.monotonic()
            in_hand = claims(running.evidence)
            in_flight = _sending(running.evidence)
            running.evidence.wait_until(
                lambda: not in_hand & claims(running.evidence), _TAKEOVER_SECONDS
            )
            print(f"{len(in_hand)} claims were taken over in {time.monotonic() - begin:.1f} s")
        running.evidence.wait_until_settled(_SETTLE_SECONDS)
        of_the_frozen = running.sent_by()[2]

        os.kill(freezes.pid, signal.SIGCONT)
        late: dict[str, bytes] = {}
        while running.sent_by()[2] == of_the_frozen or len(late) < 20:
            sender = f"late-{len(late)}@writer.example"
            assert write(freezes.port, sender)
            late[sender] = mail(sender)
        running.keep_the_promises(writers.acknowledged | late, in_flight)


def _freeze(node: Node, url: str) -> None:
    """Stop a node with work in hand and no transaction open: one that is, the server ends."""
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            os.kill(node.pid, signal.SIGSTOP)
            time.sleep(0.3)
            if connection.execute(_LONG_IN_A_TRANSACTION).fetchone() == (0,):
                return
            os.kill(node.pid, signal.SIGCONT)
            time.sleep(0.1)


_LONG_IN_A_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND state LIKE 'idle in %' AND state_change < now() - interval '0.2 s'
"""


def _sending(evidence: Evidence) -> set[str]:
    sending = outbound_recipients.c.state == RecipientState.SENDING
    return {row.id for row in evidence.rows(select(outbound_recipients.c.id).where(sending))}


@pytest.mark.timeout(180)
def test_a_rolling_restart_behind_one_port_refuses_no_mail(
    postgres_url: str, tmp_path: Path
) -> None:
    proxied = {"MAILAGENT_PROXY_NETWORKS": "127.0.0.0/8"}
    with _running(postgres_url, tmp_path, 2, **proxied) as running:
        with (
            aside(Balancer([node.port for node in running.nodes])) as balancer,
            Writers(balancer.port, threads=1) as writers,
        ):
            for node in running.nodes:
                before = len(writers.acknowledged)
                while len(writers.acknowledged) < before + 10:
                    time.sleep(0.02)
                node.stop()
                node.start()
        running.keep_the_promises(writers.acknowledged)
        print(len(writers.acknowledged), dict(writers.refusals), balancer.turned_away)
        assert set(writers.refusals) <= {421}
        assert balancer.turned_away == 0
