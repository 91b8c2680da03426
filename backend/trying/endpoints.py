"""API: mail tried against an agent, or against what it may become; nothing is sent or changed."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.agents import agent_file
from backend.agents.agent_file import AgentFile
from backend.trying.run import Bounds
from backend.trying.schemas import ComparisonOut, TryIn, TryPastIn, TryResultOut
from backend.trying.service import try_mail, try_past
from mailagent.errors import Malformed
from mailagent.flow.rehearsal import Stored

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/agents/{agent}/try", tags=["trying"])


@router.post("", response_model=TryResultOut)
async def try_one(
    agent: str, body: TryIn, access: Access = require("agent.manage")
) -> TryResultOut:
    """Have an agent decide about a mail without sending or changing anything."""
    if (body.delivery_id is None) == (body.message is None):
        raise Malformed("delivery_id", "give either the id of a delivery or a message")
    access.demand("message.read")
    subject: Stored | bytes
    if body.delivery_id is not None:
        subject = Stored(body.delivery_id)
    else:
        assert body.message is not None
        subject = body.message.encode(errors="surrogateescape")
    found = await try_mail(
        access.services,
        access.workspace_id,
        agent,
        subject,
        file=_file(body.file),
        recipient=body.recipient,
    )
    return TryResultOut.of(found)


@router.post("/past", response_model=ComparisonOut)
async def try_past_mail(
    agent: str, body: TryPastIn, access: Access = require("agent.manage")
) -> ComparisonOut:
    """Have an agent decide anew about past mail, and compare that with what became of it."""
    access.demand("message.read")
    found = await try_past(
        access.services,
        access.workspace_id,
        agent,
        body.since,
        file=_file(body.file),
        candidate="the file" if body.file else "",
        most=body.most,
        bounds=Bounds(body.at_once, body.usd),
    )
    return ComparisonOut.of(found)


def _file(text: str | None) -> AgentFile | None:
    return None if text is None else agent_file.parse(text)
