"""One database of each kind for a whole file: tests keep apart by workspaces of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailagent.store.engine import Store
from tests.databases import DATABASES, PostgresDatabases, SqliteDatabases


@pytest.fixture(scope="module")
def module_sqlite_url(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A migrated SQLite file that the tests of a file share."""
    return sqlite_databases.create(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def module_postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A migrated PostgreSQL database that the tests of a file share."""
    with postgres_databases.create() as url:
        yield url


@pytest.fixture(scope="module", params=DATABASES)
def shared_url(request: pytest.FixtureRequest) -> str:
    """The address of a database that the tests of a file share, once of each kind."""
    fixture = {"sqlite": "module_sqlite_url", "postgresql": "module_postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(scope="module")
def shared_store(shared_url: str) -> Iterator[Store]:
    """The store of that database."""
    store = Store(shared_url)
    yield store
    store.close()
