"""What does every test find, and what is kept from it?

Fixtures: a fresh database of each kind. Kept away: the network beyond this machine, and the
settings and credentials of whoever runs the tests. With `CI=true` a skipped test fails the run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailagent.store.migrations import upgrade
from tests.databases import DATABASES, PostgresDatabases, PostgresServer, SqliteDatabases
from tests.network import refuse_foreign_connections

_OURS = (
    *("MAILAGENT_", "BACKEND_", "AEXY_", "DATABASE_URL", "DEFAULT_EMAIL_", "EMAIL_PROVIDER_"),
    *("PUBLIC_URL", "WEBHOOK_PUBLIC_URL", "INBOUND_WEBHOOK_", "SMTP_RELAY_", "LLM_PROVIDER"),
    *("AWS_", "SES_", "SENDGRID_", "MAILGUN_", "POSTMARK_", "ANTHROPIC_", "OTEL_"),
)
_FOR_TESTS = ("MAILAGENT_TEST_", "MAILAGENT_CORPORA")


def pytest_configure() -> None:
    """Before anything of ours is imported by a test, in each test process."""
    for name in list(os.environ):
        if name.startswith(_OURS) and not name.startswith(_FOR_TESTS):
            del os.environ[name]
    sys.addaudithook(refuse_foreign_connections)


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    """Makes migrated SQLite files."""
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"), upgrade)


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[PostgresDatabases]:
    """Makes migrated databases on one PostgreSQL server, started when first asked for."""
    given = os.environ.get("MAILAGENT_TEST_POSTGRES")
    if given:
        databases = PostgresDatabases(given, upgrade)
        yield databases
        databases.close()
        return
    server = PostgresServer(in_memory=True)
    try:
        server.start()
        yield PostgresDatabases(server.url, upgrade)
    finally:
        server.remove()


@pytest.fixture
def sqlite_url(sqlite_databases: SqliteDatabases, tmp_path: Path) -> str:
    """The address of a fresh, migrated SQLite database."""
    return sqlite_databases.create(tmp_path)


@pytest.fixture
def postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """The address of a fresh, migrated PostgreSQL database."""
    with postgres_databases.create() as url:
        yield url


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a fresh, migrated database; the test runs once on each kind."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without tables; the test runs once on each kind."""
    if request.param == "sqlite":
        sqlite: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        yield sqlite.create_empty(tmp_path)
    else:
        postgres: PostgresDatabases = request.getfixturevalue("postgres_databases")
        with postgres.create_empty() as url:
            yield url


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `service("postfix")` needs the program of that name."""
    for marker in item.iter_markers("service"):
        for program in marker.args:
            if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
                pytest.skip(f"{program} is not installed: sh scripts/services.sh")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that did not run is a test that failed."""
    if hasattr(session.config, "workerinput"):
        return  # a pytest-xdist worker; the controller sees all
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.section("skipped tests fail this run, because CI is set", red=True)
