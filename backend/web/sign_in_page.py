"""How does a person come in and leave? By a one-time link, redeemed with a button.

Mail scanners and previews follow links with GET, so a GET shows the button and changes nothing.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backend.access import sign_in
from backend.access.sign_in import SESSION_COOKIE
from backend.web.rendering import render
from backend.web.session import Site, check_same_site, fields_of, forget, form_of, keep
from mailagent.errors import Unauthentic

__all__ = ["redeem", "show", "sign_out"]


async def show(site: Site, request: Request) -> Response:
    """The button of a link, or how to get a link."""
    return render("sign_in.html", token=request.query_params.get("token", ""), problem="")


async def redeem(site: Site, request: Request) -> Response:
    """Trade the link's token for a session."""
    check_same_site(site, request)
    fields = await fields_of(request)
    try:
        session = await site.services.store.write_unscoped(sign_in.redeem, fields.get("token", ""))
    except Unauthentic as error:
        return render("sign_in.html", code=401, token="", problem=str(error))
    response = RedirectResponse("/", status_code=303)
    keep(site, response, session)
    return response


async def sign_out(site: Site, request: Request) -> Response:
    """End the session, here and in the database."""
    await form_of(site, request)
    session = request.cookies[SESSION_COOKIE]
    await site.services.store.write_unscoped(sign_in.sign_out, session)
    response = RedirectResponse("/sign-in", status_code=303)
    forget(site, response)
    return response
