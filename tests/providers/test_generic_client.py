"""The client of the documentation hands mail over to a running server; twice is one mail."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import uvicorn

from mailagent.doors.webhook_door import WebhookDoor
from mailagent.doors.webhooks import HealthReport, webhook_app
from mailagent.inbound import Inbound
from mailagent.mail import Event
from mailagent.providers.generic import SECRET, Generic
from mailagent.store import tables as t
from mailagent.webhook import WebhookSettings
from tests.flow.house import House, keep_house

PAGE = Path(__file__).parents[2] / "docs" / "providers" / "inbound.md"
KEY = "an-inbound-secret-of-forty-eight-characters-0000"
MAIL = (Path(__file__).parents[1] / "data" / "inbound" / "mail.eml").read_bytes()


def documented() -> Callable[..., int]:
    """`hand_over`, as the page shows it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    client: Callable[..., int] = names["hand_over"]
    return client


async def _none(*_: object) -> Any:
    raise AssertionError("a mail for us needs none of these")


@asynccontextmanager
async def serving(house: House) -> AsyncIterator[str]:
    """The webhooks' port over a real store; yields the address of `/webhook/inbound`."""

    async def health() -> HealthReport:
        return HealthReport(healthy=True, parts={})

    async def record(_: list[Event]) -> None:
        await _none()

    async def remember(_: Inbound) -> None:
        await _none()

    door = WebhookDoor(
        receivers={"inbound": Generic.receiver(WebhookSettings({SECRET: KEY}), _none)},
        reporters={},
        acceptor=house.acceptor,
        record=record,  # type: ignore[arg-type]
        remember=remember,
        now=house.store.now,
        secret=KEY,
    )
    app = webhook_app(health, _none, trusts=_none, door=door)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/webhook/inbound"
        finally:
            server.should_exit = True
            await task


async def test_the_client_of_the_page_hands_a_mail_over_once(sqlite_url: str) -> None:
    hand_over = documented()
    async with keep_house(sqlite_url) as house, serving(house) as url:
        space = await house.workspace()

        async def post(secret: str = KEY, message: bytes = MAIL, **more: str) -> int:
            to = [space.address]
            try:
                return await asyncio.to_thread(
                    hand_over, url, secret, "ann@customer.example", to, message, **more
                )
            except HTTPError as error:
                error.close()
                return error.code

        assert await post(client_ip="192.0.2.1", id="4711") == 200
        assert await post(client_ip="192.0.2.1", id="4711") == 200
        assert await post(client_ip="192.0.2.1", id="4711", message=MAIL + b"x") == 406
        assert await post(secret="another") == 401
        (delivery,) = await space.rows(t.deliveries)
        (raw,) = await space.rows(t.raw_messages)
    assert (delivery.source, delivery.source_id) == ("inbound", "4711")
    assert delivery.mail_from == "ann@customer.example"
    assert delivery.origin["client_ip"] == "192.0.2.1"
    assert raw.content == MAIL
