"""Whoever waits for what another transaction holds gets it in the end (PostgreSQL)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
from sqlalchemy import select

from mailagent.store.engine import Store
from mailagent.store.postgres import OPTIONS
from mailagent.store.tables import versions
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


def test_of_two_that_wait_for_each_other_one_begins_again_and_both_are_done(
    postgres_url: str,
) -> None:
    store = Store(postgres_url)
    tries: list[str] = []
    both = Barrier(2)

    def locked(tx: Transaction, first: str, second: str) -> str:
        tries.append(first)
        tx.lock(first)
        tx.rows(select(versions))  # the lock is asked for with this
        if len(tries) <= 2:
            both.wait(10)
        tx.lock(second)
        return f"{first}, then {second}"

    def crossing(first: str, second: str) -> str:
        return store.write_now(None, locked, first, second)

    with ThreadPoolExecutor(2) as threads:
        done = threads.map(crossing, ("threads", "deliveries"), ("deliveries", "threads"))

    assert list(done) == ["threads, then deliveries", "deliveries, then threads"]
    assert len(tries) == 3
    store.close()
