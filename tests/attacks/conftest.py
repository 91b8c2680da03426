"""One installation on SQLite and one on PostgreSQL for all attacks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.databases import PostgresDatabases, SqliteDatabases
from tests.flow.house import House, keep_house


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def on_sqlite(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """An installation that runs as long as these tests."""
    url = sqlite_databases.create(tmp_path_factory.mktemp("attacked"))
    with capture_logs():
        async with keep_house(url) as house:
            yield house


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def on_postgresql(postgres_databases: PostgresDatabases) -> AsyncIterator[House]:
    """Another one, on the other database."""
    with postgres_databases.create() as url, capture_logs():
        async with keep_house(url) as house:
            yield house
