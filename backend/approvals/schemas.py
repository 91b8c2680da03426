"""How does what waits for a yes look in the API?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.approvals.service import Approval
from backend.outbound.schemas import AttachmentIn, attachments_of
from backend.outbound.writing import mailboxes
from mailagent.flow.approval_edits import Changes
from mailagent.mail import Address
from mailagent.outgoing import Outgoing

__all__ = ["ApprovalOut", "ApproveIn", "EditIn", "RejectIn"]

_DIGEST = Field(
    default=None,
    description="`digest` as it was seen: a draft that was changed since is left alone (409)",
    max_length=64,
)


class ApproveIn(BaseModel):
    """A yes."""

    model_config = ConfigDict(extra="forbid")

    digest: str | None = _DIGEST


class RejectIn(BaseModel):
    """A no."""

    model_config = ConfigDict(extra="forbid")

    reason: str = ""


class EditIn(BaseModel):
    """What is to be changed; what is left out stays. HTML goes with the text it was made for.

    An address is `a@b.example` or `Name <a@b.example>`.
    """

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    subject: str | None = None
    to: list[str] | None = None
    cc: list[str] | None = None
    bcc: list[str] | None = None
    add_files: list[AttachmentIn] = Field(default_factory=list)
    drop_files: list[str] = Field(default_factory=list, description="Names")
    digest: str | None = _DIGEST

    def changes(self) -> Changes:
        """The change, checked as far as it can be by itself. Raises Malformed."""
        return Changes(
            text=self.text,
            subject=self.subject,
            to=_mailboxes("to", self.to),
            cc=_mailboxes("cc", self.cc),
            bcc=_mailboxes("bcc", self.bcc),
            add=attachments_of("add_files", self.add_files),
            drop=tuple(self.drop_files),
        )


def _mailboxes(field: str, given: list[str] | None) -> tuple[Address, ...] | None:
    return None if given is None else mailboxes(field, given)


class FileOut(BaseModel):
    """A file that goes along."""

    filename: str
    content_type: str
    size_bytes: int


class DraftOut(BaseModel):
    """The mail that waits."""

    from_address: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    subject: str
    text: str
    html: str | None
    attachments: list[FileOut]

    @classmethod
    def of(cls, draft: Outgoing) -> DraftOut:
        """The parts of a draft that a person decides about."""

        def plain(mailboxes: tuple[Address, ...]) -> list[str]:
            return [one.address for one in mailboxes]

        return cls(
            from_address=draft.from_.address,
            to=plain(draft.to),
            cc=plain(draft.cc),
            bcc=plain(draft.bcc),
            subject=draft.subject,
            text=draft.text,
            html=draft.html,
            attachments=[
                FileOut(
                    filename=one.filename,
                    content_type=one.content_type,
                    size_bytes=len(one.content),
                )
                for one in draft.attachments
            ],
        )


class CallOut(BaseModel):
    """The call of a tool that waits, or what came of it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    tool: str
    wish: dict[str, Any]
    state: str = Field(
        description="asked, agreed (a worker does it), started, done, failed, unknown or refused"
    )
    result: str = Field(description="What its agent was told")


class IncomingOut(BaseModel):
    """The mail that is answered or worked on, or that waits itself."""

    model_config = ConfigDict(from_attributes=True)

    delivery_id: str
    from_address: str
    subject: str
    text: str


class EditOut(BaseModel):
    """What somebody changed before it was decided."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    by: str
    from_digest: str
    to_digest: str
    difference: str


class ApprovalOut(BaseModel):
    """A draft, a call of a tool or a mail before its agent that waits for a yes, or did."""

    id: str
    kind: str = Field(description="draft, call or mail")
    state: str = Field(description="waiting, approved, rejected, expired or stale")
    agent_id: str | None
    agent: str | None = Field(
        description="Null for a mail that a rule holds and that would reach no agent without it"
    )
    thread_id: str | None
    reasons: list[str]
    digest: str
    draft: DraftOut | None
    call: CallOut | None
    incoming: IncomingOut | None
    assessment: dict[str, Any] | None
    edits: list[EditOut]
    created_at: datetime
    expires_at: datetime
    at_expiry: str = Field(description="What becomes of it then: reject or approve")
    decided_at: datetime | None
    decided_by: str | None
    decision: str
    outbound_id: str | None

    @classmethod
    def of(cls, one: Approval) -> ApprovalOut:
        """An approval as the API shows it."""
        return cls(
            id=one.id,
            kind=one.kind,
            state=one.state,
            agent_id=one.agent_id,
            agent=one.agent,
            thread_id=one.thread_id,
            reasons=list(one.reasons),
            digest=one.digest,
            draft=DraftOut.of(one.draft) if one.draft is not None else None,
            call=CallOut.model_validate(one.call) if one.call else None,
            incoming=IncomingOut.model_validate(one.incoming) if one.incoming else None,
            assessment=dict(one.assessment) if one.assessment is not None else None,
            edits=[EditOut.model_validate(each) for each in one.edits],
            created_at=one.created_at,
            expires_at=one.expires_at,
            at_expiry=one.at_expiry,
            decided_at=one.decided_at,
            decided_by=one.decided_by,
            decision=one.decision,
            outbound_id=one.outbound_id,
        )
