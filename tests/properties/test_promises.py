"""Whatever happens in whatever order, every promise of ARCHITECTURE §2 "Invariants" is kept.

`make test` takes 500 steps on SQLite and 50 on PostgreSQL, by the same seed each time.
`make faults` (MAILAGENT_TEST_FAULTS=long) takes 10,000 on SQLite and 1,000 on PostgreSQL, by
another seed each time: MAILAGENT_TEST_SEED repeats it. Hypothesis shortens a story that breaks a
promise; ids are random and order some rows, so now and then it calls one flaky, and shows it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from structlog.testing import capture_logs

from tests.databases import PostgresDatabases, SqliteDatabases
from tests.properties.machine import Installation, Story, stories

LONG = os.environ.get("MAILAGENT_TEST_FAULTS") == "long"
SEED = int(os.environ.get("MAILAGENT_TEST_SEED", time.time_ns() if LONG else 1))
STEPS_AT_ONCE = 50
"""Of one installation, until it is left alone, comes to rest and is judged."""


@pytest.mark.timeout(3600 if LONG else 600)
def test_every_promise_is_kept_in_any_order_of_things(
    sqlite_databases: SqliteDatabases, tmp_path: Path
) -> None:
    happen(10_000 if LONG else 500, lambda: sqlite_databases.create(tmp_path))


@pytest.mark.timeout(3600 if LONG else 600)
def test_every_promise_is_kept_on_postgresql_too(postgres_databases: PostgresDatabases) -> None:
    with ExitStack() as made:
        happen(1_000 if LONG else 50, lambda: made.enter_context(postgres_databases.create()))


def happen(steps: int, fresh: Callable[[], str]) -> None:
    """Let at least so many steps happen, each installation on a fresh database."""
    print(f"MAILAGENT_TEST_SEED={SEED}")
    taken = 0

    @seed(SEED)
    @settings(
        max_examples=steps // STEPS_AT_ONCE,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(story=stories(STEPS_AT_ONCE))
    def every_promise_is_kept(story: Story) -> None:
        nonlocal taken
        note(str(story))
        installation = Installation(fresh(), at_once=story.at_once)
        try:
            with capture_logs():  # rendering the locals of a failure takes longer than most steps
                for step in story.happenings:
                    installation.take(step)
                    taken += 1
                installation.end()
        finally:
            installation.close()

    every_promise_is_kept()
    print(f"{taken} steps were taken")
