"""API: whose a domain is, and what is set for it in the Mailgun way of working."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request

from backend.access.dependencies import Access, require
from backend.domain_options import service as options
from backend.domain_options.schemas import OptionsOut, OptionsPatch, OwnerIn
from backend.domain_options.service import Options
from backend.domains.desk import Desk
from backend.domains.endpoints import desk_of
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/domains/{domain}", tags=["domains"])


@router.get("/options", response_model=OptionsOut)
async def get_options(domain: str, access: Access = require("domain.read")) -> Options:
    """Owner, region, DKIM length, retention, and how both verifications stand."""
    return await access.read(options.get, domain)


@router.patch("/options", response_model=OptionsOut)
async def change_options(
    request: Request, domain: str, body: OptionsPatch, access: Access = require("domain.manage")
) -> Options:
    """Change what is set; the region is fixed once it is there."""
    changes = body.model_dump(exclude_unset=True)
    return await access.write(_change, desk_of(request), domain, changes)


@router.delete("/owner", response_model=OptionsOut)
async def release_domain(domain: str, access: Access = require("domain.manage")) -> Options:
    """Let it belong to nobody. 409 while it has senders."""
    return await access.write(options.release, domain)


@router.put("/owner", response_model=OptionsOut)
async def give_domain(
    request: Request, domain: str, body: OwnerIn, access: Access = require("domain.manage")
) -> Options:
    """Let it belong to an agent or a group; an agent of its group finds it set up."""
    return await access.write(_give, desk_of(request), domain, body)


def _change(tx: Transaction, desk: Desk, domain: str, changes: Mapping[str, Any]) -> Options:
    return options.change(tx, desk.installed(tx), domain, changes)


def _give(tx: Transaction, desk: Desk, domain: str, to: OwnerIn) -> Options:
    return options.give(
        tx,
        desk.installed(tx),
        domain,
        most_of_a_group=desk.settings.mailagent_domains_per_group,
        agent=to.agent,
        group=to.group,
        apex_confirmed=to.confirm_apex,
    )
