"""The webhooks' port over a real store."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from mailagent.doors.webhook_door import WebhookDoor
from mailagent.doors.webhooks import HealthReport, webhook_app
from mailagent.inbound import Inbound
from mailagent.mail import Event
from mailagent.webhook import Receives
from tests.flow.house import House

__all__ = ["serving"]


async def _none(*_: object) -> Any:
    raise AssertionError("a mail for us needs none of these")


@asynccontextmanager
async def serving(house: House, kind: str, receiver: Receives, secret: str) -> AsyncIterator[str]:
    """Serves one kind of webhook; yields its address."""

    async def health() -> HealthReport:
        return HealthReport(healthy=True, parts={})

    async def record(told: Sequence[Event]) -> None:
        await _none(told)

    async def remember(mail: Inbound) -> None:
        await _none(mail)

    door = WebhookDoor(
        receivers={kind: receiver},
        reporters={},
        acceptor=house.acceptor,
        record=record,
        remember=remember,
        now=house.store.now,
        secret=secret,
    )
    app = webhook_app(health, _none, trusts=_none, door=door)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/webhook/{kind}"
        finally:
            server.should_exit = True
            await task
