"""PostgreSQL dies, freezes or cannot be reached under load: mail waits, and nothing is doubled.

The node is never started again: it must come back by itself, and it knows what became of every
reply, because it did not die. `make test` has all in one short run, `make faults` each for 20 s.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bench.node import Node, descendants, furnish
from tests.databases import PostgresDatabases, PostgresServer
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import SinkProcess, Writers, aside
from tests.faults.proxy import Proxy
from tests.faults.report import LONG, Report

SECONDS = 20.0 if LONG else 1.0
SETTLE_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Way:
    """What lies between the node and its rows."""

    server: PostgresServer
    proxy: Proxy


def the_server_stops_at_once(way: Way) -> None:
    way.server.stop(signal.SIGQUIT)
    time.sleep(SECONDS)
    way.server.start()


def the_server_freezes(way: Way) -> None:
    postmaster = int((folder_of(way.server) / "data" / "postmaster.pid").read_text().split()[0])
    frozen = [postmaster, *descendants(postmaster)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(SECONDS)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)


def the_network_is_cut(way: Way) -> None:
    way.proxy.cut()
    time.sleep(SECONDS)
    way.proxy.heal()


def the_network_holds_everything_back(way: Way) -> None:
    way.proxy.hold()
    time.sleep(SECONDS)
    way.proxy.heal()


def the_network_is_cut_again_and_again(way: Way) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        way.proxy.cut()
        way.proxy.heal()
        time.sleep(0.3)


def the_answer_to_a_commit_is_lost(way: Way) -> None:
    # Of the door, told by a header of what it keeps; of a hand-over that begins or ends, told by
    # its id; of anything.
    for mark, number in ((b"\r\nMessage-ID: <w", 2), (b"hov_", 6), (b"", 30 if LONG else 3)):
        awaited = way.proxy.answers_lost + number
        way.proxy.lose_answers(number, mentioning=mark)
        end = time.monotonic() + 60
        while way.proxy.answers_lost < awaited:
            assert time.monotonic() < end, "no commit came by whose answer could be lost"
            time.sleep(0.02)


OUTAGES: tuple[Callable[[Way], None], ...] = (
    the_answer_to_a_commit_is_lost,
    the_network_is_cut,
    the_network_is_cut_again_and_again,
    the_network_holds_everything_back,
    the_server_freezes,
    the_server_stops_at_once,
)


@pytest.fixture
def url(databases_to_stop: PostgresDatabases) -> Iterator[str]:
    with databases_to_stop.create() as url:
        yield url


@pytest.mark.timeout(600 if LONG else 300)
@pytest.mark.parametrize(
    "outages",
    [(one,) for one in OUTAGES] if LONG else [OUTAGES],
    ids=[one.__name__ for one in OUTAGES] if LONG else ["all"],
)
def test_while_postgresql_is_away_mail_waits_and_the_node_comes_back_by_itself(
    outages: tuple[Callable[[Way], None], ...],
    url: str,
    postgres_to_stop: PostgresServer,
    tmp_path: Path,
    faults: Report,
) -> None:
    furnish(url)
    evidence = Evidence(url)
    name = outages[0].__name__.replace("_", " ") if len(outages) == 1 else "the database is away"
    with (
        faults.scenario(name, "postgresql") as entry,
        SinkProcess(tmp_path / "taken.log") as sink,
        aside(Proxy(folder_of(postgres_to_stop))) as proxy,
        Node(tmp_path, through(proxy, url), relay_port=sink.port) as node,
    ):
        with Writers(node.port, threads=3) as writers:
            for outage in outages:
                writers.wait_for(10, SETTLE_SECONDS)
                outage(Way(postgres_to_stop, proxy))
            writers.wait_for(10, SETTLE_SECONDS)
        evidence.wait_until_settled(SETTLE_SECONDS)
        assert node.alive
        assert set(writers.refusals) <= {451}
        told = f"451 given {writers.refusals[451]} times, {proxy.answers_lost} answers lost"
        verdict = judge(evidence, writers.acknowledged, sink.log)
        counts = entry.concludes(verdict, told, rounds=len(outages))
    if the_answer_to_a_commit_is_lost in outages:
        assert counts.duplicates  # the writer of a mail that was kept without a 250 sent it again


def folder_of(server: PostgresServer) -> Path:
    return Path(str(make_url(server.url).query["host"]))


def through(proxy: Proxy, url: str) -> str:
    """The address of the same database by way of the proxy."""
    given = make_url(url)
    # The proxy reads along.
    given = given.set(host="127.0.0.1", port=proxy.port, query={"sslmode": "disable"})
    return given.render_as_string(hide_password=False)
