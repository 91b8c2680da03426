"""API: an agent's e-mail, switched on at an address and off, as Aexy writes it."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.agents import aliases, service
from backend.agents.schemas import EmailIn, EmailOut
from backend.idempotency import Answer, Once
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}", tags=["agents"])

_EMAIL, _CRM = "/agents/{agent}/email", "/crm/agents/{agent}/email"


@router.post(f"{_EMAIL}/enable", response_model=EmailOut)
@router.post(f"{_CRM}/enable", response_model=EmailOut, name="crm_enable_email")
async def enable_email(
    agent: str, body: EmailIn, once: Once, access: Access = require("agent.manage")
) -> Answer[EmailOut]:
    """Take mail for an agent; with `handle` at that address, or at the next free one."""
    domain = access.services.settings.default_domain
    return await once.write(access, _enable, domain, agent, body.handle)


@router.post(f"{_EMAIL}/disable", response_model=EmailOut)
@router.post(f"{_CRM}/disable", response_model=EmailOut, name="crm_disable_email")
async def disable_email(
    agent: str, once: Once, access: Access = require("agent.manage")
) -> Answer[EmailOut]:
    """Refuse mail for an agent at the door; its addresses stay its own."""
    return await once.write(access, _disable, agent)


def _enable(tx: Transaction, domain: str, agent: str, handle: str | None) -> EmailOut:
    found, address = aliases.enable_email(tx, domain, agent, handle)
    return EmailOut(agent_id=found.id, email_enabled=True, email_address=address)


def _disable(tx: Transaction, agent: str) -> EmailOut:
    found = service.update_agent(tx, agent, {"email_enabled": False})
    return EmailOut(agent_id=found.id, email_enabled=False, email_address=found.address)
