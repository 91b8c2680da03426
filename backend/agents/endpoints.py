"""API: agents of a workspace and their addresses."""

from __future__ import annotations

from fastapi import APIRouter, Request

from backend.access.dependencies import Access, require, settings_of
from backend.agents import aliases, service
from backend.agents.schemas import AgentIn, AgentOut, AgentPatch, AliasIn
from backend.agents.service import Agent
from backend.caps import unpriced_by
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/agents", tags=["agents"])


@router.get("", response_model=PageOf[AgentOut])
async def list_agents(window: Windowed, access: Access = require("agent.read")) -> Page[Agent]:
    """The workspace's agents."""
    return await access.read(service.list_agents, window)


@router.post("", response_model=AgentOut, status_code=201)
async def create_agent(
    body: AgentIn, once: Once, access: Access = require("agent.manage")
) -> Answer[Agent]:
    """Make an agent with its primary address; it gets mail at once."""
    return await once.write(
        access, service.create, access.services.settings.default_domain, **body.model_dump()
    )


@router.get("/{agent}", response_model=AgentOut)
async def get_agent(agent: str, access: Access = require("agent.read")) -> Agent:
    """One agent, by id or handle."""
    return await access.read(service.get, agent)


@router.patch("/{agent}", response_model=AgentOut)
async def update_agent(
    request: Request, agent: str, body: AgentPatch, access: Access = require("agent.manage")
) -> Agent:
    """Change an agent; `email_enabled` false refuses its mail at the door."""
    return await access.write(
        service.update_agent,
        agent,
        body.model_dump(exclude_unset=True),
        unpriced=unpriced_by(settings_of(request)),
    )


@router.delete("/{agent}", status_code=204)
async def remove_agent(agent: str, access: Access = require("agent.manage")) -> None:
    """Take an agent away; its mail stays. 409 while a rule or the catch-all leads to it."""
    await access.write(service.remove, agent)


@router.post("/{agent}/aliases", response_model=AgentOut, status_code=201)
async def add_alias(
    agent: str, body: AliasIn, once: Once, access: Access = require("agent.manage")
) -> Answer[Agent]:
    """Give an agent one more address."""
    return await once.write(
        access, aliases.add_alias, access.services.settings.default_domain, agent, body.address
    )


@router.delete("/{agent}/aliases/{address}", response_model=AgentOut)
async def remove_alias(agent: str, address: str, access: Access = require("agent.manage")) -> Agent:
    """Take an alias away, by address or id."""
    return await access.write(aliases.remove_alias, agent, address)
