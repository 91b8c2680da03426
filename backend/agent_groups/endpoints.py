"""API: groups of agents of a workspace."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.agent_groups import service
from backend.agent_groups.schemas import GroupIn, GroupOut, GroupPatch
from backend.agent_groups.service import Group
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/agent-groups", tags=["agent groups"])


@router.get("", response_model=PageOf[GroupOut])
async def list_agent_groups(
    window: Windowed, access: Access = require("agent.read")
) -> Page[Group]:
    """The workspace's groups."""
    return await access.read(service.list_groups, window)


@router.post("", response_model=GroupOut, status_code=201)
async def create_agent_group(
    body: GroupIn, once: Once, access: Access = require("agent.manage")
) -> Answer[Group]:
    """Make a group; its agents share the domains that it is given."""
    return await once.write(access, service.create, body.name, body.agents)


@router.get("/{group}", response_model=GroupOut)
async def get_agent_group(group: str, access: Access = require("agent.read")) -> Group:
    """One group, by id or name."""
    return await access.read(service.get, group)


@router.patch("/{group}", response_model=GroupOut)
async def change_agent_group(
    group: str, body: GroupPatch, access: Access = require("agent.manage")
) -> Group:
    """Rename a group, or give it exactly these agents."""
    return await access.write(service.change, group, **body.model_dump(exclude_unset=True))


@router.delete("/{group}", status_code=204)
async def remove_agent_group(group: str, access: Access = require("agent.manage")) -> None:
    """Take a group away; its agents stay. 409 while it has domains."""
    await access.write(service.remove, group)
