"""Whatever happens in whatever order, every promise of ARCHITECTURE §2 "Invariants" is kept.

`make test` takes 500 steps on SQLite and 50 on PostgreSQL, by the same seed each time.
`make faults` (MAILAGENT_TEST_FAULTS=long) takes 10,000 on SQLite and 1,000 on PostgreSQL, by
another seed each time: MAILAGENT_TEST_SEED repeats it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.databases import PostgresDatabases, SqliteDatabases
from tests.properties.machine import Installation

LONG = os.environ.get("MAILAGENT_TEST_FAULTS") == "long"
SEED = os.environ.get("MAILAGENT_TEST_SEED", str(time.time_ns()) if LONG else "1")
STEPS_AT_ONCE = 50
"""Of one installation, until it is left alone, comes to rest and is judged."""


@pytest.mark.timeout(3600 if LONG else 120)
def test_every_promise_is_kept_in_any_order_of_things(
    sqlite_databases: SqliteDatabases, tmp_path: Path
) -> None:
    happen(10_000 if LONG else 500, lambda: sqlite_databases.create(tmp_path))


@pytest.mark.timeout(3600 if LONG else 120)
def test_every_promise_is_kept_on_postgresql_too(postgres_databases: PostgresDatabases) -> None:
    with ExitStack() as made:
        happen(1_000 if LONG else 50, lambda: made.enter_context(postgres_databases.create()))


def happen(steps: int, fresh: Callable[[], str]) -> None:
    """Let so many steps happen, each installation on a fresh database."""
    print(f"MAILAGENT_TEST_SEED={SEED}")
    for number in range(steps // STEPS_AT_ONCE):
        random.seed(f"{SEED}-{number}")  # the jitter of our own delays
        installation = Installation(fresh(), random.Random(f"{SEED}-{number}"))
        try:
            with capture_logs():  # rendering the locals of a failure takes longer than most steps
                for _ in range(STEPS_AT_ONCE):
                    installation.step()
                installation.end()
        except AssertionError as broken:
            story = "\n".join(installation.story)
            raise AssertionError(f"{broken}\n\ninstallation {number}:\n{story}") from None
        finally:
            installation.close()
