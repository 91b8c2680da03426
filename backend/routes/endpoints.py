"""API: the receiver routes of a domain."""

from __future__ import annotations

from fastapi import APIRouter, Request

from backend.access.dependencies import Access, require, settings_of
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.routes import service
from backend.routes.schemas import NewRouteOut, RouteIn, RouteOut, RoutePatch
from backend.routes.service import NewRoute, Route

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/domains/{domain}/routes", tags=["domains"])


@router.get("", response_model=PageOf[RouteOut])
async def list_routes(
    domain: str, window: Windowed, access: Access = require("domain.read")
) -> Page[Route]:
    """The domain's routes, in the order in which they are tried."""
    return await access.read(service.list_routes, domain, window)


@router.post("", response_model=NewRouteOut, status_code=201)
async def create_route(
    request: Request,
    domain: str,
    body: RouteIn,
    once: Once,
    access: Access = require("domain.manage"),
) -> Answer[NewRoute]:
    """Make a route; the key that it signs with is shown this once."""
    settings = settings_of(request)
    return await once.write(
        access,
        service.create,
        access.services.secrets,
        domain,
        most=settings.mailagent_routes_per_domain,
        loopback=settings.mailagent_routes_to_loopback,
        **body.model_dump(),
    )


@router.get("/{route}", response_model=RouteOut)
async def get_route(domain: str, route: str, access: Access = require("domain.read")) -> Route:
    """One route."""
    return await access.read(service.get, domain, route)


@router.patch("/{route}", response_model=RouteOut)
async def change_route(
    request: Request,
    domain: str,
    route: str,
    body: RoutePatch,
    access: Access = require("domain.manage"),
) -> Route:
    """Change recipient, actions or description."""
    loopback = settings_of(request).mailagent_routes_to_loopback
    changes = body.model_dump(exclude_unset=True)
    return await access.write(service.change, domain, route, loopback=loopback, **changes)


@router.post("/{route}/signing-key", response_model=NewRouteOut, status_code=201)
async def new_route_key(
    domain: str, route: str, once: Once, access: Access = require("domain.manage")
) -> Answer[NewRoute]:
    """Sign with another key from now on; it is shown this once."""
    return await once.write(access, service.new_key, access.services.secrets, domain, route)


@router.delete("/{route}", status_code=204)
async def remove_route(domain: str, route: str, access: Access = require("domain.manage")) -> None:
    """Take a route away."""
    await access.write(service.remove, domain, route)
