"""Which parts does a process run, and how do they stop?

Installation → doors, API, web, workers, in any choice. At the end doors refuse new work first, then
what is in flight is finished for at most 25 seconds: all else is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.routing import Match, Mount
from starlette.types import Scope

from backend.acceptors import Acceptors
from backend.api import PREFIX, create_api
from backend.domains.desk import Desk
from backend.domains.workers import workers as domain_workers
from backend.gauges import Machine
from backend.health import Health, routes
from backend.installation import Installation
from backend.listening import Server, listen, taken
from backend.smtp import follow, make_certificate, make_door, make_submission_door
from backend.web import create_web
from backend.webhooks import webhook_door
from mailagent.doors.smtp import SmtpDoor, listening_socket
from mailagent.doors.smtp_tls import Certificate
from mailagent.doors.submission import SubmissionDoor
from mailagent.doors.webhooks import webhook_app
from mailagent.errors import MailagentError
from mailagent.flow import chores
from mailagent.flow.workers import unwatched, workers
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store.engine import Store

__all__ = [
    "PARTS",
    "Part",
    "Serving",
    "serving",
    "stop_on_signals",
]

log = structlog.get_logger()

Part = Literal["smtp", "webhooks", "worker", "backend"]
PARTS: tuple[Part, ...] = ("smtp", "webhooks", "worker", "backend")

_GRACE = timedelta(seconds=25)
_SQLITE_TENDED_EVERY = 1.0
_POSTGRES_TENDED_EVERY = 5.0


@dataclass(frozen=True)
class Serving:
    """What a running process listens on; None for parts that it does not run."""

    smtp_port: int | None
    submission_port: int | None
    webhooks_port: int | None
    backend_port: int | None
    submissions_port: int | None = None
    """Of submission inside TLS (RFC 8314), where it is set."""


@asynccontextmanager
async def serving(
    shared: Installation,
    parts: Sequence[Part],
    *,
    host: str,
    stop: asyncio.Event,
    acceptors: int = 1,
) -> AsyncIterator[Serving]:
    """Run the parts until the block ends, then stop them in order: doors first, then workers.

    With several `acceptors`, each is a process of its own and this one takes no mail by SMTP.
    """
    settings, services = shared.settings, shared.services
    for conflict in shared.conflicts:
        log.warning("settings.conflict", said=conflict)
    await services.store.write_unscoped(chores.plan)
    shared.wakeups.listen()
    watched = shared.traces.watched if shared.traces else unwatched
    running = workers(services, watched) if "worker" in parts else {}
    if "worker" in parts:
        desk = Desk(services.store, services.secrets, settings, services.settings)
        running |= domain_workers(desk)
    certificate = make_certificate(settings) if "smtp" in parts else None
    door = _door(shared, certificate, acceptors) if certificate else None
    submission = make_submission_door(settings, services, certificate) if certificate else None
    webhooks = webhook_door(shared) if "webhooks" in parts else None
    machine = Machine(services.sandbox, settings.mailagent_data)
    health = Health(services.store, running, door, certificate, webhooks, machine, submission)
    tasks = [
        asyncio.create_task(services.directory.keep_fresh(shared.wakeups.event("directory"), stop)),
        asyncio.create_task(shared.accounts.keep_fresh(shared.wakeups.event("accounts"), stop)),
        asyncio.create_task(_tending(services.store, stop)),
    ]
    working = [
        asyncio.create_task(worker.run(shared.wakeups.event(name), stop))
        for name, worker in running.items()
    ]
    servers: list[tuple[Server, asyncio.Task[None]]] = []
    try:
        if running:
            await services.sandbox.warm()
        smtp_port = (
            await _open(door, host, settings.mailagent_smtp_port, acceptors) if door else None
        )
        submission_port = submissions_port = None
        if submission:
            submission_port, submissions_port = await _open_submission(submission, host, settings)
        if certificate is not None:
            tasks.append(asyncio.create_task(follow(certificate, stop)))
        if running:
            tasks.append(asyncio.create_task(_rehearse(services.sandbox)))
        ports: dict[str, int | None] = {"webhooks": None, "backend": None}
        if webhooks is not None:
            app = webhook_app(health.report, health.metrics, trusts=health.trusts, door=webhooks)
            ports["webhooks"] = await listen(
                servers, app, host, settings.mailagent_port, "MAILAGENT_PORT"
            )
        if "backend" in parts:
            api = create_api(services, settings, shared.acceptor)
            api.router.routes.extend(routes(health))
            api.router.routes.append(
                _Pages("/", app=create_web(services, settings, api.state.domains))
            )
            ports["backend"] = await listen(
                servers, api, host, settings.backend_port, "BACKEND_PORT"
            )
        yield Serving(
            smtp_port, submission_port, ports["webhooks"], ports["backend"], submissions_port
        )
    finally:
        stop.set()
        doors = [one for one in (door, submission) if one is not None]
        await asyncio.gather(*(one.stop(_GRACE) for one in doors))
        for server, _ in servers:
            server.should_exit = True
        ending = [*(task for _, task in servers), *working, *tasks]
        _, late = await asyncio.wait(ending, timeout=_GRACE.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


def _door(shared: Installation, certificate: Certificate, acceptors: int) -> SmtpDoor | Acceptors:
    if acceptors > 1:
        return Acceptors(shared.settings, on_accepted=lambda: shared.wakeups.wake(["read"]))
    return make_door(shared.settings, shared.acceptor, shared.services.directory, certificate)


async def _open(door: SmtpDoor | Acceptors, host: str, port: int, acceptors: int) -> int:
    """Open the door; the port it is on, which `port` 0 leaves to the system."""
    listening: list[socket.socket] = []
    try:
        for _ in range(acceptors):
            listening.append(listening_socket(host, port, shared=acceptors > 1))
            port = listening[0].getsockname()[1]
    except OSError as error:
        raise taken("MAILAGENT_SMTP_PORT", port, error) from error
    match door:
        case SmtpDoor():
            await door.start(listening[0])
        case Acceptors():
            await door.start(listening)
    return port


async def _open_submission(
    door: SubmissionDoor, host: str, settings: Settings
) -> tuple[int, int | None]:
    """One process alone serves it: several are for the load that strangers bring."""
    by_starttls, inside_tls = (
        settings.mailagent_submission_port,
        settings.mailagent_submissions_port,
    )
    listening = _listening(host, by_starttls, "MAILAGENT_SUBMISSION_PORT")
    await door.start(listening)
    at_once = None
    if inside_tls is not None:
        at_once = _listening(host, inside_tls, "MAILAGENT_SUBMISSIONS_PORT")
        await door.start_inside_tls(at_once)
    return _port_of(listening), None if at_once is None else _port_of(at_once)


def _listening(host: str, port: int, setting: str) -> socket.socket:
    try:
        return listening_socket(host, port)
    except OSError as error:
        raise taken(setting, port, error) from error


def _port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


class _Pages(Mount):
    """All paths but the API's: what is not there, or not by that method, is the API's to say."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope.get("path", "").startswith(f"{PREFIX}/"):
            return Match.NONE, {}
        return super().matches(scope)


async def _rehearse(sandbox: Sandbox) -> None:
    """Have the sandbox import what reading needs while no mail waits for it."""
    try:
        await sandbox.run("mailagent.reading:rehearse", b"", {})
    except MailagentError:
        log.exception("sandbox.rehearsal_failed")


async def _tending(store: Store, stop: asyncio.Event) -> None:
    """Tend the database from a thread that no commit waits for."""
    every = _SQLITE_TENDED_EVERY if store.on_sqlite else _POSTGRES_TENDED_EVERY
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every)
        try:
            await asyncio.to_thread(store.tend)
        except SQLAlchemyError as error:
            # A full disk has room again one day: until then the log only grows.
            log.warning("store.tending_failed", error=type(error).__name__)


def stop_on_signals(stop: asyncio.Event, tell: Callable[[], None]) -> None:
    """Set `stop` at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()

    def stopping() -> None:
        tell()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping)
