"""API: the sender identities of a domain."""

from __future__ import annotations

from fastapi import APIRouter, Request

from backend.access.dependencies import Access, require, settings_of
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.senders import service
from backend.senders.schemas import NewSenderOut, SenderIn, SenderOut, SenderPatch
from backend.senders.service import NewSender, Sender

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/domains/{domain}/senders", tags=["domains"])


@router.get("", response_model=PageOf[SenderOut])
async def list_senders(
    domain: str, window: Windowed, access: Access = require("domain.read")
) -> Page[Sender]:
    """The domain's identities, without their passwords."""
    return await access.read(service.list_senders, domain, window)


@router.post("", response_model=NewSenderOut, status_code=201)
async def create_sender(
    request: Request,
    domain: str,
    body: SenderIn,
    once: Once,
    access: Access = require("domain.manage"),
) -> Answer[NewSender]:
    """Make an identity; its password is shown this once."""
    return await once.write(
        access,
        service.create,
        access.services.settings.default_domain,
        domain,
        most=settings_of(request).mailagent_senders_per_domain,
        **body.model_dump(),
    )


@router.get("/{sender}", response_model=SenderOut)
async def get_sender(domain: str, sender: str, access: Access = require("domain.read")) -> Sender:
    """One identity, by id, address or user."""
    return await access.read(service.get, domain, sender)


@router.patch("/{sender}", response_model=NewSenderOut)
async def set_sender_password(
    domain: str, sender: str, body: SenderPatch, access: Access = require("domain.manage")
) -> NewSender:
    """Give an identity another password, which is shown this once."""
    return await access.write(service.set_password, domain, sender, password=body.password)


@router.delete("/{sender}", status_code=204)
async def remove_sender(
    domain: str, sender: str, access: Access = require("domain.manage")
) -> None:
    """Take an identity away. 409 while a receiver route is for it."""
    await access.write(service.remove, domain, sender)
