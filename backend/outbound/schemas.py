"""How do mails that go out look in the API?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.outbound.arrival import Arrival
from backend.outbound.listing import OutboundMail
from backend.outbound.trial import Trial
from backend.outbound.writing import Draft, Queued, mailboxes
from mailagent.errors import Malformed
from mailagent.flow.values import outgoing_to_json
from mailagent.outgoing import OutgoingAttachment

__all__ = [
    "AttachmentIn",
    "MessageIn",
    "OutboundDetailOut",
    "OutboundOut",
    "QueuedOut",
    "TrialIn",
    "TrialOut",
    "attachments_of",
]


class AttachmentIn(BaseModel):
    """A file to send."""

    model_config = ConfigDict(extra="forbid")

    filename: str
    content_type: str = "application/octet-stream"
    content_base64: str
    content_id: str | None = Field(
        default=None, description="For an image that the HTML names by `cid:`"
    )


class MessageIn(BaseModel):
    """A new mail. An address is `a@b.example` or `Name <a@b.example>`."""

    model_config = ConfigDict(extra="forbid")

    to: list[str] = Field(default_factory=list, examples=[["Ann <ann@example.org>"]])
    cc: list[str] = Field(default_factory=list)
    bcc: list[str] = Field(default_factory=list)
    subject: str
    text: str
    html: str | None = None
    attachments: list[AttachmentIn] = Field(default_factory=list)
    reply_to: list[str] = Field(default_factory=list)
    headers: dict[str, str] = Field(default_factory=dict)

    def draft(self) -> Draft:
        """What it says, checked as far as it can be by itself. Raises Malformed."""
        return Draft(
            to=mailboxes("to", self.to),
            cc=mailboxes("cc", self.cc),
            bcc=mailboxes("bcc", self.bcc),
            subject=self.subject,
            text=self.text,
            html=self.html,
            attachments=attachments_of("attachments", self.attachments),
            reply_to=mailboxes("reply_to", self.reply_to),
            headers=tuple(self.headers.items()),
        )


class QueuedOut(BaseModel):
    """A mail on its way; follow it at `…/outbound/{id}`."""

    model_config = ConfigDict(serialize_by_alias=True)

    id: str
    message_id: str
    thread_id: str | None
    from_: str = Field(alias="from")

    @classmethod
    def of(cls, queued: Queued) -> QueuedOut:
        """A queued mail in the API's words."""
        return cls.model_validate(
            {
                "id": queued.id,
                "message_id": queued.message_id,
                "thread_id": queued.thread_id,
                "from": queued.from_address,
            }
        )


class TrialIn(BaseModel):
    """A test mail: exactly these three."""

    model_config = ConfigDict(extra="forbid")

    to: str
    subject: str
    body: str


class ArrivalOut(BaseModel):
    """How a mail to one of our addresses came back, and what it proved of its sender."""

    delivery_id: str
    came_by: str
    judged_by: str
    spf: str
    dkim: list[str]
    dmarc: str
    sentence: str

    @classmethod
    def of(cls, arrival: Arrival) -> ArrivalOut:
        """An arrival in the words of RFC 8601; DKIM has one for each signature."""
        evidence = arrival.evidence
        return cls(
            delivery_id=arrival.delivery_id,
            came_by=arrival.came_by,
            judged_by=evidence.judged_by,
            spf=evidence.spf.result,
            dkim=[one.result for one in evidence.dkim],
            dmarc=evidence.dmarc.result,
            sentence=arrival.sentence,
        )


class TrialOut(BaseModel):
    """Who carries a test mail, and what became of it so far. `again` is where to ask later."""

    model_config = ConfigDict(serialize_by_alias=True)

    id: str
    message_id: str
    from_: str = Field(alias="from")
    to: str
    account: str | None
    state: str
    reason: str
    captured: bool
    ours: bool = False
    arrival: ArrivalOut | None = None
    again: str = ""

    @classmethod
    def of(cls, trial: Trial) -> TrialOut:
        """A trial in the API's words."""
        return cls.model_validate(
            {
                "id": trial.id,
                "message_id": trial.message_id,
                "from": trial.from_address,
                "to": trial.to,
                "account": trial.account,
                "state": trial.state,
                "reason": trial.reason,
                "captured": trial.captured,
                "ours": trial.ours,
                "arrival": None if trial.arrival is None else ArrivalOut.of(trial.arrival),
                "again": f"/api/v1/email/test/{trial.id}",
            }
        )


class RecipientOut(BaseModel):
    """One envelope recipient and where it stands."""

    id: str
    address: str
    field: str
    state: str
    reason: str
    attempts: int
    account: str | None
    provider_id: str | None
    sent_at: datetime | None
    not_before: datetime


class OutboundOut(BaseModel):
    """One outbound mail in a list."""

    id: str
    message_id: str
    from_address: str
    subject: str
    state: str
    purpose: str
    author: str
    agent_id: str | None
    thread_id: str | None
    answers_delivery_id: str | None
    created_at: datetime
    expires_at: datetime
    recipients: list[RecipientOut]


class HandOverOut(BaseModel):
    """One attempt to give some recipients to one account, with the far side's answer."""

    id: str
    account: str
    why_account: str
    recipient_ids: list[str]
    outcome: str
    response: str
    code: str | None
    started_at: datetime
    finished_at: datetime | None


class EventOut(BaseModel):
    """One report about a sent mail."""

    id: str
    source: str
    kind: str
    recipient: str | None
    recipient_id: str | None
    detail: str
    at: datetime
    raw: dict[str, Any]


class OutboundDetailOut(OutboundOut):
    """One outbound mail whole; `outgoing` is what was frozen, `digest` its SHA-256."""

    digest: str
    outgoing: dict[str, Any]
    hand_overs: list[HandOverOut]
    events: list[EventOut]

    @classmethod
    def of(cls, mail: OutboundMail) -> OutboundDetailOut:
        """A mail in the API's words."""
        summary = OutboundOut.model_validate(mail.summary, from_attributes=True)
        return cls(
            **summary.model_dump(),
            digest=mail.digest,
            outgoing=outgoing_to_json(mail.outgoing),
            hand_overs=[
                HandOverOut.model_validate(one, from_attributes=True) for one in mail.hand_overs
            ],
            events=[EventOut.model_validate(one, from_attributes=True) for one in mail.events],
        )


def attachments_of(field: str, given: Sequence[AttachmentIn]) -> tuple[OutgoingAttachment, ...]:
    """Files as they are sent. Raises Malformed, naming the one of `field` that is no base64."""
    return tuple(_file(f"{field}.{at}", one) for at, one in enumerate(given))


def _file(field: str, given: AttachmentIn) -> OutgoingAttachment:
    try:
        content = base64.b64decode(given.content_base64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{field}.content_base64", "is no base64") from error
    return OutgoingAttachment(given.filename, given.content_type, content, given.content_id)
