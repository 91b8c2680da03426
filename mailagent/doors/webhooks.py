"""The HTTP door: provider webhooks, and how this process is.

Every status on the webhook paths is ours to choose: SendGrid drops a mail for good on any 3xx or
4xx, SNS does not retry a 4xx. No redirect, 404, 405, 413 or 422 of a framework may reach them, so
this is a plain ASGI application with one function for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import structlog
from starlette.types import Receive, Scope, Send

__all__ = ["HealthReport", "webhook_app"]

log = structlog.get_logger()

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
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The application of port 8001. `trusts` judges the Authorization of a remote caller."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path.startswith(_WEBHOOK_PREFIXES):
            await _webhook(path, receive, send)
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


async def _webhook(path: str, receive: Receive, send: Send) -> None:
    # No provider is built in yet (docs/roadmap.md). 503 makes each of them keep the mail and come
    # back; read to the end, because some take a reset connection for a lost cause.
    provider = path.split("/")[2]
    while (await receive()).get("more_body"):
        pass
    log.warning("webhook.not_set_up", provider=provider[:32], mend="docs/roadmap.md")
    await _answer(send, 503, {"detail": f"the {provider[:32]} webhook is not set up here"})


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
