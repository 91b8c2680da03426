"""API: the default domain, under which every workspace has its name; for the operator."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from backend.access.dependencies import authenticated
from backend.access.principal import Principal
from backend.domains import infrastructure
from backend.domains.endpoints import desk_of
from backend.domains.infrastructure import Infrastructure
from backend.domains.schemas import InfrastructureOut

__all__ = ["router"]

router = APIRouter(prefix="/email-infrastructure", tags=["email infrastructure"])


def _operator(permission: str) -> Any:
    def dependency(principal: Annotated[Principal, authenticated()]) -> None:
        principal.demand_operator(permission)

    return Depends(dependency)


@router.get("/domain", response_model=InfrastructureOut, dependencies=[_operator("domain.read")])
async def get_default_domain(request: Request) -> Infrastructure:
    """What the default domain must publish; asks nobody."""
    return await infrastructure.expected_now(desk_of(request))


@router.post(
    "/domain/check", response_model=InfrastructureOut, dependencies=[_operator("domain.verify")]
)
async def check_default_domain(request: Request) -> Infrastructure:
    """Look at the default domain and its wildcard now."""
    return await infrastructure.check(desk_of(request))
