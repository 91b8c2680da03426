"""Who writes to SQLite next?

Waiting here is cheaper and fairer than spinning on SQLite's own lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mailagent.store.process_lock import ProcessLock

__all__ = ["WriteLock"]


class WriteLock:
    """A lock with two ranks: `first` holders overtake waiting others, and never starve them long
    because a group commit takes all that waits at once. Between processes there are no ranks: they
    take turns, by `processes`.
    """

    def __init__(self, processes: ProcessLock | None = None) -> None:
        self._processes = processes
        self._condition = threading.Condition()
        self._held = False
        self._first_waiting = 0

    @property
    def first_waits(self) -> bool:
        """Whether one of the first rank or another process waits: who holds the lock should soon
        let it go.
        """
        return self._first_waiting > 0 or (self._processes is not None and self._processes.wanted)

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
            if self._processes is not None:
                self._processes.wait()
            yield
        finally:
            self.release()

    def try_hold(self) -> bool:
        """Take the lock if nobody has it or waits for it; the caller must `release`."""
        with self._condition:
            if self._held or self._first_waiting:
                return False
            if self._processes is not None and not self._processes.take():
                return False
            self._held = True
            return True

    def release(self) -> None:
        """Let the next one have it."""
        if self._processes is not None:
            self._processes.give()
        with self._condition:
            self._held = False
            self._condition.notify_all()
