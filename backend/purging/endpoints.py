"""API: remove mail for good."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.inboxes.story import locate
from backend.purging.schemas import PurgedOut, PurgeIn
from mailagent.flow.purge import Named, Person, Purged, Target, Whole, purge

__all__ = ["router"]

router = APIRouter(prefix="/workspaces", tags=["workspaces"])


@router.post("/{ws}/purge", response_model=PurgedOut)
async def purge_mail(body: PurgeIn, access: Access = require("mail.purge")) -> Purged:
    """Remove what names a person, a mail with its answers, or all mail. Repeated, it goes on with
    what is left: a request that was cut off may be sent again.
    """
    return await purge(
        access.services.store,
        access.workspace_id,
        await _target(body, access),
        actor=access.actor,
        raw_store=access.services.raw_store,
        dry_run=body.dry_run,
    )


async def _target(body: PurgeIn, access: Access) -> Target:
    if body.address is not None:
        return Person(body.address.strip())
    if body.mail is not None:
        named = await access.read(locate, body.mail)
        return Named(named.delivery_ids, named.outbound_ids)
    return Whole()
