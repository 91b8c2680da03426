"""Several acceptors on one port: real processes, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import smtplib
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from backend.acceptors import Acceptors
from bench.node import AGENT, DOMAIN, Node, descendants, furnish
from mailagent.doors.smtp import listening_socket
from mailagent.settings import load
from mailagent.store.engine import Store
from mailagent.store.tables import deliveries
from tests.end_to_end.system import System, running

_DEADLINE = 30.0
_DEMO_AGENT = "hello@demo.aexy.email"
_MAIL = b"From: ann@writer.example\r\nSubject: x\r\n\r\nWhat are your opening hours?\r\n"


def _write(port: int, to: str, connections: int) -> None:
    """One mail over each connection; raises when one is not taken."""
    for _ in range(connections):
        with smtplib.SMTP("127.0.0.1", port, "writer.example", timeout=_DEADLINE) as client:
            client.sendmail("ann@writer.example", [to], _MAIL)


def _acceptors_of(parent: int) -> set[int]:
    """The processes that accept for `parent` and have not ended."""
    found: set[int] = set()
    for pid in descendants(parent):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            found |= {pid} if b"backend.acceptor" in line else set()
    return found


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_DEADLINE):
        while not holds():
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class _Open:
    """Two acceptors that run in processes of their own."""

    acceptors: Acceptors
    port: int
    woken: asyncio.Event

    async def write(self, connections: int) -> None:
        await asyncio.to_thread(_write, self.port, AGENT, connections)


@asynccontextmanager
async def _opened(url: str, folder: Path) -> AsyncIterator[_Open]:
    furnish(url)
    environ = {
        "DATABASE_URL": url,
        "MAILAGENT_DATA": str(folder),
        "MAILAGENT_SECRET_KEY": "a-key-of-this-test-and-of-no-installation",
        "DEFAULT_EMAIL_DOMAIN": DOMAIN,
    }
    woken = asyncio.Event()
    acceptors = Acceptors(load(environ, env_file=None), on_accepted=woken.set)
    first = listening_socket("127.0.0.1", 0, shared=True)
    port = first.getsockname()[1]
    await acceptors.start([first, listening_socket("127.0.0.1", port, shared=True)])
    try:
        yield _Open(acceptors, port, woken)
    finally:
        await acceptors.stop(timedelta(seconds=5))


async def test_acceptors_keep_mail_and_wake_and_inform_the_process_that_started_them(
    database_url: str, tmp_path: Path
) -> None:
    async with _opened(database_url, tmp_path) as opened:
        assert opened.acceptors.listening == 2

        await opened.write(20)

        await asyncio.wait_for(opened.woken.wait(), _DEADLINE)
        await _until(lambda: opened.acceptors.stats().accepted == 20)
        assert opened.acceptors.stats().connections == 20
    assert opened.acceptors.listening == 0
    assert not _acceptors_of(os.getpid())
    store = Store(database_url)
    assert store.read_now(None, lambda tx: tx.value(select(func.count(deliveries.c.id)))) == 20
    store.close()


async def test_an_acceptor_that_dies_is_started_again_and_nobody_is_turned_away(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with _opened(sqlite_url, tmp_path) as opened:
        await opened.write(4)
        await _until(lambda: opened.acceptors.stats().accepted == 4)
        before = _acceptors_of(os.getpid())
        victim = min(before)

        os.kill(victim, signal.SIGKILL)
        await opened.write(20)

        await _until(lambda: opened.acceptors.listening == 2)
        await _until(lambda: opened.acceptors.stats().accepted == 24)
        after = _acceptors_of(os.getpid())
        assert victim not in after
        assert len(after) == 2


def test_serve_with_two_acceptors_answers_and_finishes_at_sigterm_what_is_in_flight(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--demo", "--workers", "2") as system:
        _until_answered(system)
        client = smtplib.SMTP("127.0.0.1", system.smtp_port, "writer.example", timeout=_DEADLINE)
        client.ehlo()
        client.mail("ann@writer.example")
        client.rcpt(_DEMO_AGENT)
        client.putcmd("DATA")
        assert client.getreply()[0] == 354
        assert client.sock is not None
        client.sock.sendall(_MAIL)

        system.process.send_signal(signal.SIGTERM)
        _until_refused(system.smtp_port)
        client.sock.sendall(b".\r\n")

        assert client.getreply()[0] == 250
        client.close()
        assert system.process.wait(_DEADLINE) == 0


def test_acceptors_end_when_who_started_them_is_killed(sqlite_url: str, tmp_path: Path) -> None:
    furnish(sqlite_url)
    with Node(tmp_path, sqlite_url, parts=["smtp"], acceptors=2) as node:
        port, acceptors = node.port, _acceptors_of(node.pid)
        assert len(acceptors) == 2

        node.kill()

        end = time.monotonic() + _DEADLINE
        while any(Path(f"/proc/{pid}").exists() for pid in acceptors):
            assert time.monotonic() < end, "an acceptor outlived who started it"
            time.sleep(0.02)
        with socket.socket() as knocking:
            assert knocking.connect_ex(("127.0.0.1", port)) != 0


def _until_answered(system: System) -> None:
    """Until the demo's own first mail has its reply, which says that it woke the worker."""
    end = time.monotonic() + _DEADLINE
    while "Its reply:" not in system.shown():
        assert time.monotonic() < end, system.shown()
        time.sleep(0.02)


def _until_refused(port: int) -> None:
    end = time.monotonic() + _DEADLINE
    while True:
        with socket.socket() as knocking:
            if knocking.connect_ex(("127.0.0.1", port)) != 0:
                return
        assert time.monotonic() < end, "the port was not closed"
        time.sleep(0.02)
