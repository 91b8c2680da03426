"""How does an endpoint know who asks, in which workspace, and that they may?

    async def list_agents(access: Access = require("agent.read"), …)

`require` is for paths with `{ws}` (id or slug); `require_in_own` for the short forms without: they
mean the principal's only workspace, or the one of `?workspace=`. A workspace that is not the
principal's is not found (404), so that nobody learns which exist; a missing permission is a 403.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Path, Query, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from backend.access import keys, sign_in
from backend.access.principal import (
    Forbidden,
    Principal,
    principal_of_key,
    principal_of_person,
)
from backend.workspaces.service import find
from mailagent.errors import Malformed, NotFound, Unauthentic
from mailagent.flow.services import Services
from mailagent.settings import Settings
from mailagent.store.transaction import Transaction

__all__ = [
    "Access",
    "authenticated",
    "principal_of",
    "require",
    "require_in_own",
    "services_of",
    "settings_of",
]

P = ParamSpec("P")
T = TypeVar("T")

_BEARER = HTTPBearer(auto_error=False, description="An API key, `ma_…`")
_COOKIE = APIKeyCookie(
    name=sign_in.SESSION_COOKIE, auto_error=False, description="The session of a signed-in person"
)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Access:
    """A principal inside one workspace, with the permission that the endpoint required."""

    principal: Principal
    workspace_id: str
    services: Services

    @property
    def actor(self) -> str:
        """How the ledger names who asks."""
        return self.principal.actor

    def demand(self, permission: str) -> None:
        """Pass who has one more permission here. Raises Forbidden."""
        self.principal.demand(self.workspace_id, permission)

    async def read(
        self, work: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(transaction, *args)` on a snapshot of the workspace."""
        return await self.services.store.read(self.workspace_id, work, *args, **kwargs)

    async def write(
        self, work: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(transaction, *args)` inside the workspace and commit what it did."""
        return await self.services.store.write(self.workspace_id, work, *args, **kwargs)


def services_of(request: Request) -> Services:
    """The services that the API was made with."""
    services: Services = request.app.state.services
    return services


def settings_of(request: Request) -> Settings:
    """The settings that the API was made with."""
    settings: Settings = request.app.state.settings
    return settings


def require(permission: str) -> Any:
    """An `Access` to the workspace that the path names, with this permission."""

    async def dependency(
        request: Request,
        ws: Annotated[str, Path(description="The workspace's id or slug", max_length=100)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
        session: Annotated[str | None, Depends(_COOKIE)],
    ) -> Access:
        return await _access(request, bearer, session, ws, permission)

    return Depends(dependency)


def require_in_own(permission: str) -> Any:
    """An `Access` to the principal's own workspace, with this permission."""

    async def dependency(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
        session: Annotated[str | None, Depends(_COOKIE)],
        workspace: Annotated[
            str | None,
            Query(description="Id or slug, for people of several workspaces", max_length=100),
        ] = None,
    ) -> Access:
        return await _access(request, bearer, session, workspace, permission)

    return Depends(dependency)


async def _authenticated(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    session: Annotated[str | None, Depends(_COOKIE)],
) -> Principal:
    return await principal_of(request, bearer.credentials if bearer else None, session)


def authenticated() -> Any:
    """The `Principal`, whatever they may do."""
    return Depends(_authenticated)


async def principal_of(request: Request, secret: str | None, session: str | None) -> Principal:
    """Who sends this request: the key's `secret` counts before the `session`.

    Raises Unauthentic; Forbidden for a form that another site made the browser send.
    """
    store = services_of(request).store
    if secret is not None:
        principal, key = await store.read_unscoped(_by_key, secret)
        if keys.stale(key, store.now()):
            await store.write_unscoped(keys.touch, key.id)
        return principal
    if session is None:
        raise Unauthentic("send an API key as `Authorization: Bearer ma_…`, or sign in")
    _refuse_other_sites(request)
    return await store.read_unscoped(_by_session, session)


def _by_key(tx: Transaction, secret: str) -> tuple[Principal, keys.ApiKey]:
    key = keys.authenticate(tx, secret)
    return principal_of_key(tx, key), key


def _by_session(tx: Transaction, session: str) -> Principal:
    return principal_of_person(tx, sign_in.person_of(tx, session))


def _refuse_other_sites(request: Request) -> None:
    # A browser adds the cookie to whatever a page makes it send; what it says of the page's own
    # site no script can forge (W3C Fetch Metadata). Without the header it is no browser of today.
    site = request.headers.get("sec-fetch-site", "none")
    if request.method not in _SAFE and site not in ("same-origin", "none"):
        raise Forbidden("another site sent this with your session: do it from these pages")


async def _access(
    request: Request,
    bearer: HTTPAuthorizationCredentials | None,
    session: str | None,
    reference: str | None,
    permission: str,
) -> Access:
    services = services_of(request)
    principal = await principal_of(request, bearer.credentials if bearer else None, session)
    workspace_id = await services.store.read_unscoped(_workspace, principal, reference)
    principal.demand(workspace_id, permission)
    return Access(principal, workspace_id, services)


def _workspace(tx: Transaction, principal: Principal, reference: str | None) -> str:
    if reference is not None:
        found = find(tx, reference)
        if found.id not in principal.grants:
            raise NotFound(f"there is no workspace {reference[:80]!r}")
        return found.id
    if len(principal.grants) != 1:
        raise Malformed("workspace", "say which one with ?workspace=<slug>: you have several")
    return next(iter(principal.grants))
