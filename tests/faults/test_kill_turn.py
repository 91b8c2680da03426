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
from pathlib import Path
from typing import Literal

import pytest

from tests.databases import DATABASES, PostgresDatabases, SqliteDatabases
from tests.faults.case import (
    EVA,
    ORDER,
    WRITER,
    approval_address,
    broken,
    decision,
    goes_on,
    let_leases_end,
    prepare,
    town,
)
from tests.faults.evidence import Evidence
from tests.faults.nest import Nest, NestNode
from tests.faults.peers import write
from tests.faults.report import LONG

AT_ONCE = 3
DONE_WITHIN = 60.0
Kind = Literal["commit", "call"]
SOME = {"sqlite": 6, "postgresql": 2}
"""How many steps of each kind `make test` takes."""


class Runs:
    """Cases on databases of their own."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path, nest: Nest) -> None:
        self._kind, self._folder, self._nest = kind, folder, nest
        self._sqlite: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        if kind == "postgresql":
            self._postgres: PostgresDatabases = request.getfixturevalue("postgres_databases")

    def one(self, commit: int | None = None, call: int | None = None) -> tuple[int, int, list[str]]:
        """One case whose node dies at a commit point, or at a call; with neither, at none.

        How many of each there were, and what it broke.
        """
        folder = self._folder / f"commit-{commit}-call-{call}"
        folder.mkdir()
        with ExitStack() as kept:
            if self._kind == "sqlite":
                url = self._sqlite.create(folder)
            else:
                url = kept.enter_context(self._postgres.create())
            return run(self._nest, url, folder, commit, call)


def run(
    nest: Nest, url: str, folder: Path, commit: int | None, call: int | None
) -> tuple[int, int, list[str]]:
    evidence = Evidence(url)
    with town(call) as (seen, settings, far, relay_port):
        prepare(url, far)
        node = NestNode(nest, folder, url, relay_port=relay_port, settings=settings)
        seen.node = node
        died_sending: set[str] = set()
        try:
            node.start(die_at=commit or 0)
            ordered = decided = False
            end = time.monotonic() + DONE_WITHIN
            while not (decided and not goes_on(evidence)):
                assert time.monotonic() < end, f"not done: {goes_on(evidence)} {seen.calls}"
                if not node.alive:
                    node.kill()
                    died_sending |= evidence.in_flight()
                    let_leases_end(url)
                    node.start()
                if not ordered:
                    ordered = write(node.port, WRITER, ORDER)
                elif not decided and (reply_to := approval_address(evidence)):
                    decided = write(node.port, EVA, decision(reply_to), to=reply_to)
                time.sleep(0.05)
            points = node.points
        finally:
            node.stop()
        return points, len(seen.calls), broken(evidence, seen, died_sending)


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
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, nest: Nest
) -> None:
    runs = Runs(kind, request, tmp_path, nest)
    commits, calls, wrong = runs.one()
    assert wrong == []
    found = at_each_step(runs, some(commits, SOME[kind]), some(calls, SOME[kind]))
    print(f"{commits} commit points, {calls} calls")
    assert found == {}, f"of {commits} commit points and {calls} calls"


Step = tuple[int | None, int | None]
"""A commit point, or a call."""


def at_each_step(
    runs: Runs, commits: Sequence[int], calls: Sequence[int]
) -> Mapping[Step, Sequence[str]]:
    """What a case broke whose node died at each of these steps."""
    steps: list[Step] = [*((point, None) for point in commits), *((None, call) for call in calls)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        ended = threads.map(lambda step: runs.one(*step), steps)
        return {step: words for step, (*_, words) in zip(steps, ended, strict=True) if words}
