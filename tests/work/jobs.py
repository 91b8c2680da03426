"""A table of jobs as `work` needs it, for the contract suite of claims."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, Text, select, update

from mailagent.store.engine import Store
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.store.types import Moment
from mailagent.work import Queue

__all__ = ["JOBS", "add", "all_rows", "change", "jobs", "metadata", "one"]

metadata = MetaData()
jobs = Table(
    "jobs",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("workspace_id", String(48), nullable=False),
    Column("state", Text, nullable=False),
    Column("not_before", Moment, nullable=False),
    Column("claimed_by", String(48)),
    Column("lease_until", Moment),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),
)
JOBS = Queue("jobs", jobs, jobs.c.state == "due")


def add(
    store: Store, *ids: str, workspace_id: str = "w", due: timedelta = timedelta(), **more: Any
) -> None:
    """Due jobs, a second apart in the order given; `due` shifts when."""
    started = store.now() - timedelta(minutes=10) + due
    rows = [
        {
            "id": id_,
            "workspace_id": workspace_id,
            "state": "due",
            "not_before": started + timedelta(seconds=number),
            **more,
        }
        for number, id_ in enumerate(ids)
    ]
    store.write_now(None, lambda tx: tx.insert(jobs, *rows))


def one(store: Store, id_: str) -> AnyRow:
    """The row of a job."""
    row = store.read_now(None, lambda tx: tx.row(select(jobs).where(jobs.c.id == id_)))
    assert row is not None
    return row


def all_rows(store: Store) -> Mapping[str, AnyRow]:
    """Every job by its id."""
    rows = store.read_now(None, lambda tx: tx.rows(select(jobs)))
    return {row.id: row for row in rows}


def change(store: Store, id_: str, **values: Any) -> None:
    """Put a job as if time had passed or somebody had held it."""

    def write(tx: Transaction) -> None:
        tx.execute(update(jobs).where(jobs.c.id == id_).values(values))

    store.write_now(None, write)


def ago(store: Store, seconds: float) -> datetime:
    """A time that has passed on this machine and on the database's."""
    return store.now() - timedelta(seconds=seconds)
