"""One installation of each kind of database for all tests of the story."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.databases import DATABASES, PostgresDatabases, SqliteDatabases
from tests.flow.house import House, keep_house


@pytest_asyncio.fixture(scope="package", loop_scope="package", params=DATABASES)
async def running_house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """An installation that runs as long as these tests."""
    if request.param == "sqlite":
        sqlite: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        async with keep_house(sqlite.create(tmp_path_factory.mktemp("house"))) as house:
            yield house
    else:
        postgres: PostgresDatabases = request.getfixturevalue("postgres_databases")
        with postgres.create() as url:
            async with keep_house(url) as house:
                yield house


@pytest_asyncio.fixture(loop_scope="package")
async def house(running_house: House) -> AsyncIterator[House]:
    """The installation, its relay and its DNS well again after each test."""
    with capture_logs():  # rendering the locals of a failure takes longer than most tests
        yield running_house
    running_house.script.clear()
    running_house.sink.delay = timedelta()
    running_house.sink.then = running_house.sink.held = None
    running_house.dns.well(*running_house.dns._failing, *running_house.dns._silent)
