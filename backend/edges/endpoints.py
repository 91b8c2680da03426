"""`/internal/…`: what a mail engine without a database asks of its backend, and nothing else.

The body of `/internal/inbound` is the one of `mailagent.doors.edge`. Whatever goes wrong here is
"later" to the edge, and so to the sender.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError

from backend.access.dependencies import Access, require_in_own, services_of
from backend.access.principal import Forbidden
from backend.edges import PERMISSION
from mailagent.doors.edge import decode, outcome_to_json
from mailagent.errors import Malformed
from mailagent.flow import events, unrouted
from mailagent.inbound import Acceptor, Unrouted
from mailagent.mail import Event

__all__ = ["router"]

router = APIRouter(prefix="/internal", tags=["edges"], include_in_schema=False)

_ADDRESSES = TypeAdapter(list[str])
_EVENTS = TypeAdapter(list[Event])


def _of_the_operator(access: Access) -> None:
    if access.workspace_id != access.principal.operator_workspace_id:
        raise Forbidden("an edge's key belongs to the operator's workspace: key create --edge")


@router.post("/inbound")
async def hand_over(
    request: Request, access: Access = require_in_own(PERMISSION)
) -> dict[str, Any]:
    """Keep one mail as if it had come to a door here."""
    _of_the_operator(access)
    mail = decode(await request.body())
    mail = replace(mail, origin=replace(mail.origin, handed_over_by=access.actor))
    acceptor: Acceptor = request.app.state.acceptor
    (outcome,) = await acceptor.accept([mail])
    if isinstance(outcome, Unrouted) and mail.source != "smtp":
        await services_of(request).store.write_unscoped(unrouted.remember, mail)
    return outcome_to_json(outcome)


@router.post("/recipients")
async def recipients(
    request: Request, access: Access = require_in_own(PERMISSION)
) -> dict[str, list[str]]:
    """Which of these addresses are ours."""
    _of_the_operator(access)
    try:
        addresses = _ADDRESSES.validate_json(await request.body())
    except ValidationError as error:
        raise Malformed("body", "is no list of addresses") from error
    directory = services_of(request).directory
    return {"known": [(await directory.knows(address)).value for address in addresses]}


@router.post("/events")
async def take_events(
    request: Request, access: Access = require_in_own(PERMISSION)
) -> dict[str, int]:
    """Merge what a provider told the edge."""
    _of_the_operator(access)
    try:
        told = _EVENTS.validate_json(await request.body())
    except ValidationError as error:
        raise Malformed("body", "is no list of events") from error
    await services_of(request).store.write_unscoped(events.take, told)
    return {"events": len(told)}
