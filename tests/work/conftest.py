"""Tests of the queue share one database of each kind a file."""

from tests.shared_databases import (
    module_postgres_url,
    module_sqlite_url,
    shared_store,
    shared_url,
)

__all__ = ["module_postgres_url", "module_sqlite_url", "shared_store", "shared_url"]
