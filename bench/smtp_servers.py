"""Two servers that keep mail with the same group commit: our door, and aiosmtpd as it comes.

    python -m bench.smtp_servers door|stock --folder FOLDER

prints its port and serves until SIGTERM. SIGUSR1 starts an empty database. The store is a stand-in
(SQLite, WAL, synchronous=FULL, one row a mail, one a recipient): what differs is only the door.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

from mailagent.doors import SmtpDoor, SmtpLimits
from mailagent.doors.smtp import listening_socket
from mailagent.inbound import Accepted, Inbound, Known, Outcome

HOSTNAME = "mx.bench.test"
Row = tuple[str | None, Sequence[str], bytes]


class Store:
    """All mails that wait while one commit runs go into the next one together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1)
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._busy = False
        self._generation = 0
        self._thread.submit(self._open).result()

    def _open(self) -> None:
        path = self._folder / f"{self._generation}.db"
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE message(id INTEGER PRIMARY KEY, mail_from, raw)")
        self._database.execute("CREATE TABLE delivery(message, recipient, state)")

    def forget(self) -> None:
        """Start an empty database: what one cell wrote must not weigh on the next."""
        self._thread.submit(self._reopen)

    def _reopen(self) -> None:
        self._database.close()
        for file in self._folder.glob(f"{self._generation}.db*"):
            file.unlink()
        self._generation += 1
        self._open()

    def keep(self, row: Row) -> asyncio.Future[None]:
        """Done when the mail is durable."""
        loop = asyncio.get_running_loop()
        kept = loop.create_future()
        self._waiting.append((row, kept))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._flush, loop)
        return kept

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting, []
        commit = loop.run_in_executor(self._thread, self._commit, [row for row, _ in batch])
        commit.add_done_callback(lambda done: self._settle(done, batch, loop))

    def _settle(
        self,
        done: asyncio.Future[None],
        batch: list[tuple[Row, asyncio.Future[None]]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        done.result()
        for _, kept in batch:
            if not kept.done():
                kept.set_result(None)
        if self._waiting:
            self._flush(loop)
        else:
            self._busy = False

    def _commit(self, rows: Sequence[Row]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        for mail_from, recipients, raw in rows:
            message = self._database.execute(
                "INSERT INTO message(mail_from, raw) VALUES (?, ?)", (mail_from, raw)
            ).lastrowid
            self._database.executemany(
                "INSERT INTO delivery VALUES (?, ?, 'accepted')", [(message, r) for r in recipients]
            )
        self._database.execute("COMMIT")


class StoreAcceptor:
    """The store as the door sees it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        for mail in batch:
            await self._store.keep((mail.envelope.mail_from, mail.envelope.rcpt_to, mail.raw))
        return [Accepted(mail.envelope.rcpt_to) for mail in batch]


class EveryoneIsOurs:
    async def knows(self, address: str) -> Known:
        return Known.YES


class StockHandler:
    """The store as aiosmtpd's own protocol sees it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await self._store.keep(
            (envelope.mail_from, envelope.rcpt_tos, envelope.original_content or b"")
        )
        return "250 2.0.0 Ok"


async def serve(kind: str, folder: Path) -> None:
    """Print the port, then serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    store = Store(folder)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, store.forget)
    if kind == "door":
        limits = SmtpLimits(mails_per_connection=10**9, connections=2000)
        door = SmtpDoor(
            StoreAcceptor(store),
            EveryoneIsOurs(),
            hostname=HOSTNAME,
            limits=limits,
        )
        listening = listening_socket("127.0.0.1", 0)
        print(listening.getsockname()[1], flush=True)
        await door.start(listening)
        await stop.wait()
        await door.stop(timedelta(seconds=2))
        return
    handler = StockHandler(store)
    server = await loop.create_server(
        lambda: SMTP(handler, hostname=HOSTNAME, loop=loop), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["door", "stock"])
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.kind, options.folder))


if __name__ == "__main__":
    main()
