"""Our own system as a target: the real composition, over a real database of either kind."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Literal

import psycopg

from bench.node import AGENT, Node, furnish
from bench.smtp_load import drive
from bench.smtp_targets import Target
from mailagent.store.migrations import upgrade
from tests.databases import PostgresServer

__all__ = ["Ours"]

_TABLES = ("ledger", "deliveries", "raw_messages")
_BACKLOG = 2_000


class Ours(Target):
    """`serve` with the SMTP door of so many acceptors, and with the workers when `busy`: they then
    read and answer a backlog while the door is timed.
    """

    def __init__(
        self,
        database: Literal["sqlite", "postgresql"],
        folder: Path,
        *,
        busy: bool = False,
        acceptors: int = 1,
    ) -> None:
        several = f" x{acceptors}" if acceptors > 1 else ""
        self.name = f"ours {database}{several}{', busy' if busy else ''}"
        self.busy = busy
        self._acceptors = acceptors
        self._folder = folder / self.name.replace(" ", "-").replace(",", "")
        self._server = PostgresServer(durable=True) if database == "postgresql" else None

    def start(self) -> None:
        self._folder.mkdir(parents=True)
        self._url = f"sqlite:///{self._folder}/mail.db"
        if self._server is not None:
            self._server.start()
            self._url = self._server.url
            _fill_log(self._url)
        upgrade(self._url)
        furnish(self._url)
        parts = ("smtp", "worker") if self.busy else ("smtp",)
        self._node = Node(self._folder, self._url, parts=parts, acceptors=self._acceptors)
        self._node.start()
        self.port, self.pid = self._node.port, self._node.pid

    def make_busy(self) -> None:
        """Give the workers so much to do that they are at it for the whole of a measurement."""
        drive(self.port, sessions=20, mails=_BACKLOG, size=2_000, to=AGENT, many=True)

    def empty(self) -> None:
        if self.busy:
            return
        if self._server is not None:
            with psycopg.connect(self._url, autocommit=True) as server:
                server.execute(f"TRUNCATE {', '.join(_TABLES)} CASCADE".encode())
            return
        file = sqlite3.connect(self._folder / "mail.db", timeout=30)
        with file:
            for table in _TABLES:
                file.execute(f"DELETE FROM {table}")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.close()
        time.sleep(0.1)

    def stop(self) -> None:
        self._node.stop()
        if self._server is not None:
            self._server.remove()


def _fill_log(url: str) -> None:
    """Make the server one that has been at work for a while, with `min_wal_size` as in deploy/: it
    writes its log into the 64 files that it has, where a new one of 16 MB would have to be made for
    each 150th mail of 100 kB.
    """
    with psycopg.connect(url, autocommit=True) as server:
        for size in ("min_wal_size = '1GB'", "max_wal_size = '2GB'"):  # no checkpoint until ours
            server.execute(f"ALTER SYSTEM SET {size}".encode())
        server.execute("SELECT pg_reload_conf()")
        for _ in range(64):
            server.execute("SELECT pg_logical_emit_message(false, '', repeat('x', 1 << 24))")
        server.execute("CHECKPOINT")
        server.execute("ALTER SYSTEM RESET max_wal_size")
        server.execute("SELECT pg_reload_conf()")
