"""How is everything that an installation holds written to one file while it goes on working?

One read transaction sees the database as it is at one moment: SQLite's log, PostgreSQL's
snapshot. Nobody waits for it. Rows pass one by one, so a backup needs no more memory than the
largest mail.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Table,
    func,
    select,
    text,
)
from sqlalchemy import Column as StoredColumn

from backend.operation.backup_file import Column, Header, Kind, Reader, TableRows, Writer
from backend.operation.search_index import DERIVED
from mailagent.errors import Malformed, Misconfigured
from mailagent.store.engine import Store
from mailagent.store.migrations import standing_of
from mailagent.store.tables import metadata
from mailagent.store.types import Moment
from mailagent.tokens import Secrets

__all__ = ["back_up", "kind_of", "whole_file"]

_ROWS_AT_ONCE = 100


def back_up(store: Store, secrets: Secrets, file: BinaryIO, *, default_domain: str) -> Header:
    """Write a backup of this moment to `file`.

    Raises Misconfigured when the tables are not this version's.
    """
    made_at = store.now()
    with _snapshot(store) as connection:
        standing = standing_of(connection)
        if not standing.is_current:
            raise Misconfigured(
                "DATABASE_URL",
                f"{standing.sentence}: a backup is made by the version that works on it",
            )
        header = Header(
            version=version("mailagent"),
            revision=standing.needs,
            made_at=made_at,
            default_domain=default_domain,
            keys={key_id: secrets.check_value(key_id) for key_id in secrets.key_ids},
            tables=tuple(
                _counted(connection, table)
                for table in metadata.sorted_tables
                if table.name not in DERIVED
            ),
        )
        writer = Writer(file, header)
        for table in header.tables:
            writer.table(table, _rows(connection, metadata.tables[table.name]))
        writer.end()
    return header


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that only its owner may read, and that is at `path` only once it is whole and on disk.

    Raises Malformed when something else than a backup is there already, or it cannot be written.
    """
    if path.exists():
        _must_be_backup(path)
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    except OSError as error:
        raise Malformed("FILE", f"{path} cannot be written: {error.strerror}") from error
    beside = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Malformed("FILE", f"{path} cannot be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


def kind_of(column: StoredColumn[Any]) -> Kind:
    """How a column of ours stands in a backup. Raises TypeError for a type that we do not use."""
    match column.type:
        case Moment():
            return Kind.MOMENT
        case JSON():
            return Kind.OPTIONAL_JSON if column.nullable else Kind.JSON
        case LargeBinary():
            return Kind.OCTETS
        case Boolean():
            return Kind.BOOLEAN
        case Numeric():
            return Kind.NUMBER
        case Integer():
            return Kind.INTEGER
        case String():
            return Kind.TEXT
        case other:
            raise TypeError(f"{column}: a backup has no form for {other!r}")


@contextmanager
def _snapshot(store: Store) -> Iterator[Connection]:
    with store.engine.connect() as connection:
        if store.on_sqlite:
            connection.exec_driver_sql("BEGIN")
        else:
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            # A server that ends slow or idle sessions must not end this one.
            for timeout in ("statement_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET LOCAL {timeout} = 0"))
        yield connection


def _counted(connection: Connection, table: Table) -> TableRows:
    columns = tuple(Column(one.name, kind_of(one)) for one in table.c)
    count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    return TableRows(table.name, columns, count)


def _rows(connection: Connection, table: Table) -> Iterator[Sequence[Any]]:
    # A row with octets may be 30 MB: of those one is in memory at a time.
    with_octets = any(isinstance(one.type, LargeBinary) for one in table.c)
    size = 1 if with_octets else _ROWS_AT_ONCE
    result = connection.execution_options(yield_per=size).execute(select(table))
    yield from result


def _must_be_backup(path: Path) -> None:
    try:
        with path.open("rb") as file:
            Reader(file)
    except (Malformed, OSError) as error:
        raise Malformed("FILE", f"{path} is there already and no backup: name another") from error
