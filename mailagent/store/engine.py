"""Where does the database live, and who may write to it when?

`Store.write` and `Store.read` run a function over a `Transaction` in a database thread and return
what it returned; a commit lies between its last statement and the caller's next line. SQLite takes
one writer at a time: within this process writers queue on `WriteLock`, the committer of incoming
mail first, because waiting in Python is cheaper than spinning on SQLite's lock.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from mailagent.store.sqlite import PRAGMAS
from mailagent.store.transaction import Transaction

__all__ = ["Store", "WriteLock", "driver_url"]

P = ParamSpec("P")
T = TypeVar("T")

_READERS = 3
_POSTGRES_CONNECTIONS = 8


def driver_url(url: str) -> str:
    """Our driver's form of a plain `sqlite:///` or `postgresql://` address."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


class WriteLock:
    """A lock with two ranks: `first` holders overtake waiting others, and never starve them long
    because a group commit takes all that waits at once.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._held = False
        self._first_waiting = 0

    @contextmanager
    def hold(self, *, first: bool = False) -> Iterator[None]:
        """Wait for the lock and hold it."""
        with self._condition:
            if first:
                self._first_waiting += 1
                self._condition.wait_for(lambda: not self._held)
                self._first_waiting -= 1
            else:
                self._condition.wait_for(lambda: not self._held and not self._first_waiting)
            self._held = True
        try:
            yield
        finally:
            self.release()

    def try_hold(self) -> bool:
        """Take the lock if nobody has it or waits for it; the caller must `release`."""
        with self._condition:
            if self._held or self._first_waiting:
                return False
            self._held = True
            return True

    def release(self) -> None:
        """Let the next one have it."""
        with self._condition:
            self._held = False
            self._condition.notify_all()


class Store:
    """The rows of one installation."""

    def __init__(
        self, url: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.url = driver_url(url)
        self.on_sqlite = make_url(self.url).get_backend_name() == "sqlite"
        self.now = now
        self.engine = _engine(self.url, on_sqlite=self.on_sqlite)
        self.write_lock = WriteLock()
        self._listeners: list[Callable[[frozenset[str]], None]] = []
        threads = 1 if self.on_sqlite else _POSTGRES_CONNECTIONS
        self._writers = ThreadPoolExecutor(threads, thread_name_prefix="store-write")
        self._readers = (
            ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
            if self.on_sqlite
            else self._writers
        )

    def on_wake(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Call `listener` with the woken queues after each commit, in a database thread."""
        self._listeners.append(listener)

    async def write(
        self,
        workspace_id: str,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(transaction, *args)` inside one workspace and commit what it did."""
        return await self._run(self._writers, self.write_now, workspace_id, work, *args, **kwargs)

    async def write_unscoped(
        self, work: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `write`, across workspaces: claims, doors, operator commands."""
        return await self._run(self._writers, self.write_now, None, work, *args, **kwargs)

    async def read(
        self,
        workspace_id: str,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(transaction, *args)` on a snapshot of one workspace; nothing is committed."""
        return await self._run(self._readers, self.read_now, workspace_id, work, *args, **kwargs)

    async def read_unscoped(
        self, work: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `read`, across workspaces."""
        return await self._run(self._readers, self.read_now, None, work, *args, **kwargs)

    def write_now(
        self,
        workspace_id: str | None,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`write` for callers that are in a thread of their own already."""
        if not self.on_sqlite:
            return self._commit(workspace_id, work, *args, **kwargs)
        with self.write_lock.hold():
            return self._commit(workspace_id, work, *args, **kwargs)

    def read_now(
        self,
        workspace_id: str | None,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`read` for callers that are in a thread of their own already."""
        with self.engine.connect() as connection:
            if self.on_sqlite:
                connection.exec_driver_sql("BEGIN")
            return work(Transaction(connection, workspace_id, self.now()), *args, **kwargs)

    def _commit(
        self,
        workspace_id: str | None,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with self.engine.connect() as connection:
            if self.on_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            transaction = Transaction(connection, workspace_id, self.now())
            result = work(transaction, *args, **kwargs)
            transaction.end()
            if transaction.woken and not self.on_sqlite:
                _notify(connection, transaction.woken)
            connection.commit()
        self.woken(transaction.woken)
        return result

    def woken(self, queues: frozenset[str]) -> None:
        """Pass on that rows of these queues are due now."""
        if queues:
            for listener in self._listeners:
                listener(queues)

    async def _run(
        self, pool: ThreadPoolExecutor, method: Callable[..., T], /, *args: object, **kwargs: object
    ) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            pool, lambda: method(*args, **kwargs)
        )

    def checkpoint(self) -> None:
        """Move SQLite's log into the database file; from a thread of its own, off every commit."""
        if self.on_sqlite:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Finish what runs and close every connection."""
        self._writers.shutdown()
        self._readers.shutdown()
        self.engine.dispose()


def _engine(url: str, *, on_sqlite: bool) -> Engine:
    if not on_sqlite:
        return create_engine(
            url,
            pool_size=_POSTGRES_CONNECTIONS,
            max_overflow=4,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "options": "-c timezone=UTC"},
        )
    engine = create_engine(url, pool_size=_READERS + 2, connect_args={"timeout": 5})

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # We say BEGIN ourselves: the driver's own would begin deferred and deadlock on upgrade.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (*PRAGMAS, "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _notify(connection: Connection, queues: frozenset[str]) -> None:
    for queue in sorted(queues):
        connection.execute(text("SELECT pg_notify('mailagent', :queue)").bindparams(queue=queue))
