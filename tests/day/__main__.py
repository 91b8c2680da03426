"""Print the day's transcript; 1 if anything went another way, or left that was not given."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from structlog.testing import capture_logs

from mailagent.store.migrations import upgrade
from tests.databases import SqliteDatabases
from tests.day.audit import breaches
from tests.day.runner import TheDay, run
from tests.day.transcript import told, unexpected


async def _day() -> TheDay:
    with tempfile.TemporaryDirectory() as folder, capture_logs():
        return await run(SqliteDatabases(Path(folder), upgrade).create(Path(folder)))


def main() -> int:
    day = asyncio.run(_day())
    print(told(day))
    return 1 if unexpected(day) or breaches(day.facts) else 0


if __name__ == "__main__":
    sys.exit(main())
