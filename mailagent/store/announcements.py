"""How do other processes hear, on PostgreSQL, that rows are due?

After the commit that made them due, and not in it: commits with a NOTIFY wait for each other. What
is said within a twentieth of a second is said once, and the first of it at once: each time costs
the thread that says it, and each that hears it, a turn. Who dies in between has told nobody, and
the others find the rows when they next look, within a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import psycopg
import structlog

from mailagent.store.postgres import OPTIONS

__all__ = ["CHANNEL", "Announcements"]

CHANNEL = "mailagent"

_APART_SECONDS = 0.05
_AGAIN_SECONDS = 1.0
_LAST_WORDS_SECONDS = 3.0
_NOTIFY = "SELECT pg_notify(%s, queue) FROM unnest(%s::text[]) AS queue"

log = structlog.get_logger()


class Announcements:
    """A thread with a connection of its own, both made when there is something to say."""

    def __init__(self, url: str) -> None:
        """`url` is a plain `postgresql://` address."""
        self._url = url
        self._due = threading.Condition()
        self._queues: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closing = False
        self.session: int | None = None
        """The server's number of the connection, by which our own words are known when heard."""

    def tell(self, queues: Iterable[str]) -> None:
        """Have it said soon, from any thread; never waits, never raises."""
        with self._due:
            self._queues.update(queues)
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
                self._thread.start()
            self._due.notify()

    def close(self) -> None:
        """Say what is left to be said, and end."""
        with self._due:
            self._closing = True
            self._due.notify()
        if self._thread is not None:
            self._thread.join(_LAST_WORDS_SECONDS)

    def _run(self) -> None:
        while self._wait():
            try:
                with psycopg.connect(
                    self._url, autocommit=True, connect_timeout=5, options=OPTIONS
                ) as connection:
                    self.session = connection.info.backend_pid
                    self._say(connection)
            except psycopg.Error as error:
                log.warning("announcements.lost", error=str(error), mend="others poll meanwhile")
                time.sleep(_AGAIN_SECONDS)
                with self._due:
                    self._queues.clear()

    def _say(self, connection: psycopg.Connection) -> None:
        while self._wait():
            with self._due:
                queues, self._queues = sorted(self._queues), set()
            connection.execute(_NOTIFY, [CHANNEL, queues])
            time.sleep(_APART_SECONDS)

    def _wait(self) -> bool:
        """Whether there is something to say; False once there is not and will not be."""
        with self._due:
            self._due.wait_for(lambda: self._queues or self._closing)
            return bool(self._queues)
