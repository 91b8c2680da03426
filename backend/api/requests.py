"""What does every request get, before any endpoint sees it? An id, and a limit for its body."""

from __future__ import annotations

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.problems import unexpected
from mailagent.tokens import new_id

__all__ = ["MOST_BODY_BYTES", "RequestFrame"]

log = structlog.get_logger()

MOST_BODY_BYTES = 40 * 1024 * 1024
"""The attachments of the largest mail that any provider takes, as base64."""
_OF_EDGES = "/api/v1/internal/"
_MOST_OF_EDGES = 64 * 1024 * 1024
"""The largest request of a provider, which an edge hands over whole."""


class RequestFrame:
    """ASGI middleware: `X-Request-Id` on every answer and in every log line, 413 past the limit,
    and an answer when all else has failed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = new_id("req")
        begun = False
        size = 0
        most = _MOST_OF_EDGES if scope["path"].startswith(_OF_EDGES) else MOST_BODY_BYTES

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, f"body: has more than {most:,} bytes")
            return message

        async def marked(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, counted, marked)
            except Exception:
                log.exception("api.failed", path=scope["path"])
                if begun:
                    raise
                await unexpected(Request(scope))(scope, counted, marked)
