"""How do several writers share one commit on SQLite?

SQLite has one writer at a time and each commit costs an fsync, so what came in while one commit was
written goes into the next one together. Each piece of work has a savepoint of its own: what it
raises undoes its own rows alone. Nobody hears of success before the commit that holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from mailagent.store.handed_in import HandedIn, tell
from mailagent.store.prepared import Session
from mailagent.store.transaction import Transaction
from mailagent.store.write_lock import WriteLock

__all__ = ["SharedCommit"]

_MOST = 32
_LONGEST_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class _Work(HandedIn[[Transaction]]):
    """What one caller wants done in which workspace."""

    workspace_id: str | None = None


class SharedCommit:
    """A thread that runs callers' work in their order, with as few commits as it can."""

    def __init__(
        self,
        engine: Engine,
        write_lock: WriteLock,
        *,
        now: Callable[[], datetime],
        woken: Callable[[frozenset[str]], None],
    ) -> None:
        self._engine, self._write_lock, self._now, self._woken = engine, write_lock, now, woken
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="store-write", daemon=True)
        self._thread.start()
        self._closed = False

    async def write(self, workspace_id: str | None, function: Callable[[Transaction], Any]) -> Any:
        """Run `function` and return what it returned, once that is committed."""
        if self._closed:
            raise RuntimeError("the store is closed")
        future = asyncio.get_running_loop().create_future()
        self._waiting.put(_Work(function, future, workspace_id=workspace_id))
        return await future

    def close(self) -> None:
        """Finish what was handed in."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            error = self._attempt(batch)
            if error is not None and len(batch) > 1:
                # What is to blame costs nobody else his work.
                for work in batch:
                    work.result, work.error = None, None
                    work.error = self._attempt([work], alone=True) or work.error
            elif error is not None:
                first.error = error
            tell(batch)

    def _attempt(self, batch: list[_Work], *, alone: bool = False) -> Exception | None:
        """One commit of `batch`, to which `_together` adds; why nothing of it was committed."""
        try:
            with self._write_lock.hold():
                woken = self._together(batch, alone=alone)
        except Exception as error:  # noqa: BLE001 - the top of this thread hands it to who asked
            return error
        self._woken(woken)
        return None

    def _together(self, batch: list[_Work], *, alone: bool = False) -> frozenset[str]:
        """Run the first of `batch` and, unless `alone`, what waits behind it; then commit.

        Whatever joins is added to `batch`. Returns the queues to wake.
        """
        woken: frozenset[str] = frozenset()
        end = time.monotonic() + _LONGEST_SECONDS
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                work: _Work | None = batch[0]
                while work is not None:
                    woken |= self._run(connection, work)
                    # Mail at the door goes first: its sender waits for the 250.
                    late = time.monotonic() >= end or self._write_lock.first_waits
                    work = None if alone or late or len(batch) >= _MOST else self._next()
                    if work is not None:
                        batch.append(work)
                connection.commit()
            except BaseException:
                # A COMMIT that fails may leave its transaction open.
                _driver(connection).rollback()
                raise
        return woken

    def _next(self) -> _Work | None:
        with contextlib.suppress(queue.Empty):
            work = self._waiting.get_nowait()
            if work is not None:
                return work
            self._waiting.put(None)  # the end, for `_serve` to find
        return None

    def _run(self, connection: Connection, work: _Work) -> frozenset[str]:
        if work.future.cancelled():
            return frozenset()
        driver = _driver(connection)
        driver.execute("SAVEPOINT work")
        transaction = Transaction(Session(connection), work.workspace_id, self._now())
        try:
            work.result = work.function(transaction)
            transaction.end()
        except Exception as error:
            if not driver.in_transaction:
                raise  # SQLite has undone the whole transaction: the disk is full, memory is short
            work.error = error
            driver.execute("ROLLBACK TO work")
        driver.execute("RELEASE work")
        return frozenset() if work.error else transaction.woken


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
