"""Is the database at this version's tables, and how does it get there?"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from mailagent.errors import Misconfigured
from mailagent.store import statistics
from mailagent.store.engine import driver_url

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "Revision",
    "Standing",
    "check",
    "is_current",
    "knows",
    "standing",
    "standing_of",
    "upgrade",
    "upgrade_within",
]

_LOCK = (
    0x6D61696C  # one number for PostgreSQL's advisory lock: two nodes migrate one after the other
)
_LOCK_TIMEOUT = "2s"
"""While a lock is waited for, all that comes after waits too: mail at the door among it."""
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the tables; `what` is the first line of its file."""

    id: str
    what: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a database is, and what lies between it and this version."""

    at: str | None
    """The database's revision; None when it has no tables of ours."""
    needs: str
    """This version's revision."""
    pending: tuple[Revision, ...] = ()
    """What `mailagent migrate` would do, in order."""

    @property
    def is_current(self) -> bool:
        """Whether the tables are exactly this version's."""
        return self.at == self.needs

    @property
    def is_newer(self) -> bool:
        """Whether a newer version has migrated it."""
        return not self.is_current and not self.pending

    @property
    def sentence(self) -> str:
        """What is so, for people."""
        if self.is_current:
            return f"its tables are at revision {self.at}, as this version needs them"
        if self.at is None:
            return "it has no tables yet"
        if self.is_newer:
            return (
                f"its tables are at revision {self.at}, which mailagent {version('mailagent')} "
                "does not know (a newer version has migrated it)"
            )
        steps = f"{len(self.pending)} step{'s' if len(self.pending) > 1 else ''}"
        return f"its tables are at revision {self.at}, {steps} behind {self.needs}"

    @property
    def mend(self) -> str:
        """What to do about it; empty when it is current."""
        if self.is_current:
            return ""
        if self.is_newer:
            return "install that version or a newer one, or restore a backup made before it"
        return "run mailagent migrate"


def upgrade(url: str) -> None:
    """Bring the tables of the database at `url` to this version; nothing happens when they are.

    All steps or none: what fails or is killed on the way has changed nothing. On PostgreSQL running
    nodes wait while it works; raises Misconfigured when somebody keeps the tables for a minute.
    """
    until = time.monotonic() + _LONGEST_WAIT
    while not _upgraded(url):
        if time.monotonic() > until:
            mend = "end what holds them (pg_stat_activity shows it) and run it again"
            raise Misconfigured("DATABASE_URL", f"its tables were in use for a minute: {mend}")
        time.sleep(random.uniform(0.1, 1))  # noqa: S311 - lets whoever was in the way finish


def _upgraded(url: str) -> bool:
    """One attempt; False when the tables could not be had."""
    with _connected(url) as connection:
        if connection.dialect.name == "sqlite":
            _begin_on_sqlite(connection)
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)").bindparams(n=_LOCK))
            if not standing_of(connection).is_current and not _all_ours(connection):
                return False
        upgrade_within(connection, "head")
        connection.commit()
    return True


def _all_ours(connection: Connection) -> bool:
    """Lock every table of a PostgreSQL database at once, or none; whether it could be.

    A migration that takes them one by one, as its steps come, meets transactions of running nodes
    that took them in another order: a deadlock, half-way through.
    """
    quote = connection.dialect.identifier_preparer.quote
    tables = ", ".join(quote(name) for name in inspect(connection).get_table_names())
    if not tables:
        return True
    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    try:
        connection.execute(text(f"LOCK TABLE {tables}"))
    except OperationalError as error:
        if isinstance(
            error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected
        ):
            return False
        raise
    return True


def _begin_on_sqlite(connection: Connection) -> None:
    # The driver's own transactions would commit each statement that makes a table.
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.isolation_level = None
    # Of use on a new file only, and before its first table.
    connection.exec_driver_sql("PRAGMA page_size=8192")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def upgrade_within(connection: Connection, revision: str) -> None:
    """Bring the tables to `revision`, or to `head`; the caller commits."""
    from alembic import command

    command.upgrade(_config(connection), revision)
    if connection.dialect.name == "sqlite" and revision == "head":
        statistics.tell(connection)


def is_current(url: str) -> bool:
    """Whether the database at `url` has exactly this version's tables."""
    return standing(url).is_current


def standing(url: str) -> Standing:
    """Where the database at `url` stands; nothing is changed, and no file is made."""
    file = url.removeprefix("sqlite:///")
    is_missing = file != url and not Path(file).is_file()
    with _connected("sqlite://" if is_missing else url) as connection:
        return standing_of(connection)


def standing_of(connection: Connection) -> Standing:
    """Where the database of a connection stands."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config(connection))
    head = scripts.get_current_head()
    assert head is not None
    at = MigrationContext.configure(connection).get_current_revision()
    steps = list(scripts.walk_revisions())
    known = [step.revision for step in steps]
    if at is not None and at not in known:
        return Standing(at, head)
    newer = steps if at is None else steps[: known.index(at)]
    pending = tuple(Revision(step.revision, step.doc) for step in reversed(newer))
    return Standing(at, head, pending)


def knows(connection: Connection, revision: str) -> bool:
    """Whether a revision is one of this version's."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config(connection))
    return any(step.revision == revision for step in scripts.walk_revisions())


def check(url: str) -> None:
    """Raises Misconfigured, with the mend, unless the tables are exactly this version's."""
    found = standing(url)
    if not found.is_current:
        raise Misconfigured("DATABASE_URL", f"{found.sentence}: {found.mend}")


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(driver_url(url))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = connection
    return config
