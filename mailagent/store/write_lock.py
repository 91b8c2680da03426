"""Who of this process writes to SQLite next?

Waiting in Python is cheaper than spinning on SQLite's own lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["WriteLock"]


class WriteLock:
    """A lock with two ranks: `first` holders overtake waiting others, and never starve them long
    because a group commit takes all that waits at once.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._held = False
        self._first_waiting = 0

    @property
    def first_waits(self) -> bool:
        """Whether somebody of the first rank waits: who holds the lock should soon let it go."""
        return self._first_waiting > 0

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
