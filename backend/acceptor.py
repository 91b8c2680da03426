"""What does one of several acceptors do? It takes mail by SMTP, makes it durable, and no more.

`backend.acceptors` starts it as `python -m backend.acceptor` and says on standard input, in one
line of JSON (`Orders`), what it needs: secrets do not stand on a command line. On standard output
it says `ready`, `mail` whenever it has kept some, and its counts once a second. At the end of its
input, which is also the death of who started it, or at SIGTERM it finishes what is in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import structlog
import uvloop

from backend import logs
from backend.interpreter import settle
from backend.smtp import follow, make_certificate, make_door
from backend.tracing import open_traces
from mailagent.doors.smtp import SmtpDoor
from mailagent.doors.smtp_shared_counts import SharedCounts
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import StoreDirectory
from mailagent.sandbox_limits import hide_from_workers
from mailagent.settings import Settings
from mailagent.store.engine import Store
from mailagent.tokens import Secrets

__all__ = ["MAIL", "READY", "Orders"]

READY = b"ready"
MAIL = b"mail"

_COUNT_EVERY = 1.0
_INPUT, _OUTPUT = 0, 1


@dataclass(frozen=True, slots=True)
class Orders:
    """What an acceptor is told; the descriptors are inherited."""

    number: int
    processes: int
    settings: Mapping[str, Any]
    """`Settings` by field, secrets revealed."""
    listening_fd: int
    counts_fd: int
    salt: str
    """Of the shared counts, in hexadecimal."""
    grace_seconds: float


async def _accept(orders: Orders) -> None:
    settings = Settings.model_validate(orders.settings)
    secrets = Secrets(settings.secret_keys())
    store = Store(settings.database)
    directory = StoreDirectory(store, secrets, default_domain=settings.default_email_domain)
    acceptor = GroupAcceptor(store, directory, secrets, on_accepted=lambda: _say(MAIL))
    traces = open_traces(settings)
    told = traces.acceptor(acceptor) if traces else acceptor
    certificate = make_certificate(settings)
    counts = SharedCounts(
        orders.processes,
        own=orders.number,
        fd=orders.counts_fd,
        salt=bytes.fromhex(orders.salt),
    )
    stop = _told_to_stop()
    try:
        await directory.refresh()
        door = make_door(settings, told, directory, certificate, shared_counts=counts)
        beside = [
            asyncio.create_task(directory.keep_fresh(asyncio.Event(), stop)),
            asyncio.create_task(follow(certificate, stop)),
            asyncio.create_task(_count(door, stop)),
        ]
        await door.start(socket.socket(fileno=orders.listening_fd))
        settle()
        _say(READY)
        await stop.wait()
        await door.stop(timedelta(seconds=orders.grace_seconds))
        await asyncio.gather(*beside)
        _say_counts(door)
    finally:
        await acceptor.close()
        await asyncio.to_thread(store.close)
        if traces is not None:
            await asyncio.to_thread(traces.close)


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def input_ended() -> None:
        loop.remove_reader(_INPUT)
        stop.set()

    loop.add_reader(_INPUT, input_ended)
    return stop


async def _count(door: SmtpDoor, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _COUNT_EVERY)
        _say_counts(door)


def _say_counts(door: SmtpDoor) -> None:
    _say(json.dumps(asdict(door.stats())).encode())


def _say(words: bytes) -> None:
    # A pipe that is full tells enough, and one that nobody reads is the end, which the input tells.
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(_OUTPUT, words + b"\n")


def main() -> None:
    hide_from_workers()
    orders = Orders(**json.loads(sys.stdin.readline()))
    os.set_blocking(_OUTPUT, False)
    logs.configure(level=logs.LEVELS[orders.settings["mailagent_log_level"]])
    structlog.contextvars.bind_contextvars(acceptor=orders.number)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_accept(orders))


if __name__ == "__main__":
    main()
