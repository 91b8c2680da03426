"""Who looks at a page, and was a form really sent from one of ours?

A form needs three things: the browser's word that it comes from this site (`Sec-Fetch-Site`, else
`Origin`), the session's cookie (`SameSite=Lax`), a token that only a page of that session holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from backend.access.principal import Principal, principal_of_person
from backend.access.sign_in import SESSION_COOKIE, SESSION_LIFE, person_of
from backend.domains.desk import Desk
from mailagent.errors import Malformed, Unauthentic
from mailagent.flow.services import Services
from mailagent.settings import Settings
from mailagent.store.transaction import Transaction

__all__ = [
    "Site",
    "Visitor",
    "check_same_site",
    "fields_of",
    "forget",
    "form_of",
    "keep",
    "visitor",
]

_FORM_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Site:
    """What every page is given."""

    services: Services
    settings: Settings
    desk: Desk

    @property
    def over_https(self) -> bool:
        """Whether people reach the site by https."""
        return self.settings.public_url.startswith("https://")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in; `token` belongs into each of their forms."""

    principal: Principal
    token: str


async def visitor(site: Site, request: Request) -> Visitor:
    """Who asks for a page. Raises Unauthentic: then the way leads to the sign-in page."""
    session = request.cookies.get(SESSION_COOKIE, "")
    if not session:
        raise Unauthentic("sign in first")
    principal = await site.services.store.read_unscoped(_principal, session)
    return Visitor(principal, site.services.secrets.form_token(session))


async def form_of(site: Site, request: Request) -> tuple[Visitor, dict[str, str]]:
    """Who sent a form, and its fields. Raises Unauthentic for one that is not from our pages."""
    check_same_site(site, request)
    sender = await visitor(site, request)
    fields = await fields_of(request)
    session = request.cookies[SESSION_COOKIE]
    if not site.services.secrets.is_form_token(fields.get("token", ""), session):
        raise Unauthentic("this form is not from a page of your session: load the page again")
    return sender, fields


async def fields_of(request: Request) -> dict[str, str]:
    """The text fields of a form, 1 MB at most. Raises Malformed."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > _FORM_BYTES:
        raise Malformed("form", f"must say its length, {_FORM_BYTES:,} octets at most")
    async with request.form() as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def check_same_site(site: Site, request: Request) -> None:
    """Pass a form that a page of this site sent. Raises Unauthentic."""
    fetched_from = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if fetched_from is not None:
        passes = fetched_from == "same-origin"
    elif origin is not None:
        ours = {request.headers.get("host", ""), urlsplit(site.settings.public_url).netloc}
        passes = urlsplit(origin).netloc in ours
    else:
        passes = True  # no browser: the session's token decides
    if not passes:
        raise Unauthentic("this form was sent from another site, so nothing was done")


def keep(site: Site, response: Response, session: str) -> None:
    """Set the session's cookie: for this host only, out of reach of scripts."""
    response.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=int(SESSION_LIFE.total_seconds()),
        path="/",
        secure=site.over_https,
        httponly=True,
        samesite="lax",
    )


def forget(site: Site, response: Response) -> None:
    """Take the session's cookie back."""
    response.delete_cookie(
        SESSION_COOKIE, path="/", secure=site.over_https, httponly=True, samesite="lax"
    )


def _principal(tx: Transaction, session: str) -> Principal:
    return principal_of_person(tx, person_of(tx, session))
