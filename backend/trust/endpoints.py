"""API: lists of who may write to us and to whom we write; policies and limits."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.trust import lists, settings
from backend.trust.lists import Brought, ListEntry
from backend.trust.schemas import (
    BroughtOut,
    LimitsIn,
    LimitsOut,
    ListEntryIn,
    ListEntryOut,
    ListImportIn,
    PolicyIn,
    PolicyOut,
)
from backend.trust.settings import EffectiveLimits, EffectivePolicy
from mailagent.agents.lists import Listed, What
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}", tags=["trust"])


@router.get("/lists", response_model=PageOf[ListEntryOut])
async def list_entries(
    window: Windowed,
    access: Access = require("trust.read"),
    what: What | None = None,
    verdict: Listed | None = None,
) -> Page[ListEntry]:
    """Who is allowed or blocked."""
    return await access.read(lists.listing, window, what=what, verdict=verdict)


@router.post("/lists", response_model=ListEntryOut, status_code=201)
async def add_entry(
    body: ListEntryIn, once: Once, access: Access = require("trust.manage")
) -> Answer[ListEntry]:
    """Allow or block somebody; 409 when the same list speaks of them already."""
    return await once.write(
        access,
        lists.add,
        body.pattern,
        what=body.what,
        verdict=body.verdict,
        mailbox=body.mailbox,
        note_=body.note,
        actor=access.actor,
    )


@router.post("/lists/import", response_model=BroughtOut)
async def import_entries(
    body: ListImportIn, once: Once, access: Access = require("trust.manage")
) -> Answer[Brought]:
    """Allow or block everybody of a file: all lines or none."""
    return await once.write(
        access,
        lists.bring_in,
        body.lines,
        what=body.what,
        verdict=body.verdict,
        mailbox=body.mailbox,
        actor=access.actor,
    )


@router.delete("/lists/{entry}", status_code=204)
async def remove_entry(entry: str, access: Access = require("trust.manage")) -> None:
    """Take an entry away."""
    await access.write(lists.remove, entry, actor=access.actor)


# --- policies and limits ----------------------------------------------------------------------


@router.get("/policy", response_model=PolicyOut)
async def get_policy(
    access: Access = require("trust.read"), version: int | None = None
) -> EffectivePolicy:
    """The workspace's policy; `version` shows an earlier one as it was set."""
    return await _policy(access, None, version)


@router.put("/policy", response_model=PolicyOut)
async def set_policy(body: PolicyIn, access: Access = require("trust.manage")) -> EffectivePolicy:
    """Set another one, whole; the version counts up."""
    return await access.write(settings.set_policy, body.policy, actor=access.actor)


@router.get("/agents/{agent}/policy", response_model=PolicyOut)
async def get_agent_policy(
    agent: str, access: Access = require("trust.read"), version: int | None = None
) -> EffectivePolicy:
    """An agent's policy, which lies over the workspace's."""
    return await _policy(access, agent, version)


@router.put("/agents/{agent}/policy", response_model=PolicyOut)
async def set_agent_policy(
    agent: str, body: PolicyIn, access: Access = require("trust.manage")
) -> EffectivePolicy:
    """Set another one for an agent, whole."""
    return await access.write(settings.set_policy, body.policy, actor=access.actor, agent=agent)


@router.get("/limits", response_model=LimitsOut)
async def get_limits(access: Access = require("trust.read")) -> EffectiveLimits:
    """The workspace's limits."""
    return await access.read(settings.limits)


@router.patch("/limits", response_model=LimitsOut)
async def set_limits(body: LimitsIn, access: Access = require("trust.manage")) -> EffectiveLimits:
    """Change some of them."""
    return await access.write(_change, body, access.actor, None)


@router.get("/agents/{agent}/limits", response_model=LimitsOut)
async def get_agent_limits(agent: str, access: Access = require("trust.read")) -> EffectiveLimits:
    """An agent's limits, which lie over the workspace's."""
    return await access.read(settings.limits, agent)


@router.patch("/agents/{agent}/limits", response_model=LimitsOut)
async def set_agent_limits(
    agent: str, body: LimitsIn, access: Access = require("trust.manage")
) -> EffectiveLimits:
    """Change some of an agent's."""
    return await access.write(_change, body, access.actor, agent)


async def _policy(access: Access, agent: str | None, version: int | None) -> EffectivePolicy:
    if version is not None:
        return await access.read(settings.policy_version, version, agent)
    return await access.read(settings.policy, agent)


def _change(tx: Transaction, body: LimitsIn, actor: str, agent: str | None) -> EffectiveLimits:
    if body.reset:
        settings.reset_limits(tx, tuple(body.reset), actor=actor, agent=agent)
    return settings.set_limits(tx, body.limits, actor=actor, agent=agent)
