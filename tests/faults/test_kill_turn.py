"""Kill -9 at every step of a turn with tools and an approval: each effect once, one reply.

The steps are counted in a run in which nobody dies: the commits of the node, and the calls that it
makes (model, tools, relay), at which it dies when the call has had its effect. `make test` takes
some of them, `make faults` all, on each database.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.databases import DATABASES, PostgresDatabases, SqliteDatabases
from tests.faults.case import (
    EVA,
    ORDER,
    WRITER,
    Town,
    approval_address,
    broken,
    decision,
    goes_on,
    let_leases_end,
    prepare,
    reply_states,
    town,
)
from tests.faults.evidence import Counts, Evidence, Verdict
from tests.faults.nest import Nest, NestNode
from tests.faults.peers import write
from tests.faults.report import LONG, Report

AT_ONCE = 3
DONE_WITHIN = 120.0
SOME = {"sqlite": (6, 4), "postgresql": (2, 2)}
"""How many commits and calls `make test` takes."""


Step = tuple[int | None, int | None]
"""A commit point, or a call."""


@dataclass(frozen=True)
class Case:
    """A case that has come to its end."""

    commits: int
    """How many commit points there were, where nobody died."""
    died: bool
    """Whether its node did: how many commits there are differs a little from run to run."""
    town: Town
    broken: list[str]
    """What it broke, in words."""
    replies: list[str]
    """What became of the answer to the customer."""


class Runs:
    """Cases on databases of their own."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path, nest: Nest) -> None:
        self._kind, self._folder, self._nest = kind, folder, nest
        self._sqlite: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        if kind == "postgresql":
            self._postgres: PostgresDatabases = request.getfixturevalue("postgres_databases")

    def one(self, commit: int | None = None, call: int | None = None) -> Case:
        """One case whose node dies at a commit point, or at a call; with neither, at none."""
        folder = self._folder / f"commit-{commit}-call-{call}"
        folder.mkdir()
        with ExitStack() as kept:
            if self._kind == "sqlite":
                url = self._sqlite.create(folder)
            else:
                url = kept.enter_context(self._postgres.create())
            return run(self._nest, url, folder, commit, call)


def run(nest: Nest, url: str, folder: Path, commit: int | None, call: int | None) -> Case:
    """Let the order, and later the yes, come in, and start the node again when it has died."""
    evidence = Evidence(url)
    with town(call) as (seen, settings, far, relay_port):
        prepare(url, far)
        node = NestNode(nest, folder, url, relay_port=relay_port, settings=settings)
        seen.node = node
        died, died_sending = False, set[str]()
        try:
            node.start(die_at=commit or 0)
            ordered = decided = False
            end = time.monotonic() + DONE_WITHIN
            while not (decided and not goes_on(evidence)):
                assert time.monotonic() < end, f"not done: {goes_on(evidence)} {seen.calls}"
                if not node.alive:
                    died = True
                    node.kill()
                    died_sending |= evidence.in_flight()
                    let_leases_end(url)
                    node.start()
                if not ordered:
                    ordered = write(node.port, WRITER, ORDER)
                elif not decided and (reply_to := approval_address(evidence)):
                    decided = write(node.port, EVA, decision(reply_to), to=reply_to)
                time.sleep(0.05)
        finally:
            node.stop()
        wrong = broken(evidence, seen, died_sending)
        return Case(node.points, died, seen, wrong, reply_states(evidence))


def some(steps: int, most: int) -> Sequence[int]:
    """So many of the steps from 1 on, evenly spread, or all."""
    if LONG or steps <= most:
        return range(1, steps + 1)
    return sorted({1 + (steps - 1) * n // (most - 1) for n in range(most)})


@pytest.fixture(scope="module")
def nest() -> Iterator[Nest]:
    """Where the nodes come from."""
    with Nest() as made:
        yield made


@pytest.mark.timeout(7200 if LONG else 300)
@pytest.mark.parametrize("kind", DATABASES)
def test_a_node_that_dies_at_any_step_of_a_turn_does_each_thing_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, nest: Nest, faults: Report
) -> None:
    runs = Runs(kind, request, tmp_path, nest)
    with faults.scenario("death at each step of a turn with tools and a yes", kind) as entry:
        whole = runs.one()
        commits, calls = whole.commits, len(whole.town.calls)
        steps: list[Step] = [
            *((point, None) for point in some(commits, SOME[kind][0])),
            *((None, call) for call in some(calls, SOME[kind][1])),
        ]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            cases = dict(zip(steps, threads.map(lambda step: runs.one(*step), steps), strict=True))
        told = f"{commits} commit points, {calls} calls"
        entry.concludes(together({(None, None): whole, **cases}), told, rounds=len(steps))
    assert not whole.died
    # Work that happens to come together has fewer commits: the last ones may not be reached.
    assert sum(case.died for case in cases.values()) >= 0.7 * len(steps)


def test_what_was_done_twice_is_found(
    sqlite_databases: SqliteDatabases, tmp_path: Path, nest: Nest
) -> None:
    url = sqlite_databases.create(tmp_path)
    case = run(nest, url, tmp_path, None, None)
    assert case.broken == []
    case.town.tasks.append("another key")
    case.town.bookings += 1
    case.town.mails.append(case.town.mails[0])
    words = "; ".join(broken(Evidence(url), case.town, set()))
    for found in ("tasks were made under the keys", "2 bookings", "taken twice"):
        assert found in words


def together(cases: Mapping[Step, Case]) -> Verdict:
    """What all cases come to."""
    replies = [case.replies for case in cases.values()]
    counts = Counts(
        acknowledged=len(cases),
        read=len(cases),
        answered=sum(len(of) for of in replies),
        handed_over=0,
        duplicates=0,
        taken=sum(WRITER in mail.rcpt_to for case in cases.values() for mail in case.town.mails),
        unknown=sum(of.count("unknown") for of in replies),
        doubled=0,
        lost=0,
    )
    wrong = [f"{step}: {words}" for step, case in cases.items() for words in case.broken]
    return Verdict(counts, tuple(wrong))
