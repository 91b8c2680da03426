"""Where does the database live, and who may write to it when?

`Store.write` and `Store.read` run a function over a `Transaction` in a database thread and return
what it returned; a commit lies between its last statement and the caller's next line. SQLite takes
one writer at a time: writers queue on `WriteLock`, within a process the committer of incoming mail
first, and what waits together is committed together (`SharedCommit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Dialect, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from mailagent.store import statistics
from mailagent.store.announcements import Announcements
from mailagent.store.postgres import APPLICATION_NAME, LOCK_TRIES, OPTIONS
from mailagent.store.postgres_session import Bounds, PostgresSessions
from mailagent.store.prepared import Session
from mailagent.store.process_lock import ProcessLock
from mailagent.store.shared_commit import SharedCommit
from mailagent.store.sqlite import PRAGMAS
from mailagent.store.step_thread import SteppingConnection, StepThread
from mailagent.store.transaction import Transaction
from mailagent.store.write_lock import WriteLock

__all__ = ["APPLICATION_NAME", "Store", "driver_url"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a transaction is begun and ended."""

    on_sqlite: str
    on_postgresql: Bounds


_SNAPSHOT = _Kind("BEGIN", Bounds(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", b"ROLLBACK"))
_WRITE = _Kind("BEGIN IMMEDIATE", Bounds(b"BEGIN", b"COMMIT"))
_REHEARSAL = _Kind("BEGIN IMMEDIATE", Bounds(b"BEGIN", b"ROLLBACK"))

_READERS = 3
_POSTGRES_CONNECTIONS = 8
_LOCKED = (LockNotAvailable, DeadlockDetected)
"""What PostgreSQL says when it has undone a transaction that waited for another's locks."""


def driver_url(url: str) -> str:
    """Our driver's form of a plain `sqlite:///` or `postgresql://` address."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


class Store:
    """The rows of one installation."""

    def __init__(
        self, url: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.url = driver_url(url)
        self.on_sqlite = make_url(self.url).get_backend_name() == "sqlite"
        self.now = now
        self.engine = _engine(self.url, on_sqlite=self.on_sqlite)
        self._sessions = (
            None if self.on_sqlite else PostgresSessions(self.engine, _POSTGRES_CONNECTIONS)
        )
        self._processes = _processes(self.url) if self.on_sqlite else None
        self.write_lock = WriteLock(self._processes)
        self._listeners: list[Callable[[frozenset[str]], None]] = []
        self._announcements = None if self.on_sqlite else Announcements(_plain_url(self.url))
        self._threads = (
            ThreadPoolExecutor(_READERS, thread_name_prefix="store")
            if self.on_sqlite
            else StepThread(_POSTGRES_CONNECTIONS)
        )
        self._shared = (
            SharedCommit(self.engine, self.write_lock, now=self._clock, woken=self.woken)
            if self.on_sqlite
            else None
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
        return await self._write(workspace_id, lambda tx: work(tx, *args, **kwargs))

    async def write_unscoped(
        self, work: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `write`, across workspaces: claims, doors, operator commands."""
        return await self._write(None, lambda tx: work(tx, *args, **kwargs))

    async def rehearse(
        self,
        workspace_id: str,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(transaction, *args)` inside one workspace and undo what it did.

        It sees and may change all that `write` may; nothing of it is kept and nobody is woken. The
        locks are those of a write: whoever waits for a far side does so between two of these.
        """
        return await self._run(self._undone, workspace_id, lambda tx: work(tx, *args, **kwargs))

    async def read(
        self,
        workspace_id: str,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(transaction, *args)` on a snapshot of one workspace; nothing is committed."""
        return await self._run(self.read_now, workspace_id, work, *args, **kwargs)

    async def read_unscoped(
        self, work: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `read`, across workspaces."""
        return await self._run(self.read_now, None, work, *args, **kwargs)

    def write_now(
        self,
        workspace_id: str | None,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`write` for callers that are in a thread of their own already."""

        def bound(tx: Transaction) -> T:
            return work(tx, *args, **kwargs)

        if not self.on_sqlite:
            return self._commit(workspace_id, bound)
        with self.write_lock.hold():
            return self._commit(workspace_id, bound)

    def read_now(
        self,
        workspace_id: str | None,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`read` for callers that are in a thread of their own already."""

        def bound(tx: Transaction) -> T:
            return work(tx, *args, **kwargs)

        return self._snapshot(workspace_id, bound)

    async def _write(self, workspace_id: str | None, work: Callable[[Transaction], T]) -> T:
        if self._shared is None:
            return await self._run(self.write_now, workspace_id, work)
        result: T = await self._shared.write(workspace_id, work)
        return result

    def _snapshot(
        self, workspace_id: str | None, work: Callable[[Transaction], T], *, again: bool = True
    ) -> T:
        session = self._begin(_SNAPSHOT)
        try:
            result = work(Transaction(session, workspace_id, self.now()))
            session.rollback()
        except DBAPIError as error:
            if not (again and error.connection_invalidated):
                raise
        else:
            return result
        finally:
            session.leave()
        return self._snapshot(workspace_id, work, again=False)

    def _commit(
        self, workspace_id: str | None, work: Callable[[Transaction], T], *, tries: int = LOCK_TRIES
    ) -> T:
        session = self._begin(_WRITE)
        try:
            transaction = Transaction(session, workspace_id, self.now())
            result = work(transaction)
            transaction.end()
            session.commit()
        except DBAPIError as error:
            # Died before its COMMIT was sent: nothing was done. To ask each connection first
            # whether it lives would cost a mail ten round trips.
            died = error.connection_invalidated and not session.is_committing
            # Nor was anything done where another, perhaps a frozen one, held what it needed.
            locked = isinstance(error.orig, _LOCKED)
            if tries == 1 or not (died or locked):
                raise
        else:
            self.woken(transaction.woken)
            return result
        finally:
            session.leave()
        return self._commit(workspace_id, work, tries=tries - 1)

    def _undone(
        self, workspace_id: str, work: Callable[[Transaction], T], *, tries: int = LOCK_TRIES
    ) -> T:
        with self.write_lock.hold() if self.on_sqlite else nullcontext():
            session = self._begin(_REHEARSAL)
            try:
                transaction = Transaction(session, workspace_id, self.now())
                result = work(transaction)
                transaction.end()
                session.rollback()
            except DBAPIError as error:
                locked = isinstance(error.orig, _LOCKED)
                if tries == 1 or not (error.connection_invalidated or locked):
                    raise
            else:
                return result
            finally:
                session.leave()
        return self._undone(workspace_id, work, tries=tries - 1)

    def _begin(self, kind: _Kind) -> Session:
        if self._sessions is not None:
            return self._sessions.begin(kind.on_postgresql)
        connection = self.engine.connect()
        try:
            connection.exec_driver_sql(kind.on_sqlite)
        except BaseException:
            connection.close()
            raise
        return Session(connection)

    def woken(self, queues: frozenset[str]) -> None:
        """Pass on that rows of these queues are due now; call it after their commit."""
        if queues:
            for listener in self._listeners:
                listener(queues)
            self.announce(queues)

    def announce(self, queues: frozenset[str]) -> None:
        """`woken` for other processes alone; never waits."""
        if self._announcements is not None:
            self._announcements.tell(queues)

    @property
    def announcer(self) -> int | None:
        """PostgreSQL's number of the session that announces for us, once there is one."""
        return self._announcements.session if self._announcements else None

    async def _run(self, method: Callable[..., T], /, *args: object, **kwargs: object) -> T:
        def run() -> T:
            return method(*args, **kwargs)

        if isinstance(self._threads, StepThread):
            return await self._threads.run(run)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _clock(self) -> datetime:
        return self.now()

    def tend(self) -> None:
        """Do what is due every few seconds, off every commit, in a thread of its own: move SQLite's
        log into the database file, have PostgreSQL count what has grown.
        """
        with self.engine.connect() as connection:
            if self.on_sqlite:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
            else:
                statistics.gather(connection.execution_options(isolation_level="AUTOCOMMIT"))

    def close(self) -> None:
        """Finish what runs and close every connection."""
        if self._shared is not None:
            self._shared.close()
        if isinstance(self._threads, StepThread):
            self._threads.close()
        else:
            self._threads.shutdown()
        if self._announcements is not None:
            self._announcements.close()
        if self._sessions is not None:
            self._sessions.close()
        self.engine.dispose()
        if self._processes is not None:
            self._processes.close()


def _plain_url(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def _processes(url: str) -> ProcessLock | None:
    database = make_url(url).database
    return ProcessLock(Path(database)) if database and database != ":memory:" else None


def _engine(url: str, *, on_sqlite: bool) -> Engine:
    # Parameters are hidden in errors: those are logged, and the parameters are people's mail.
    if not on_sqlite:
        engine = create_engine(
            url,
            pool_size=_POSTGRES_CONNECTIONS,
            max_overflow=4,
            hide_parameters=True,
            connect_args={"connect_timeout": 5, "options": OPTIONS},
        )

        @event.listens_for(engine, "do_connect")
        def _stepping(_: Dialect, __: object, args: Any, parameters: Any) -> SteppingConnection:
            # Of its own the driver prepares nothing: at a ROLLBACK it would have the server forget
            # every prepared statement, ours among them.
            return SteppingConnection.connect(*args, **parameters, prepare_threshold=None)

        return engine
    engine = create_engine(
        url, pool_size=_READERS + 2, hide_parameters=True, connect_args={"timeout": 5}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # We say BEGIN ourselves: the driver's own would begin deferred and deadlock on upgrade.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (*PRAGMAS, "busy_timeout=5000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
