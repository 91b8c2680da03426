"""A mail that Mailgun keeps is fetched with our key, from Mailgun alone."""

from __future__ import annotations

from typing import Any

import pytest

from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.providers.mailgun import Mailgun
from mailagent.webhook import WebhookSettings
from tests.api_server import Fault, Reply
from tests.mailgun_server import KEY, MailgunServer

PLACE = "https://storage-us-east4.api.mailgun.net/v3/domains/aexy.email/messages/BAABAAUx5f0c=="
MIME = "From: dana@customer.example\r\nSubject: März\r\n\r\nGrüße\r\n"


async def fetch(server: MailgunServer, place: str = PLACE, key: str = KEY) -> bytes:
    values = {"MAILGUN_API_KEY": key, "MAILGUN_BASE_URL": server.url}
    return await Mailgun.fetch_stored(WebhookSettings(values), place)


async def test_a_stored_mail_is_fetched_as_raw_mime() -> None:
    assert Mailgun.keeps(PLACE)
    async with MailgunServer(stored={"BAABAAUx5f0c==": MIME}) as server:
        assert await fetch(server) == MIME.encode()
    (asked,) = server.requests
    assert asked.path == "/v3/domains/aexy.email/messages/BAABAAUx5f0c=="


async def test_a_mail_that_is_kept_no_more_never_comes() -> None:
    async with MailgunServer() as server:
        with pytest.raises(PermanentFailure, match="no more"):
            await fetch(server)


async def test_a_place_elsewhere_is_never_asked() -> None:
    elsewhere = "https://storage.example/v3/domains/aexy.email/messages/BAABAAUx5f0c"
    assert not Mailgun.keeps(elsewhere)
    async with MailgunServer() as server:
        with pytest.raises(PermanentFailure, match="no place"):
            await fetch(server, elsewhere)
    assert server.requests == []


@pytest.mark.parametrize("key", ["", "another-key"])
async def test_a_key_that_is_missing_or_wrong_is_named_and_the_mail_waits(key: str) -> None:
    async with MailgunServer() as server:
        with pytest.raises(TransientFailure, match="MAILGUN_API_KEY") as told:
            await fetch(server, key=key)
    assert not key or key not in str(told.value)


@pytest.mark.parametrize(
    "step",
    [
        Reply(429),
        Reply(500),
        Reply(302, b"", {"Location": "https://evil.example/"}),
        Reply(200, b"<html>"),
        Reply(200, b"[" * 50_000),
        Reply(200, {"body-mime": 5}),
        Reply(200, {}),
        Fault.CUT,
        Fault.RESET,
    ],
)
async def test_an_answer_that_is_no_mail_makes_it_wait(step: Any) -> None:
    async with MailgunServer([step], stored={"BAABAAUx5f0c==": MIME}) as server:
        with pytest.raises(TransientFailure):
            await fetch(server)
        assert await fetch(server) == MIME.encode()


async def test_an_answer_without_an_end_is_not_kept() -> None:
    async with MailgunServer([Reply(200, bytes(61 * 1024 * 1024))]) as server:
        with pytest.raises(PermanentFailure, match="more than"):
            await fetch(server)
