"""How do the pages form one site? Routes, security headers, and what an error looks like.

No page loads anything but the site's own style sheet, and the headers hold that: a mail's content
can name what it likes, nothing is fetched, run or framed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.access.principal import Forbidden
from backend.domains.desk import Desk
from backend.web import (
    approval_page,
    approvals_page,
    delivery_page,
    domain_page,
    inbox_page,
    sign_in_page,
)
from backend.web.rendering import render
from backend.web.session import Site
from mailagent.errors import Conflict, MailagentError, Malformed, NotFound, Unauthentic
from mailagent.flow.services import Services
from mailagent.settings import Settings

__all__ = ["create_web"]

_HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        b"base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not no-referrer: browsers then send `Origin: null` with our own forms.
    b"referrer-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
_STATUS: tuple[tuple[type[MailagentError], int], ...] = (
    (NotFound, 404),
    (Forbidden, 403),
    (Unauthentic, 401),
    (Conflict, 409),
    (Malformed, 422),
)


def create_web(services: Services, settings: Settings, desk: Desk | None = None) -> Starlette:
    """The site, to be mounted at `/` behind everything that has a path of its own. `desk` is what
    the API works with, where there is one.
    """
    desk = desk or Desk(services.store, services.secrets, settings, services.settings)
    site = Site(services, settings, desk)

    def page(
        handler: Callable[[Site, Request], Awaitable[Response]],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            return await handler(site, request)

        return answered

    return Starlette(
        routes=[
            Route("/", page(inbox_page.show)),
            Route("/sign-in", page(sign_in_page.show), methods=["GET"]),
            Route("/sign-in", page(sign_in_page.redeem), methods=["POST"]),
            Route("/sign-out", page(sign_in_page.sign_out), methods=["POST"]),
            Route("/deliveries/{id}", page(delivery_page.show), methods=["GET"]),
            Route("/deliveries/{id}/reply", page(delivery_page.reply), methods=["POST"]),
            Route("/deliveries/{id}/archive", page(delivery_page.archive), methods=["POST"]),
            Route("/deliveries/{id}/replay", page(delivery_page.replay), methods=["POST"]),
            Route("/approvals", page(approvals_page.show), methods=["GET"]),
            Route("/domains", page(domain_page.listing), methods=["GET"]),
            Route("/domains/{id}", page(domain_page.show), methods=["GET"]),
            Route("/domains/{id}/check", page(domain_page.check), methods=["POST"]),
            Route("/approvals/{id}", page(approval_page.show), methods=["GET"]),
            Route("/approvals/{id}/approve", page(approval_page.approve), methods=["POST"]),
            Route("/approvals/{id}/reject", page(approval_page.reject), methods=["POST"]),
            Route("/approvals/{id}/edit", page(approval_page.edit), methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[Middleware(_SecurityHeaders)],
        exception_handlers={
            MailagentError: _problem,
            HTTPException: _http_problem,
        },
    )


class _SecurityHeaders:
    """Puts the same headers on every answer; pages are never kept by a cache."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message["headers"])
                named = {name.lower() for name, _ in given}
                given += [(name, value) for name, value in _HEADERS.items() if name not in named]
                if not scope["path"].startswith("/static/"):
                    given.append((b"cache-control", b"no-store"))
                message["headers"] = given
            await send(message)

        await self._app(scope, receive, with_headers)


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, Unauthentic) and request.method == "GET":
        return RedirectResponse("/sign-in", status_code=303)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    return render("problem.html", code=status, status=status, problem=str(error))


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return render(
        "problem.html",
        code=error.status_code,
        status=error.status_code,
        problem=f"{error.detail}.",
    )
