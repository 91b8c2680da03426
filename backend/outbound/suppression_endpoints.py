"""API: the addresses that nothing is sent to; one at a time, and by files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from backend.access.dependencies import Access, require
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.outbound import suppression_files, suppressions
from backend.outbound.suppression_files import Format, Imported
from backend.outbound.suppression_schemas import ImportedOut, SuppressionIn, SuppressionOut
from backend.outbound.suppressions import Filter, Origin, Reason, Suppression
from backend.paging import Page, Window
from mailagent.errors import Malformed

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/suppressions", tags=["outbound"])

_TYPES: Mapping[str, Format] = {
    "text/csv": "csv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
}
_FILES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {name: {"schema": {"type": "string"}} for name in _TYPES},
    }
}
_AT_ONCE = 2_000


def _filter(
    address: Annotated[str | None, Query(max_length=320)] = None,
    from_address: Annotated[
        str | None, Query(max_length=320, description="Those for this address of ours alone")
    ] = None,
    reason: Reason | None = None,
    origin: Origin | None = None,
) -> Filter:
    return Filter(address, from_address, reason, origin)


Filtered = Annotated[Filter, Depends(_filter)]


@router.get("", response_model=PageOf[SuppressionOut])
async def list_suppressions(
    window: Windowed, which: Filtered, access: Access = require("outbound.read")
) -> Page[Suppression]:
    """Addresses that nothing is sent to, newest first."""
    return await access.read(suppressions.listing, which, window)


@router.post("", response_model=SuppressionOut, status_code=201)
async def add_suppression(
    body: SuppressionIn, once: Once, access: Access = require("outbound.manage")
) -> Answer[Suppression]:
    """Send nothing to an address any more."""
    ends = body.expires_at
    return await once.write(
        access,
        suppressions.add,
        body.address,
        detail=body.detail,
        actor=access.actor,
        from_address=body.from_address,
        expires_at=suppressions.moment("expires_at", ends) if ends is not None else None,
    )


@router.post("/import", response_model=ImportedOut, openapi_extra=_FILES)
async def import_suppressions(
    request: Request,
    once: Once,
    access: Access = require("outbound.manage"),
    skip_bad: Annotated[
        bool, Query(description="Leave out the lines that cannot be taken")
    ] = False,
) -> Answer[Imported]:
    """Suppress every address of a file, CSV or JSON lines by its Content-Type; all or nothing."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Malformed("Content-Type", f"must be one of {', '.join(_TYPES)}")
    file = await asyncio.to_thread(suppression_files.read, await request.body(), _TYPES[kind])
    return await once.write(
        access, suppression_files.bring_in, file, skip_bad=skip_bad, actor=access.actor
    )


@router.get("/export", response_class=StreamingResponse)
async def export_suppressions(
    which: Filtered,
    access: Access = require("outbound.read"),
    format: Annotated[Format, Query()] = "csv",
) -> StreamingResponse:
    """All of them as a file that `import` takes."""
    page = await access.read(suppressions.listing, which, Window(_AT_ONCE))
    kind = next(name for name, one in _TYPES.items() if one == format)
    named = {"content-disposition": f'attachment; filename="suppressions.{format}"'}
    return StreamingResponse(_pages(access, which, page, format), headers=named, media_type=kind)


async def _pages(
    access: Access, which: Filter, page: Page[Suppression], form: Format
) -> AsyncIterator[str]:
    yield "".join(suppression_files.written(page.items, form))
    while page.next_cursor is not None:
        window = Window(_AT_ONCE, page.next_cursor)
        page = await access.read(suppressions.listing, which, window)
        yield "".join(suppression_files.written(page.items, form, goes_on=True))


@router.delete("/{address}", status_code=204)
async def remove_suppression(
    address: str,
    access: Access = require("outbound.manage"),
    from_address: Annotated[str | None, Query(max_length=320)] = None,
) -> None:
    """Write to an address again; with `from_address`, from that one of ours."""
    await access.write(suppressions.remove, address, actor=access.actor, from_address=from_address)
