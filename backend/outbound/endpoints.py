"""API: new mails, what became of outbound ones, decisions about unknown ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from backend.access.dependencies import Access, require, require_in_own
from backend.agents import service as agents
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.outbound import deciding, listing, trial, writing
from backend.outbound.listing import Filter, Summary
from backend.outbound.schemas import (
    MessageIn,
    OutboundDetailOut,
    OutboundOut,
    QueuedOut,
    TrialIn,
    TrialOut,
)
from backend.outbound.writing import Draft
from backend.paging import Page
from mailagent.flow.states import RecipientState
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(tags=["outbound"])

_WS = "/workspaces/{ws}"


@router.post(f"{_WS}/agents/{{agent}}/messages", response_model=QueuedOut, status_code=201)
async def send_message(
    agent: str, body: MessageIn, once: Once, access: Access = require("message.send")
) -> Answer[QueuedOut]:
    """Send a new mail from an agent's address; it opens a thread. 50 recipients, 10 MB at most.

    An agent's own key sends what its policy gives a stranger, and to whom a list allows (403).
    """
    return await once.write(access, _send, access, agent, body.draft())


def _send(tx: Transaction, access: Access, agent: str, draft: Draft) -> QueuedOut:
    agent_id, principal = agents.get(tx, agent).id, access.principal
    principal.demand_self(agent_id)
    by_agent = principal.agent_id is not None
    return QueuedOut.of(
        writing.write(tx, access.services, agent_id, draft, author=access.actor, by_agent=by_agent)
    )


@router.post("/email/test", response_model=TrialOut)
async def send_test(
    body: TrialIn, once: Once, access: Access = require_in_own("message.send")
) -> Answer[TrialOut]:
    """Send a test mail and say who carries it and what became of it (after 5 s at most).

    To an address of this workspace it goes out and comes back, and its `arrival` is judged.
    """

    access.principal.demand_person("a test mail")

    def queue(tx: Transaction) -> TrialOut:
        return TrialOut.of(
            trial.queue(
                tx,
                access.services,
                to=body.to,
                subject=body.subject,
                body=body.body,
                author=access.actor,
            )
        )

    async def follow(queued: TrialOut) -> TrialOut:
        return TrialOut.of(await trial.follow(access.services, access.workspace_id, queued.id))

    return await once.write_and_follow(access, queue, follow)


@router.get("/email/test/{outbound}", response_model=TrialOut)
async def get_test(outbound: str, access: Access = require_in_own("outbound.read")) -> TrialOut:
    """What became of a test mail by now; to an address of this workspace, how it arrived."""
    return TrialOut.of(await trial.look(access.services, access.workspace_id, outbound))


@router.get(f"{_WS}/outbound", response_model=PageOf[OutboundOut])
async def list_outbound(
    window: Windowed,
    access: Access = require("outbound.read"),
    state: RecipientState | None = None,
    agent: Annotated[str | None, Query(max_length=100, description="Id or handle")] = None,
) -> Page[Summary]:
    """Mails that go out or went, newest first."""
    agent_id = (await access.read(agents.get, agent)).id if agent is not None else None
    return await access.read(listing.listing, Filter(state, agent_id), window)


@router.get(f"{_WS}/outbound/unknown", response_model=list[OutboundOut])
async def list_unknown(access: Access = require("outbound.read")) -> tuple[Summary, ...]:
    """Mails of which nobody knows whether they were taken: they wait for a person's word."""
    return await access.read(deciding.unknown)


@router.get(f"{_WS}/outbound/{{outbound}}", response_model=OutboundDetailOut)
async def get_outbound(
    outbound: str, access: Access = require("outbound.read")
) -> OutboundDetailOut:
    """One mail with its recipients, hand-overs, events and frozen content."""
    return OutboundDetailOut.of(await access.read(listing.get, outbound))


@router.post(f"{_WS}/outbound/{{outbound}}/cancel", response_model=OutboundOut)
async def cancel(
    outbound: str, once: Once, access: Access = require("outbound.manage")
) -> Answer[Summary]:
    """Stop what has not left yet. 409 when nothing waits any more."""
    return await once.write(access, deciding.cancel, outbound, actor=access.actor)


@router.post(f"{_WS}/outbound/{{outbound}}/sent", response_model=OutboundOut)
async def declare_sent(
    outbound: str, once: Once, access: Access = require("outbound.manage")
) -> Answer[Summary]:
    """Say of an unknown mail (or recipient, by its id) that it arrived."""
    return await once.write(access, deciding.declare_sent, outbound, actor=access.actor)


@router.post(f"{_WS}/outbound/{{outbound}}/again", response_model=OutboundOut)
async def send_again(
    outbound: str, once: Once, access: Access = require("outbound.manage")
) -> Answer[Summary]:
    """Send an unknown mail (or to one recipient, by its id) once more: it may arrive twice."""
    return await once.write(
        access,
        deciding.send_again,
        outbound,
        actor=access.actor,
        expiry=access.services.settings.send_expiry,
    )
