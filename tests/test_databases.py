"""The databases that the other tests stand on."""

import signal

import psycopg
import pytest
from sqlalchemy import create_engine, inspect, text

from mailagent.store.engine import driver_url
from tests.databases import PostgresDatabases, PostgresServer


def test_a_test_finds_our_tables_and_none_of_its_predecessors_rows(database_url: str) -> None:
    engine = create_engine(driver_url(database_url))
    try:
        tables = inspect(engine).get_table_names()
        assert "deliveries" in tables
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE left_over (n int)"))
        assert "left_over" not in tables
    finally:
        engine.dispose()


@pytest.mark.parametrize("again", [1, 2])
def test_an_empty_database_has_no_tables(empty_database_url: str, again: int) -> None:
    engine = create_engine(driver_url(empty_database_url))
    try:
        assert inspect(engine).get_table_names() == []
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE left_over (n int)"))
    finally:
        engine.dispose()


def test_a_server_of_our_own_keeps_what_was_committed_before_it_was_stopped_at_once() -> None:
    server = PostgresServer()
    try:
        server.start()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        server.stop(signal.SIGQUIT)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url)

        server.start()

        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    finally:
        server.remove()


def test_nothing_of_ours_stays_on_a_server_that_was_given() -> None:
    server = PostgresServer()
    try:
        server.start()
        databases = PostgresDatabases(server.url, migrate=lambda url: None)
        with databases.create() as url, psycopg.connect(url):
            pass
        databases.close()
        with psycopg.connect(server.url) as connection:
            names = connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
        assert names == [("postgres",), ("template0",), ("template1",)]
    finally:
        server.remove()
