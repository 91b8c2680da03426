"""How do accepted mails become durable on SQLite?"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy.engine import make_url

from mailagent.inbound import Later, Outcome
from mailagent.store.group_commit import Statements, Waiting
from mailagent.store.sqlite import PRAGMAS
from mailagent.store.types import microseconds

__all__ = ["SqliteCommit"]

_STORAGE_AWAY = (sqlite3.OperationalError, sqlite3.ProgrammingError)


class SqliteCommit:
    """A connection that does nothing but accept. Used by one thread at a time."""

    def __init__(self, url: str, *, busy_seconds: float = 5) -> None:
        """`busy_seconds` is how long another process's write is waited for."""
        self._path = str(make_url(url).database)
        self._busy_seconds = busy_seconds
        self._statements = Statements(lambda _: "?", microseconds)
        self._connection: sqlite3.Connection | None = None

    def commit(self, mails: Sequence[Waiting]) -> list[Outcome]:
        """Make all of them durable, one outcome for each. Never raises.

        A batch that fails is repeated mail by mail, so that one bad mail costs no neighbour its
        yes; when the storage itself is away or full, all are told `Later` at once.
        """
        try:
            return self._together(mails)
        except _STORAGE_AWAY as error:
            self.close()
            return [Later(f"{type(error).__name__}: {error}")] * len(mails)
        except (sqlite3.Error, ValueError) as error:
            # ValueError is a text that no database takes: an unpaired surrogate.
            self.close()
            if len(mails) == 1:
                return [Later(f"{type(error).__name__}: {error}")]
        return [self.commit([mail])[0] for mail in mails]

    def close(self) -> None:
        """Close the connection, which rolls back what was open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _together(self, mails: Sequence[Waiting]) -> list[Outcome]:
        if self._connection is None:
            self._connection = self._connect()
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            questions = self._statements.questions(mails)
            answers = {one: cursor.execute(*one).fetchall() for one in questions}
            outcomes, writes = self._statements.plan(mails, answers)
            for statement, values in writes:
                cursor.execute(statement, values)
            cursor.execute("COMMIT")
        finally:
            cursor.close()
        return outcomes

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection
