"""Which process of this machine writes to SQLite next?

SQLite's busy handler sleeps for up to 100 ms between two looks, so whoever writes all the time
starves the others. Two `flock`s make a turnstile instead: who has the next turn waits for the one
that writes, so that it cannot be overtaken by it, and is looking every tenth of a millisecond. They
are about fairness alone. SQLite's own lock keeps the data right, and who waited here in vain goes
on to that one.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["ProcessLock"]

_LOOK_EVERY = 0.0001
_FOR_ALL_TO_READ = 0o644


class ProcessLock:
    """One turn at a time among the processes that use a database; for one thread at a time."""

    def __init__(self, database: Path, *, patience_seconds: float = 5) -> None:
        self._paths = (_beside(database, "next"), _beside(database, "writer"))
        self._patience_seconds = patience_seconds
        self._files: tuple[int, int] | None = None

    def wait(self) -> None:
        """Until it is our turn, or patience has ended."""
        if (files := self._opened()) is None:
            return
        turnstile, writer = files
        end = time.monotonic() + self._patience_seconds
        if _take_until(turnstile, end):
            _take_until(writer, end)
            _give(turnstile)

    def take(self) -> bool:
        """Whether it is our turn at once."""
        if (files := self._opened()) is None:
            return True
        turnstile, writer = files
        if not _take(turnstile):
            return False
        taken = _take(writer)
        _give(turnstile)
        return taken

    def give(self) -> None:
        """Let the next one have its turn."""
        if self._files is not None:
            _give(self._files[1])

    @property
    def wanted(self) -> bool:
        """Whether another process waits for its turn."""
        if self._files is None:
            return False
        if not _take(self._files[0]):
            return True
        _give(self._files[0])
        return False

    def close(self) -> None:
        """Close the files; they stay where they are."""
        if self._files is not None:
            for file in self._files:
                os.close(file)
            self._files = None

    def _opened(self) -> tuple[int, int] | None:
        if self._files is None and sys.platform != "win32":
            try:
                first, second = (
                    os.open(path, os.O_RDONLY | os.O_CREAT, _FOR_ALL_TO_READ)
                    for path in self._paths
                )
            except OSError:
                return None  # the folder is not there or full: SQLite will say so itself
            self._files = first, second
        return self._files


def _beside(database: Path, name: str) -> Path:
    return database.with_name(f"{database.name}-{name}")


def _take_until(file: int, end: float) -> bool:
    while not _take(file):
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY)
    return True


if sys.platform != "win32":

    def _take(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _give(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)

else:  # serves one process a database

    def _take(file: int) -> bool:
        return True

    def _give(file: int) -> None:
        return
