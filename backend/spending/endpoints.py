"""API: what agents have spent on their models."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.spending import service
from backend.spending.schemas import SpendingOut
from backend.spending.service import WorkspaceSpending

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/spending", tags=["spending"])


@router.get("", response_model=SpendingOut)
async def spending(access: Access = require("agent.read")) -> WorkspaceSpending:
    """What the agents have spent within a day and within 30 days, beside their caps."""
    return await access.read(service.of_workspace)
