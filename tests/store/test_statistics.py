"""A database knows early which of our columns tell much and which tell little."""

from __future__ import annotations

import sqlite3

import psycopg
from sqlalchemy import create_engine

from mailagent.store import statistics
from mailagent.store.engine import Store
from mailagent.store.migrations import upgrade
from mailagent.store.tables import metadata


def told(url: str) -> dict[str, list[int]]:
    """Index → its rows, and how many share the values of its columns."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        rows = connection.execute("SELECT idx, stat FROM sqlite_stat1").fetchall()
    connection.close()
    return {index: [int(number) for number in stat.split()] for index, stat in rows}


def test_every_index_has_its_statistics(sqlite_url: str) -> None:
    named = {index.name for table in metadata.tables.values() for index in table.indexes}
    assert named <= told(sqlite_url).keys()


def test_a_workspace_tells_less_than_a_thread(sqlite_url: str) -> None:
    found = told(sqlite_url)
    assert (
        found["ix_deliveries_workspace_id_received_at"][1] > 100 * found["ix_deliveries_raw_id"][1]
    )
    assert found["uq_outbound_mails_turn_id_purpose"][-1] == 1


def test_telling_again_replaces_what_was_told(sqlite_url: str) -> None:
    before = told(sqlite_url)
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sqlite_stat1 SET stat = '1 1'")
        statistics.tell(connection)
    engine.dispose()
    assert told(sqlite_url) == before


def test_an_upgrade_that_changes_nothing_tells_again(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    assert len(told(sqlite_url)) > len(metadata.tables)


def test_postgresql_counts_a_table_once_it_has_ten_times_the_rows_that_it_knows_of(
    postgres_url: str,
) -> None:
    store = Store(postgres_url)

    def known_after(more: int) -> float:
        beside.execute(
            "INSERT INTO versions (name, value)"
            " SELECT md5(random()::text), 0 FROM generate_series(1, %s)",
            [more],
        )
        beside.execute("SELECT pg_stat_force_next_flush()")
        store.tend()
        found = beside.execute("SELECT reltuples FROM pg_class WHERE relname = 'versions'")
        return float(found.fetchone()[0])  # type: ignore[index]

    with psycopg.connect(postgres_url, autocommit=True) as beside:
        # So that only we do it.
        beside.execute("ALTER TABLE versions SET (autovacuum_enabled = false)")
        beside.execute("DELETE FROM versions")
        assert [known_after(more) for more in (10, 50, 100, 500)] == [-1, 60, 60, 660]
    store.close()
