"""API: keys of a workspace, and who is asking."""

from __future__ import annotations

from fastapi import APIRouter, Request

from backend.access import keys
from backend.access.dependencies import Access, authenticated, require, services_of
from backend.access.keys import ApiKey, NewKey
from backend.access.principal import Forbidden, Principal
from backend.access.schemas import KeyIn, KeyOut, MeOut, NewKeyOut, WorkspaceGrant
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import EVERYTHING, Page
from backend.workspaces.service import list_workspaces

__all__ = ["router"]

router = APIRouter(tags=["access"])


@router.get("/me", response_model=MeOut)
async def me(request: Request, principal: Principal = authenticated()) -> MeOut:
    """Who asks, and what they may do where."""
    spaces = await services_of(request).store.read_unscoped(
        list_workspaces, EVERYTHING, among=principal.grants.keys()
    )
    return MeOut(
        kind=principal.kind,
        id=principal.id,
        name=principal.name,
        workspaces=[
            WorkspaceGrant(
                workspace_id=one.id, slug=one.slug, permissions=sorted(principal.grants[one.id])
            )
            for one in spaces.items
        ],
    )


@router.get("/workspaces/{ws}/keys", response_model=PageOf[KeyOut])
async def list_keys(window: Windowed, access: Access = require("key.read")) -> Page[ApiKey]:
    """The workspace's keys, without their secrets."""
    return await access.read(keys.list_keys, window)


@router.post("/workspaces/{ws}/keys", response_model=NewKeyOut, status_code=201)
async def create_key(
    body: KeyIn, once: Once, access: Access = require("key.manage")
) -> Answer[NewKey]:
    """Make a key. Its secret is in this answer only; it cannot do more than who makes it."""
    access.principal.demand_all(access.workspace_id, body.permissions)
    own = access.principal.agent_id
    if own is not None and body.agent != own:
        # Else an agent would make itself a key that may judge it.
        raise Forbidden("an agent's key makes keys for that agent alone: name it in agent")
    return await once.write(
        access,
        keys.create,
        body.name,
        body.permissions,
        expires_at=body.expires_at,
        agent=body.agent,
    )


@router.get("/workspaces/{ws}/keys/{key}", response_model=KeyOut)
async def get_key(key: str, access: Access = require("key.read")) -> ApiKey:
    """One key, without its secret."""
    return await access.read(keys.get, key)


@router.delete("/workspaces/{ws}/keys/{key}", status_code=204)
async def revoke_key(key: str, access: Access = require("key.manage")) -> None:
    """Make a key useless from now on."""
    await access.write(keys.revoke, key)
