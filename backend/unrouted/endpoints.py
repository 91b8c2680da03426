"""API: mail that webhooks brought for nobody; for the operator's keys and people."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from backend.access.dependencies import authenticated, services_of
from backend.access.principal import Principal
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.unrouted import service
from backend.unrouted.schemas import UnroutedContentOut, UnroutedOut
from backend.unrouted.service import Unrouted
from mailagent.store.engine import Store

__all__ = ["router"]

router = APIRouter(prefix="/email-infrastructure/unrouted", tags=["email infrastructure"])


def _store(permission: str) -> Any:
    def dependency(request: Request, principal: Annotated[Principal, authenticated()]) -> Store:
        principal.demand_operator(permission)
        return services_of(request).store

    return Depends(dependency)


_READER, _MANAGER = _store("unrouted.read"), _store("unrouted.manage")


@router.get("", response_model=PageOf[UnroutedOut])
async def list_unrouted(window: Windowed, store: Store = _READER) -> Page[Unrouted]:
    """Mail of the last week for addresses that are nobody's, newest first."""
    return await store.read_unscoped(service.listing, window)


@router.get("/{unrouted}", response_model=UnroutedContentOut)
async def get_unrouted(unrouted: str, store: Store = _READER) -> UnroutedContentOut:
    """One mail with its content as it came, unread and unchecked."""
    return UnroutedContentOut.of(await store.read_unscoped(service.get, unrouted))


@router.delete("/{unrouted}", status_code=204)
async def remove_unrouted(unrouted: str, store: Store = _MANAGER) -> None:
    """Forget one before its week is over."""
    await store.write_unscoped(service.remove, [unrouted])
