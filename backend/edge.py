"""How does a mail engine without a database run? Its doors, over a backend elsewhere.

With `AEXY_API_URL` and `AEXY_API_KEY`, parts without backend and worker, and no `DATABASE_URL`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from backend.app import Part, Serving
from backend.installation import webhook_settings
from backend.listening import Server, listen, taken
from backend.smtp import follow, make_certificate, make_door
from mailagent.doors.edge import Backend
from mailagent.doors.smtp import SmtpDoor, listening_socket
from mailagent.doors.webhook_door import WebhookDoor
from mailagent.doors.webhooks import HealthReport, webhook_app
from mailagent.errors import Misconfigured
from mailagent.inbound import Inbound
from mailagent.providers import receivers, reporters
from mailagent.providers.fetch import https_get
from mailagent.settings import Settings

__all__ = ["is_edge", "serving_edge"]

_LOOK_EVERY = 10.0
_GRACE = timedelta(seconds=25)


def is_edge(settings: Settings, parts: Sequence[Part]) -> bool:
    """Whether these parts run without a database. Raises Misconfigured for half a setting.

    With `DATABASE_URL` set too, as in the guide, `AEXY_API_*` is accepted and unused.
    """
    if settings.database_url or not settings.aexy_api_url or {"backend", "worker"} & set(parts):
        return False
    if settings.aexy_api_key is None:
        raise Misconfigured("AEXY_API_KEY", "is not set: make one there with key create --edge")
    return True


@asynccontextmanager
async def serving_edge(
    settings: Settings, parts: Sequence[Part], *, host: str, stop: asyncio.Event
) -> AsyncIterator[Serving]:
    """Run the doors until the block ends, then finish what is in flight."""
    assert settings.aexy_api_key is not None
    servers: list[tuple[Server, asyncio.Task[None]]] = []
    tasks: list[asyncio.Task[None]] = []
    door: SmtpDoor | None = None
    smtp_port = webhooks_port = None
    key = settings.aexy_api_key.get_secret_value()
    async with Backend(settings.aexy_api_url, key) as backend:
        tasks.append(asyncio.create_task(_keep_looking(backend, stop)))
        try:
            if "smtp" in parts:
                certificate = make_certificate(settings)
                door = make_door(settings, backend, backend, certificate)
                smtp_port = await _open(door, host, settings.mailagent_smtp_port)
                tasks.append(asyncio.create_task(follow(certificate, stop)))
            if "webhooks" in parts:
                webhooks = _webhooks(settings, backend)
                app = webhook_app(
                    _health(backend, webhooks), _metrics(backend), trusts=_nobody, door=webhooks
                )
                port = settings.mailagent_port
                webhooks_port = await listen(servers, app, host, port, "MAILAGENT_PORT")
            # Who hands mail in needs the database: an edge has no submission door.
            yield Serving(smtp_port, None, webhooks_port, None)
        finally:
            stop.set()
            if door is not None:
                await door.stop(_GRACE)
            for server, _ in servers:
                server.should_exit = True
            ending = [*(task for _, task in servers), *tasks]
            _, late = await asyncio.wait(ending, timeout=_GRACE.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)


async def _open(door: SmtpDoor, host: str, port: int) -> int:
    try:
        listening = listening_socket(host, port)
    except OSError as error:
        raise taken("MAILAGENT_SMTP_PORT", port, error) from error
    bound: int = listening.getsockname()[1]
    await door.start(listening)
    return bound


def _webhooks(settings: Settings, backend: Backend) -> WebhookDoor:
    given = webhook_settings(settings)

    async def remember(mail: Inbound) -> None:
        """The backend has done it already."""

    return WebhookDoor(
        receivers=receivers(given, https_get),
        reporters=reporters(given, https_get),
        acceptor=backend,
        record=backend.record,
        remember=remember,
        now=lambda: datetime.now(UTC),
        secret=given.value("INBOUND_WEBHOOK_SECRET"),
        open=given.open,
    )


async def _keep_looking(backend: Backend, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await backend.look()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_EVERY)


def _health(backend: Backend, webhooks: WebhookDoor) -> Callable[[], Awaitable[HealthReport]]:
    async def report() -> HealthReport:
        problem = backend.problem
        parts = {"backend": problem or "ok", "webhooks": dict(webhooks.state())}
        return HealthReport(problem is None, parts)

    return report


def _metrics(backend: Backend) -> Callable[[], Awaitable[bytes]]:
    async def metrics() -> bytes:
        registry = CollectorRegistry()
        up = Gauge("mailagent_edge_backend_up", "whether the backend answered", registry=registry)
        up.set(backend.problem is None)
        return generate_latest(registry)

    return metrics


async def _nobody(authorization: str) -> bool:
    """An edge knows no keys: its parts and metrics are for its own machine."""
    return False
