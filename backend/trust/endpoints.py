"""API: lists of who may write to us and to whom we write."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.trust import lists
from backend.trust.lists import Brought, ListEntry
from backend.trust.schemas import BroughtOut, ListEntryIn, ListEntryOut, ListImportIn
from mailagent.agents.lists import Listed, What

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
