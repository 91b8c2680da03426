"""What every fault run finds: the report, and a PostgreSQL server that it may stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.store.migrations import upgrade
from tests.databases import DATABASES, PostgresDatabases, PostgresServer, SqliteDatabases
from tests.faults.report import LONG, Report

_REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def faults(request: pytest.FixtureRequest) -> Report:
    """The report of this test run."""
    return request.config.stash.setdefault(_REPORT, Report())


@pytest.fixture(params=DATABASES if LONG else DATABASES[:1])
def some_database_url(request: pytest.FixtureRequest) -> str:
    """The address of a fresh, migrated database; of each kind in the long form, else SQLite."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(params=DATABASES if LONG else DATABASES[:1])
def some_empty_database_url(
    request: pytest.FixtureRequest, sqlite_databases: SqliteDatabases, tmp_path: Path
) -> Iterator[str]:
    """As `some_database_url`, without tables."""
    if request.param == "sqlite":
        yield sqlite_databases.create_empty(tmp_path)
    else:
        postgres: PostgresDatabases = request.getfixturevalue("postgres_databases")
        with postgres.create_empty() as url:
            yield url


@pytest.fixture(scope="session")
def postgres_to_stop() -> Iterator[PostgresServer]:
    """A PostgreSQL server that no other test uses."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def databases_to_stop(postgres_to_stop: PostgresServer) -> PostgresDatabases:
    """Makes migrated databases on that server."""
    return PostgresDatabases(postgres_to_stop.url, upgrade)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report where MAILAGENT_TEST_FAULT_REPORT says: a path without its ending."""
    path = os.environ.get("MAILAGENT_TEST_FAULT_REPORT")
    report = session.config.stash.get(_REPORT, None)
    if path and report is not None:
        report.write(Path(path))
