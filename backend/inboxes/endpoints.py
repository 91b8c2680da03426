"""API: an agent's inbox, the workspace's deliveries with all that is in them, threads.

An inbox has two paths: `agents/{agent}/inbox`, and `crm/agents/{agent}/inbox` as Aexy writes it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from backend.access.dependencies import Access, require
from backend.agents import service as agents
from backend.idempotency import Answer, Once
from backend.inboxes import contents, handling, listing
from backend.inboxes.listing import Filter
from backend.inboxes.schemas import (
    DeliveryOut,
    EscalateIn,
    ItemOut,
    PriorityIn,
    ReplyIn,
    SentOut,
    StoryOut,
    ThreadOut,
)
from backend.inboxes.story import story
from backend.inboxes.words import Status
from backend.listing import PageOf, Windowed
from backend.paging import Page
from mailagent.errors import NotFound
from mailagent.flow import own_answers
from mailagent.flow.answers import answer
from mailagent.flow.states import DeliveryState
from mailagent.outgoing import Urgency
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}", tags=["inbox"])

_INBOX, _CRM = "/agents/{agent}/inbox", "/crm/agents/{agent}/inbox"
_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,90}")
# What a stranger sent is never shown as a page of ours, whatever it says that it is.
_DOWNLOAD = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}


@router.get(_INBOX, response_model=PageOf[ItemOut])
@router.get(_CRM, response_model=PageOf[ItemOut], name="crm_inbox")
async def inbox(
    agent: str,
    window: Windowed,
    access: Access = require("message.read"),
    status: Status | None = None,
    state: DeliveryState | None = None,
    priority: Urgency | None = None,
    since: Annotated[AwareDatetime | None, Query(description="Received then or later")] = None,
    search: Annotated[
        str | None,
        Query(max_length=500, description="Words that subject, sender or text hold, all of them"),
    ] = None,
) -> Page[ItemOut]:
    """The mails of one agent with their answers, newest first."""
    which = Filter(None, status, state, since, priority=priority)
    return (await access.read(_inbox, agent, which, window, search)).map(ItemOut.of)


@router.post(f"{_INBOX}/{{delivery}}/reply", response_model=SentOut, status_code=201)
@router.post(
    f"{_CRM}/{{delivery}}/reply", response_model=SentOut, status_code=201, name="crm_reply"
)
async def reply_in_inbox(
    agent: str,
    delivery: str,
    body: ReplyIn,
    once: Once,
    access: Access = require("message.send"),
) -> Answer[SentOut]:
    """Answer a mail of this agent in its thread, as a person; an agent's own key as the agent."""
    return await once.write(access, _answer, access, delivery, body.text, of=agent)


@router.post(f"{_INBOX}/{{delivery}}/archive", response_model=ItemOut)
@router.post(f"{_CRM}/{{delivery}}/archive", response_model=ItemOut, name="crm_archive")
async def archive_in_inbox(
    agent: str, delivery: str, once: Once, access: Access = require("message.send")
) -> Answer[ItemOut]:
    """Put a mail of this agent away; its state is not touched."""
    return await once.write(access, _archive, delivery, actor=access.actor, away=True, of=agent)


@router.patch(f"{_INBOX}/{{delivery}}", response_model=ItemOut)
@router.patch(f"{_CRM}/{{delivery}}", response_model=ItemOut, name="crm_priority")
async def change_in_inbox(
    agent: str, delivery: str, body: PriorityIn, access: Access = require("message.send")
) -> ItemOut:
    """Say how urgent a mail of this agent is, whatever the agent says."""
    return await access.write(_prioritise, delivery, body.priority, actor=access.actor, of=agent)


@router.post(f"{_INBOX}/{{delivery}}/escalate", response_model=ItemOut)
@router.post(f"{_CRM}/{{delivery}}/escalate", response_model=ItemOut, name="crm_escalate")
async def escalate_in_inbox(
    agent: str,
    delivery: str,
    body: EscalateIn,
    once: Once,
    access: Access = require("message.send"),
) -> Answer[ItemOut]:
    """Hand a mail of this agent to a person, who is told by mail."""
    return await once.write(access, _escalate, access, delivery, body.reason, of=agent)


@router.post(f"{_INBOX}/{{delivery}}/reprocess", response_model=ItemOut)
@router.post(f"{_CRM}/{{delivery}}/reprocess", response_model=ItemOut, name="crm_reprocess")
async def reprocess_in_inbox(
    agent: str, delivery: str, once: Once, access: Access = require("message.send")
) -> Answer[ItemOut]:
    """Drive a mail of this agent again that was not answered. 409 when it was, or is in work."""
    return await once.write(access, _replay, delivery, actor=access.actor, of=agent)


@router.get("/deliveries", response_model=PageOf[ItemOut])
async def list_deliveries(
    window: Windowed,
    access: Access = require("message.read"),
    status: Status | None = None,
    state: DeliveryState | None = None,
    priority: Urgency | None = None,
    since: Annotated[AwareDatetime | None, Query(description="Received then or later")] = None,
    recipient: Annotated[str | None, Query(max_length=320)] = None,
    thread: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[ItemOut]:
    """All mails of the workspace, also those that no agent got, newest first."""
    which = Filter(None, status, state, since, recipient, thread, priority=priority)
    return (await access.read(listing.listing, which, window)).map(ItemOut.of)


@router.get("/deliveries/{delivery}", response_model=DeliveryOut)
async def get_delivery(delivery: str, access: Access = require("message.read")) -> DeliveryOut:
    """One mail whole: what it says, and what was proven about its sender."""
    return DeliveryOut.of_detail(await access.read(contents.detail, delivery))


@router.get("/deliveries/{delivery}/ledger", response_model=StoryOut)
async def get_ledger(delivery: str, access: Access = require("message.read")) -> StoryOut:
    """What happened to a mail, line by line, and where it stands."""
    await access.read(listing.one, delivery)
    return StoryOut.of(await access.read(story, delivery))


@router.get("/deliveries/{delivery}/raw", response_class=Response)
async def get_raw(delivery: str, access: Access = require("message.read")) -> Response:
    """The octets as they were received."""
    found = await contents.raw(access.services, access.workspace_id, delivery)
    return _download(found.content, found.filename, "message/rfc822")


@router.get("/deliveries/{delivery}/attachments/{part}", response_class=Response)
async def get_attachment(
    delivery: str, part: str, access: Access = require("message.read")
) -> Response:
    """One file of a mail, decoded. Always a download: its type is the sender's claim."""
    found = await contents.attachment(access.services, access.workspace_id, delivery, part)
    return _download(found.content, found.filename, found.content_type)


@router.post("/deliveries/{delivery}/reply", response_model=SentOut, status_code=201)
async def reply(
    delivery: str, body: ReplyIn, once: Once, access: Access = require("message.send")
) -> Answer[SentOut]:
    """Answer a mail in its thread, from the agent's address, as a person; an agent's own key as
    the agent, held to its policy: `state` says whether it is sent, asked about, or handed over.
    """
    return await once.write(access, _answer, access, delivery, body.text)


@router.post("/deliveries/{delivery}/archive", response_model=ItemOut)
async def archive(
    delivery: str, once: Once, access: Access = require("message.send")
) -> Answer[ItemOut]:
    """Put a mail away; its state is not touched."""
    return await once.write(access, _archive, delivery, actor=access.actor, away=True)


@router.delete("/deliveries/{delivery}/archive", response_model=ItemOut)
async def take_back(delivery: str, access: Access = require("message.send")) -> ItemOut:
    """Take a mail back from the archive."""
    return await access.write(_archive, delivery, actor=access.actor, away=False)


@router.patch("/deliveries/{delivery}", response_model=ItemOut)
async def change(
    delivery: str, body: PriorityIn, access: Access = require("message.send")
) -> ItemOut:
    """Say how urgent a mail is, whatever its agent says."""
    return await access.write(_prioritise, delivery, body.priority, actor=access.actor)


@router.post("/deliveries/{delivery}/replay", response_model=ItemOut)
async def replay(
    delivery: str, once: Once, access: Access = require("message.send")
) -> Answer[ItemOut]:
    """Drive a mail again that was not answered. 409 when it was, or is in work."""
    return await once.write(access, _replay, delivery, actor=access.actor)


@router.get("/threads/{thread}", response_model=ThreadOut)
async def get_thread(thread: str, access: Access = require("message.read")) -> ThreadOut:
    """A conversation, both sides, oldest first."""
    return ThreadOut.of(await access.read(contents.thread, thread))


def _inbox(
    tx: Transaction, agent: str, which: Filter, window: Windowed, search: str | None
) -> Page[listing.Item]:
    of_agent = replace(which, agent_id=agents.get(tx, agent).id)
    if search is not None:
        return listing.search(tx, of_agent, search, window)
    return listing.listing(tx, of_agent, window)


def _of_agent(tx: Transaction, agent: str, delivery: str) -> None:
    """Pass a delivery of this agent. Raises NotFound."""
    if listing.one(tx, delivery).agent_id != agents.get(tx, agent).id:
        raise NotFound(f"agent {agent[:80]} has no delivery {delivery[:80]}")


def _answer(
    tx: Transaction, access: Access, delivery: str, text: str, *, of: str | None = None
) -> SentOut:
    if of is not None:
        _of_agent(tx, of, delivery)
    services, principal = access.services, access.principal
    if principal.agent_id is None:
        return SentOut(id=answer(tx, services, delivery, text, author=access.actor))
    principal.demand_self(listing.one(tx, delivery).agent_id)
    own = own_answers.answer(
        tx, services, delivery, text, agent_id=principal.agent_id, author=access.actor
    )
    return SentOut(
        id=own.outbound_id, approval_id=own.approval_id, state=own.state, reason=own.reason
    )


def _archive(
    tx: Transaction, delivery: str, *, actor: str, away: bool, of: str | None = None
) -> ItemOut:
    if of is not None:
        _of_agent(tx, of, delivery)
    handling.archive(tx, delivery, actor=actor, away=away)
    return ItemOut.of(listing.one(tx, delivery))


def _prioritise(
    tx: Transaction, delivery: str, priority: Urgency | None, *, actor: str, of: str | None = None
) -> ItemOut:
    if of is not None:
        _of_agent(tx, of, delivery)
    handling.set_priority(tx, delivery, priority, actor=actor)
    return ItemOut.of(listing.one(tx, delivery))


def _escalate(tx: Transaction, access: Access, delivery: str, reason: str, *, of: str) -> ItemOut:
    _of_agent(tx, of, delivery)
    handling.escalate(tx, access.services, delivery, reason=reason, actor=access.actor)
    return ItemOut.of(listing.one(tx, delivery))


def _replay(tx: Transaction, delivery: str, *, actor: str, of: str | None = None) -> ItemOut:
    if of is not None:
        _of_agent(tx, of, delivery)
    handling.replay(tx, delivery, actor=actor)
    return ItemOut.of(listing.one(tx, delivery))


def _download(content: bytes, filename: str, content_type: str) -> Response:
    plain = filename.encode("ascii", "replace").decode().replace("?", "_")
    # RFC 6266 §5: the plain name for those that do not know the other.
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
    known = _CONTENT_TYPE.fullmatch(content_type) is not None
    return Response(
        content,
        headers={
            **_DOWNLOAD,
            "Content-Type": content_type if known else "application/octet-stream",
            "Content-Disposition": disposition,
        },
    )
