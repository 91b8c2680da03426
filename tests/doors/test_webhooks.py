"""The HTTP door: no status of a framework ever reaches a provider, and health tells no stranger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from mailagent.doors.webhook_door import WebhookDoor
from mailagent.doors.webhooks import HealthReport, webhook_app
from mailagent.inbound import Inbound
from mailagent.mail import Event
from tests.doors.smtp_client import NOON, Shelf


async def call(
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    client: str = "198.51.100.7",
    healthy: bool = True,
    authorization: str = "",
) -> tuple[int, dict[str, Any] | bytes]:
    """One request over the ASGI interface, as a server would make it."""

    async def health() -> HealthReport:
        return HealthReport(healthy, {"database": "ok"})

    async def metrics() -> bytes:
        return b"mailagent_busy 1\n"

    async def trusts(authorization: str) -> bool:
        return authorization == "Bearer operator"

    async def remember(mail: Inbound) -> None:
        raise AssertionError("no webhook here brings mail")

    async def record(told: Sequence[Event]) -> None:
        raise AssertionError("no webhook here brings events")

    door = WebhookDoor(
        receivers={},
        reporters={},
        acceptor=Shelf(),
        record=record,
        remember=remember,
        now=lambda: NOON,
    )
    app = webhook_app(health, metrics, trusts=trusts, door=door)
    sent: list[Any] = []
    chunks = [body[:1000], body[1000:]]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "path": path, "method": method, "client": (client, 1)}
    scope["headers"] = [(b"authorization", authorization.encode())]
    await app(scope, receive, send)
    content = sent[1]["body"]
    kind = dict(sent[0]["headers"])[b"content-type"]
    return sent[0]["status"], json.loads(content) if kind == b"application/json" else content


@pytest.mark.parametrize("provider", ["ses", "sendgrid", "mailgun", "postmark", "inbound", "zzz"])
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_a_webhook_that_is_not_set_up_makes_the_provider_keep_the_mail(
    provider: str, method: str
) -> None:
    status, _ = await call(f"/webhook/{provider}/", method=method, body=b"x" * 2_000)
    assert status == 503


async def test_an_event_webhook_that_is_not_set_up_says_later_too() -> None:
    status, _ = await call("/webhooks/email/ses", method="POST")
    assert status == 503


async def test_health_tells_a_stranger_only_whether_it_is_well() -> None:
    assert await call("/health") == (200, {"status": "ok"})


async def test_health_tells_this_machine_its_parts() -> None:
    assert await call("/health/", client="127.0.0.1") == (200, {"status": "ok", "database": "ok"})


async def test_a_failing_part_is_503() -> None:
    assert (await call("/health", healthy=False))[0] == 503


async def test_metrics_are_not_for_strangers() -> None:
    assert (await call("/metrics"))[0] == 401
    assert await call("/metrics", client="::1") == (200, b"mailagent_busy 1\n")


async def test_metrics_and_parts_are_for_whoever_brings_an_operators_key() -> None:
    assert (await call("/metrics", authorization="Bearer operator"))[0] == 200
    assert (await call("/metrics", authorization="Bearer other"))[0] == 401
    _, parts = await call("/health", authorization="Bearer operator")
    assert parts == {"status": "ok", "database": "ok"}


async def test_an_unknown_path_names_what_is_here() -> None:
    status, problem = await call("/")
    assert status == 404
    assert isinstance(problem, dict)
    assert "/health" in problem["detail"]
