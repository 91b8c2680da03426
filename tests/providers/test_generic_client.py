"""The client of the documentation hands mail over to a running server; twice is one mail."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from mailagent.providers.fetch import https_get
from mailagent.providers.generic import SECRET, Generic
from mailagent.store import tables as t
from mailagent.webhook import WebhookSettings
from tests.flow.house import keep_house
from tests.providers.webhook_port import serving

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


async def test_the_client_of_the_page_hands_a_mail_over_once(sqlite_url: str) -> None:
    hand_over = documented()
    receiver = Generic.receiver(WebhookSettings({SECRET: KEY}), https_get)
    async with keep_house(sqlite_url) as house, serving(house, "inbound", receiver, KEY) as url:
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
