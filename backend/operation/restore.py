"""How does a backup become an installation again, on either database?

Everything happens in one transaction: the tables are made as the backup's version had them, filled,
brought to this version, and work is taken out of the hands that it was in. A file that turns out to
be damaged at its last line has changed nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Connection,
    Engine,
    LargeBinary,
    Numeric,
    Select,
    TableClause,
    Text,
    column,
    create_engine,
    delete,
    event,
    func,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlalchemy.types import TypeEngine

from backend.operation import aftermath, search_index
from backend.operation.aftermath import Aftermath
from backend.operation.backup_file import Header, Kind, Reader, TableRows
from backend.operation.sealed import SEALED
from mailagent.errors import Conflict, Malformed, Misconfigured, Unauthentic
from mailagent.store import migrations
from mailagent.store.engine import APPLICATION_NAME, driver_url
from mailagent.store.prepared import Session
from mailagent.store.sqlite import PRAGMAS
from mailagent.store.tables import metadata
from mailagent.store.transaction import Transaction
from mailagent.store.types import Json, Moment
from mailagent.tokens import Secrets

__all__ = ["Restored", "Wish", "restore", "verify"]

_BATCH_ROWS = 500
_BATCH_OCTETS = 8 * 1024 * 1024
_HOUSE = frozenset({"versions", "schedules"})
"""Tables that a new database fills by itself."""

_TYPES: Mapping[Kind, TypeEngine[Any]] = {
    Kind.TEXT: Text(),
    Kind.INTEGER: BigInteger(),
    Kind.NUMBER: Numeric(),
    Kind.BOOLEAN: Boolean(),
    Kind.MOMENT: Moment(),
    Kind.JSON: Json,
    Kind.OPTIONAL_JSON: JSON(none_as_null=True).with_variant(
        JSONB(none_as_null=True), "postgresql"
    ),
    Kind.OCTETS: LargeBinary(),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What whoever restores has said."""

    default_domain: str
    replace: bool = False
    """Delete what the database holds."""
    send_queued: bool = False
    """Nothing worked on the installation after the backup: its work goes on where it stood."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    header: Header
    migrated: bool
    """Whether the backup was of an older version's tables."""
    aftermath: Aftermath


def verify(file: BinaryIO, secrets: Secrets | None) -> Header:
    """Read a backup to its end; with `secrets`, make sure that they open what it holds.

    Raises Malformed for a file that is not whole, Misconfigured for another key.
    """
    reader = Reader(file)
    if secrets is not None:
        _check_keys(reader.header, secrets)
    for one, row in reader.rows():
        if secrets is not None:
            _check_sealed(one, row, secrets)
    return reader.header


def restore(url: str, file: BinaryIO, secrets: Secrets, wish: Wish, *, now: datetime) -> Restored:
    """Make the database at `url` hold what a backup holds, or change nothing.

    Raises Malformed for a file that is not whole, Misconfigured for another key, domain or version,
    Conflict for a database that is in use or holds something.
    """
    reader = Reader(file)
    header = reader.header
    _check_keys(header, secrets)
    if header.default_domain != wish.default_domain:
        raise Misconfigured(
            "DEFAULT_EMAIL_DOMAIN",
            f"the backup is of {header.default_domain}, not {wish.default_domain}: set that",
        )
    with _alone(url) as connection:
        if not migrations.knows(connection, header.revision):
            raise Misconfigured(
                "FILE",
                f"was made by mailagent {header.version}, whose tables (revision "
                f"{header.revision}) this version does not know: install {header.version} or newer",
            )
        _make_room(connection, wish)
        migrations.upgrade_within(connection, header.revision)
        _load(connection, reader, secrets)
        migrations.upgrade_within(connection, "head")
        tx = Transaction(Session(connection), None, now)
        search_index.rebuild(tx)
        done = aftermath.settle(tx, header.made_at, send_queued=wish.send_queued)
        tx.end()
        _check_references(connection)
        connection.commit()
        standing = migrations.standing_of(connection)
    return Restored(header, standing.at != header.revision, done)


# --- may it be restored? ---------------------------------------------------------------------


def _check_keys(header: Header, secrets: Secrets) -> None:
    """The key that made new tokens must be ours; older ones only where they are needed to read."""
    ours = {(key_id, secrets.check_value(key_id)) for key_id in secrets.key_ids}
    current = next(iter(header.keys.items()), ("", ""))
    if current not in ours:
        raise Misconfigured(
            "MAILAGENT_SECRET_KEY",
            f"is not the key of this backup ({' '.join(current)} in its `mailagent secret list`): "
            "set the one of the installation that made it",
        )


def _check_sealed(rows: TableRows, row: list[Any], secrets: Secrets) -> None:
    for sealed in SEALED:
        if sealed.table.name == rows.name:
            names = [one.name for one in rows.columns]
            try:
                secrets.unseal(row[names.index(sealed.column)], sealed.purpose)
            except Unauthentic as error:
                raise Misconfigured(
                    "MAILAGENT_SECRET_KEY",
                    f"does not open a {sealed.purpose} of this backup: set the keys of the "
                    "installation that made it",
                ) from error


def _make_room(connection: Connection, wish: Wish) -> None:
    """Remove our tables. Raises Conflict when they hold something that nobody gave up."""
    there = [one for one in inspect(connection).get_table_names() if one in metadata.tables]
    if not wish.replace:
        held = [name for name in there if name not in _HOUSE and _count(connection, name)]
        if held:
            first = "workspaces" if "workspaces" in held else held[0]
            raise Conflict(
                f"the database holds {_count(connection, first)} {first.replace('_', ' ')}: "
                "restore into an empty one, or give up everything in it by --replace"
            )
    standing = migrations.standing_of(connection)
    if there and not standing.is_current:
        # Only this version's tables are known by name.
        raise Misconfigured("DATABASE_URL", f"{standing.sentence}: {standing.mend}")
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        # First: a full-text table takes those that it consists of with it.
        virtual = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
        for row in connection.exec_driver_sql(virtual).all():
            connection.exec_driver_sql(f"DROP TABLE {row.name}")
    for name in [*there, "alembic_version"]:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}{'' if on_sqlite else ' CASCADE'}")


def _count(connection: Connection, name: str) -> int:
    count: int = connection.execute(select(func.count()).select_from(table(name))).scalar_one()
    return count


def _check_references(connection: Connection) -> None:
    """SQLite looks at references only when it is asked; PostgreSQL has looked at each row."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise Malformed("FILE", f"a row of {broken[0]} refers to one of {broken[2]} that lacks")


# --- the rows --------------------------------------------------------------------------------


def _load(connection: Connection, reader: Reader, secrets: Secrets) -> None:
    for one in reader.header.tables:
        # A revision may have planted rows.
        connection.execute(delete(_known(connection, one)))
    batch = _Batch(connection)
    for one, row in reader.rows():
        _check_sealed(one, row, secrets)
        batch.add(one, row)
    batch.flush()
    if connection.dialect.name == "postgresql":
        for one in reader.header.tables:
            _continue_numbers(connection, one)


def _known(connection: Connection, rows: TableRows) -> TableClause:
    """A table that is there with exactly these columns. Raises Malformed."""
    inspected = inspect(connection)
    there = (
        {one["name"] for one in inspected.get_columns(rows.name)}
        if inspected.has_table(rows.name)
        else set()
    )
    if there != {one.name for one in rows.columns}:
        raise Malformed("FILE", f"holds a table {rows.name} that its version does not have")
    return table(rows.name)


class _Batch:
    """Rows of one table on their way, a statement for many: bounded by number and by octets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: TableRows | None = None
        self._waiting: list[dict[str, Any]] = []
        self._octets = 0

    def add(self, rows: TableRows, row: list[Any]) -> None:
        """Take one row. Raises Malformed when the database refuses what is flushed."""
        if rows is not self._rows:
            self.flush()
            self._rows = rows
        names = [one.name for one in rows.columns]
        self._waiting.append(dict(zip(names, row, strict=True)))
        self._octets += sum(len(one) for one in row if isinstance(one, bytes | str))
        if len(self._waiting) >= _BATCH_ROWS or self._octets >= _BATCH_OCTETS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._rows is not None and self._waiting:
            try:
                self._connection.execute(_clause(self._rows).insert(), self._waiting)
            except (DBAPIError, ValueError) as error:
                reason = str(getattr(error, "orig", error)).splitlines()[0]
                raise Malformed(
                    "FILE", f"the database refuses rows of {self._rows.name}: {reason}"
                ) from error
        self._waiting, self._octets = [], 0


def _clause(rows: TableRows) -> TableClause:
    return table(rows.name, *(column(one.name, _TYPES[one.kind]) for one in rows.columns))


def _continue_numbers(connection: Connection, rows: TableRows) -> None:
    """Let the next number follow the greatest that came: PostgreSQL counts beside the table."""
    for one in rows.columns:
        if one.kind is Kind.INTEGER:
            named = text("SELECT pg_get_serial_sequence(:t, :c)").bindparams(
                t=rows.name, c=one.name
            )
            if (sequence := connection.execute(named).scalar()) is not None:
                greatest: Select[Any] = select(func.max(column(one.name))).select_from(
                    table(rows.name)
                )
                number = connection.execute(greatest).scalar()
                if number is not None:
                    connection.execute(select(func.setval(sequence, number)))


# --- the database, for us alone --------------------------------------------------------------


@contextmanager
def _alone(url: str) -> Iterator[Connection]:
    """One transaction on a database that no other process of ours has open. Raises Conflict."""
    url = driver_url(url)
    on_sqlite = url.startswith("sqlite")
    engine = (
        _sqlite(url) if on_sqlite else create_engine(url, poolclass=NullPool, hide_parameters=True)
    )
    in_use = Conflict("the database is in use: stop every mailagent that works on it first")
    try:
        with engine.connect() as connection:
            if on_sqlite:
                connection.exec_driver_sql("BEGIN EXCLUSIVE")
            else:
                end = time.monotonic() + _SESSION_ENDS_WITHIN
                while _has_others(connection):
                    if time.monotonic() > end:
                        raise in_use
                    time.sleep(0.05)
            yield connection
    except OperationalError as error:
        if "database is locked" in str(error.orig):
            raise in_use from error
        raise
    finally:
        engine.dispose()


_SESSION_ENDS_WITHIN = 1.0
"""Seconds for which PostgreSQL may still show a session whose client has gone."""


def _has_others(connection: Connection) -> bool:
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name = :name"
    )
    found = connection.execute(others.bindparams(name=APPLICATION_NAME)).scalar_one()
    connection.rollback()  # within a transaction the answer would stay what it was
    return bool(found)


def _sqlite(url: str) -> Engine:
    engine = create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": 1}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        # References are looked at once, in the end: a revision may make a table anew.
        for pragma in ("page_size=8192", "locking_mode=EXCLUSIVE", *PRAGMAS, "foreign_keys=OFF"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
