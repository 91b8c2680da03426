"""API: what others report of the workspace's domains."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from backend.access.dependencies import Access, require
from backend.domains import reports
from backend.domains.report_schemas import DomainReportsOut
from backend.domains.reports import DomainReports

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/reports", tags=["domains"])

_READER = require("domain.read")


@router.get("", response_model=list[DomainReportsOut])
async def list_reports(
    access: Access = _READER,
    domain: Annotated[str | None, Query(max_length=253, description="Only of this one")] = None,
    days: Annotated[int, Query(ge=1, le=400)] = 30,
) -> tuple[DomainReports, ...]:
    """DMARC and TLS reports of the last days, summed by domain: sources, and what to do."""
    return await access.read(reports.summed, within=timedelta(days=days), domain=domain)
