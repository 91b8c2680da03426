"""The HTTP door: provider webhooks, and how this process is.

No redirect, 404, 405, 413 or 422 of a framework may reach the webhook paths, so this is a plain
ASGI application that hands all of them to `WebhookDoor`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from starlette.types import Receive, Scope, Send

from mailagent.doors.webhook_door import WebhookDoor

__all__ = ["HealthReport", "webhook_app"]

_WEBHOOK_PREFIXES = ("/webhook/", "/webhooks/")


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How this process is; `parts` only for whoever may see them."""

    healthy: bool
    parts: Mapping[str, Any]


def webhook_app(
    health: Callable[[], Awaitable[HealthReport]],
    metrics: Callable[[], Awaitable[bytes]],
    *,
    trusts: Callable[[str], Awaitable[bool]],
    door: WebhookDoor,
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The application of port 8001. `trusts` judges the Authorization of a remote caller."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.startswith(_WEBHOOK_PREFIXES):
            status, words = await door.handle(scope, receive)
            await _answer(send, status, {"detail": words})
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        trusted = _from_here(scope) or await trusts(authorization)
        match path.rstrip("/"):
            case "/health":
                report = await health()
                body: dict[str, Any] = {"status": "ok" if report.healthy else "failing"}
                if trusted:
                    body |= report.parts
                await _answer(send, 200 if report.healthy else 503, body)
            case "/metrics" if trusted:
                await _send(send, 200, b"text/plain; version=0.0.4; charset=utf-8", await metrics())
            case "/metrics":
                await _answer(send, 401, {"detail": "metrics need a token, or the loopback"})
            case _:
                await _answer(send, 404, {"detail": "this port has /health, /metrics, /webhook/…"})

    return app


def _from_here(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:
        return False


async def _answer(send: Send, status: int, body: Mapping[str, Any]) -> None:
    await _send(send, status, b"application/json", json.dumps(body).encode())


async def _send(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
