"""Whatever happens in whatever order, every promise of ARCHITECTURE §2 "Invariants" is kept.

`make test` takes 500 steps on SQLite and 50 on PostgreSQL, always the same choices. `make faults`
(MAILAGENT_TEST_FAULTS=long) takes 10,000 on SQLite and 1,000 on PostgreSQL, others each time:
MAILAGENT_TEST_SEED repeats a run.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.databases import PostgresDatabases, SqliteDatabases
from tests.properties.machine import Installation

LONG = os.environ.get("MAILAGENT_TEST_FAULTS") == "long"
STEPS_AT_ONCE = 50
"""Of one installation, until it is left alone, comes to rest and is judged."""


@pytest.mark.timeout(3600 if LONG else 120)
def test_every_promise_is_kept_in_any_order_of_things(
    sqlite_databases: SqliteDatabases, tmp_path: Path
) -> None:
    steps = 10_000 if LONG else 500
    assert happen(steps, lambda: sqlite_databases.create(tmp_path)) >= steps


@pytest.mark.timeout(3600 if LONG else 120)
def test_every_promise_is_kept_on_postgresql_too(postgres_databases: PostgresDatabases) -> None:
    steps = 1_000 if LONG else 50
    with ExitStack() as made:
        assert happen(steps, lambda: made.enter_context(postgres_databases.create())) >= steps


def happen(steps: int, fresh: Callable[[], str]) -> int:
    """Let at least so many steps happen, each installation on a fresh database."""
    counted: Counter[str] = Counter()
    chosen = settings(
        max_examples=int(1.25 * steps / STEPS_AT_ONCE) + 1,  # some are shorter than asked for
        stateful_step_count=STEPS_AT_ONCE,
        derandomize=not LONG,
        database=None,
        deadline=None,
        # A story of 50 steps is read sooner than it is shortened.
        phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )

    def installation() -> Installation:
        return Installation(fresh(), counted)

    if LONG:
        number = int(os.environ.get("MAILAGENT_TEST_SEED", time.time_ns()))
        print(f"MAILAGENT_TEST_SEED={number}")
        installation = seed(number)(installation)
    run_state_machine_as_test(installation, settings=chosen)  # type: ignore[arg-type]
    print(dict(counted))
    return counted["steps"]
