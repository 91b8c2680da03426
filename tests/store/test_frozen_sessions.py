"""A node that froze in a transaction keeps nothing from the others (PostgreSQL)."""

from __future__ import annotations

import psycopg

from mailagent.store.engine import Store
from mailagent.store.postgres import OPTIONS
from mailagent.store.transaction import Transaction


def _locked(tx: Transaction) -> str:
    tx.lock("turns")
    return "had its turn"


def test_who_needs_what_a_frozen_transaction_holds_gets_it_when_the_server_ends_that(
    postgres_url: str,
) -> None:
    store = Store(postgres_url)
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('turns', 0))"
    # Two sessions of a node that says nothing more: one holds the lock, one waits for it.
    holds, waits = (psycopg.connect(postgres_url, options=OPTIONS) for _ in range(2))
    holds.execute(lock)
    waits.pgconn.send_query(b"BEGIN; " + lock.encode())
    waits.pgconn.flush()

    assert store.write_now(None, _locked) == "had its turn"

    store.close()
    for frozen in (holds, waits):
        frozen.close()
