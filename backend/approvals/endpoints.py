"""API: what waits for a person's yes. A key that is an agent's sees and decides none of its own."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.approvals import service
from backend.approvals.schemas import ApprovalOut, ApproveIn, EditIn, RejectIn
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from mailagent.flow.approval_rows import Kind, State
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/approvals", tags=["approvals"])


@router.get("", response_model=PageOf[ApprovalOut])
async def list_approvals(
    window: Windowed,
    access: Access = require("approval.read"),
    state: State | None = None,
    kind: Kind | None = None,
) -> Page[ApprovalOut]:
    """What waits or waited, newest first."""
    found = await access.read(
        service.listing, window, state=state, kind=kind, but_agent=access.principal.agent_id
    )
    return found.map(ApprovalOut.of)


@router.get("/{approval}", response_model=ApprovalOut)
async def get_approval(approval: str, access: Access = require("approval.read")) -> ApprovalOut:
    """One of them, with the draft, the mail it answers and what people changed."""
    found = await access.read(service.get, approval, but_agent=access.principal.agent_id)
    return ApprovalOut.of(found)


@router.post("/{approval}/approve", response_model=ApprovalOut)
async def approve(
    approval: str, body: ApproveIn, once: Once, access: Access = require("approval.decide")
) -> Answer[ApprovalOut]:
    """Send the draft as it stands, have the call done, or let the mail pass to its agent; 409 when
    it was decided.
    """

    def decide(tx: Transaction) -> ApprovalOut:
        return ApprovalOut.of(
            service.approve(
                tx,
                access.services,
                approval,
                actor=access.actor,
                digest=body.digest,
                but_agent=access.principal.agent_id,
            )
        )

    return await once.write(access, decide)


@router.post("/{approval}/reject", response_model=ApprovalOut)
async def reject(
    approval: str, body: RejectIn, once: Once, access: Access = require("approval.decide")
) -> Answer[ApprovalOut]:
    """Send nothing: the mail is a person's to answer; leave a call undone, and tell its agent why;
    turn away a mail that came in.
    """

    def decide(tx: Transaction) -> ApprovalOut:
        return ApprovalOut.of(
            service.reject(
                tx,
                approval,
                actor=access.actor,
                reason=body.reason,
                but_agent=access.principal.agent_id,
            )
        )

    return await once.write(access, decide)


@router.post("/{approval}/edit", response_model=ApprovalOut)
async def edit(
    approval: str, body: EditIn, once: Once, access: Access = require("approval.decide")
) -> Answer[ApprovalOut]:
    """Change words, recipients or files of a draft; the difference is kept, and it goes on waiting.

    What the policy does not give takes `message.send` as well (403).
    """

    def change(tx: Transaction) -> ApprovalOut:
        return ApprovalOut.of(
            service.edit(
                tx,
                access.services,
                approval,
                body.changes(),
                actor=access.actor,
                may_send=access.principal.may_send(access.workspace_id),
                digest=body.digest,
                but_agent=access.principal.agent_id,
            )
        )

    return await once.write(access, change)
