"""How do mails that came in look in the API?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.inboxes.contents import Detail, ThreadView, authentication_fields
from backend.inboxes.listing import Item, Reply
from backend.inboxes.story import Story
from backend.inboxes.words import Status
from mailagent.flow.assessing import Assessed
from mailagent.flow.states import DeliveryState
from mailagent.mail import Address
from mailagent.outgoing import Sentiment, Urgency

__all__ = [
    "DeliveryOut",
    "EscalateIn",
    "ItemOut",
    "PriorityIn",
    "ReplyIn",
    "SentOut",
    "StoryOut",
    "ThreadOut",
]


class ReplyOut(BaseModel):
    """One answer to a mail."""

    id: str
    message_id: str
    in_reply_to: str | None
    state: str
    author: str
    text: str
    created_at: datetime

    @classmethod
    def of(cls, reply: Reply) -> ReplyOut:
        return cls.model_validate(reply, from_attributes=True)


class ClassificationOut(BaseModel):
    """How the agent read a mail."""

    intent: str
    sentiment: Sentiment | None
    urgency: Urgency | None
    topics: list[str]


class ItemOut(BaseModel):
    """One mail in a list: `status` in the words of Aexy's inbox, `state` and `reason` in ours.

    `classification`, `summary`, `suggested_response` and `confidence` are null until the agent has
    decided, and stay so for a processor that does not tell them.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    id: str
    agent_id: str | None
    from_: str = Field(alias="from")
    from_name: str
    to: str
    subject: str
    preview: str
    status: Status
    state: DeliveryState
    reason: str
    priority: Urgency
    priority_by: str | None = Field(description="Who set it; null: its agent")
    classification: ClassificationOut | None
    summary: str | None
    suggested_response: str | None
    confidence: float | None
    kind: str | None
    received_at: datetime
    held_until: datetime | None
    archived_at: datetime | None
    content_removed: str | None
    message_id: str | None
    thread_id: str | None
    replies: list[ReplyOut]

    @classmethod
    def of(cls, item: Item) -> ItemOut:
        """An item in the API's words."""
        return cls.model_validate(_fields(item))


class AddressOut(BaseModel):
    """A mailbox."""

    address: str
    name: str

    @classmethod
    def all(cls, mailboxes: tuple[Address, ...]) -> list[AddressOut]:
        return [cls(address=one.address, name=one.name) for one in mailboxes]


class AttachmentOut(BaseModel):
    """A file of a mail; its octets are at `…/attachments/{part}`."""

    part: str
    filename: str
    content_type: str
    size_bytes: int
    sha256: str
    content_id: str | None
    inline: bool


class ContentOut(BaseModel):
    """What the mail says. `html` is as it was sent: sanitise it before showing."""

    date: datetime | None
    from_: list[AddressOut] = Field(alias="from")
    to: list[AddressOut]
    cc: list[AddressOut]
    reply_to: list[AddressOut]
    in_reply_to: list[str]
    references: list[str]
    text: str
    written: str
    html: str | None
    is_forward: bool
    attachments: list[AttachmentOut]
    headers: list[tuple[str, str]]
    defects: list[str]


class DeliveryOut(ItemOut):
    """One mail whole. `content` and `authentication` are null while it has not been read."""

    mail_from: str | None
    source: str
    source_id: str
    origin: dict[str, Any]
    size_bytes: int
    sha256: str
    why_kind: str | None
    content: ContentOut | None
    authentication: dict[str, Any] | None

    @classmethod
    def of_detail(cls, detail: Detail) -> DeliveryOut:
        """A delivery in the API's words; `authentication.sentence` is for people."""
        evidence = None
        if detail.authentication is not None:
            evidence = {
                "sentence": detail.authentication_sentence,
                **authentication_fields(detail.authentication),
            }
        return cls.model_validate(
            {
                **_fields(detail.item),
                "mail_from": detail.mail_from,
                "source": detail.source,
                "source_id": detail.source_id,
                "origin": detail.origin,
                "size_bytes": detail.size_bytes,
                "sha256": detail.sha256,
                "why_kind": detail.why_kind,
                "content": _content(detail),
                "authentication": evidence,
            }
        )


class LineOut(BaseModel):
    """One thing that happened."""

    at: datetime
    step: str
    what: str
    why: str
    actor: str
    took_seconds: float | None
    since_start_seconds: float


class EndingOut(BaseModel):
    """Where one mail stands, what it means, what a person can do."""

    id: str
    state: str
    reason: str
    means: str
    next_steps: list[str]


class StoryOut(BaseModel):
    """What happened to a mail, line by line."""

    id: str
    title: str
    lines: list[LineOut]
    endings: list[EndingOut]
    delivery_ids: list[str]
    outbound_ids: list[str]

    @classmethod
    def of(cls, story: Story) -> StoryOut:
        """A story with its times as seconds."""
        return cls(
            id=story.id,
            title=story.title,
            lines=[
                LineOut(
                    at=line.at,
                    step=line.step,
                    what=line.what,
                    why=line.why,
                    actor=line.actor,
                    took_seconds=line.took.total_seconds() if line.took is not None else None,
                    since_start_seconds=line.since_start.total_seconds(),
                )
                for line in story.lines
            ],
            endings=[EndingOut.model_validate(end, from_attributes=True) for end in story.endings],
            delivery_ids=list(story.delivery_ids),
            outbound_ids=list(story.outbound_ids),
        )


class EntryOut(BaseModel):
    """One message of a conversation."""

    author: str
    by_us: bool
    at: datetime
    subject: str
    text: str


class ThreadOut(BaseModel):
    """A conversation, oldest entry first."""

    id: str
    agent_id: str
    subject: str
    related_thread_id: str | None
    created_at: datetime
    last_at: datetime
    entries: list[EntryOut]
    delivery_ids: list[str]

    @classmethod
    def of(cls, view: ThreadView) -> ThreadOut:
        """A thread with what both sides wrote."""
        return cls(
            id=view.thread.id,
            agent_id=view.agent_id,
            subject=view.thread.subject,
            related_thread_id=view.related_thread_id,
            created_at=view.created_at,
            last_at=view.last_at,
            entries=[
                EntryOut.model_validate(one, from_attributes=True) for one in view.thread.entries
            ],
            delivery_ids=list(view.delivery_ids),
        )


class ReplyIn(BaseModel):
    """A person's answer."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=1_000_000)


class PriorityIn(BaseModel):
    """How urgent a mail is to people."""

    model_config = ConfigDict(extra="forbid")

    priority: Urgency | None = Field(description="Null: as the agent reads it")


class EscalateIn(BaseModel):
    """Why a person must look."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field("", max_length=500)


class SentOut(BaseModel):
    """The mail that answers, on its way; follow it at `…/outbound/{id}`."""

    id: str | None = Field(description="Null when nothing leaves now")
    approval_id: str | None = Field(
        default=None, description="What waits for a person's yes, of an agent's own key's answer"
    )
    state: DeliveryState = Field(
        default=DeliveryState.ANSWERED, description="Of the mail that was answered"
    )
    reason: str = ""


def _fields(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "agent_id": item.agent_id,
        "from": item.from_address,
        "from_name": item.from_name,
        "to": item.recipient,
        "subject": item.subject,
        "preview": item.preview,
        "status": item.status,
        "state": item.state,
        "reason": item.reason,
        "priority": item.priority,
        "priority_by": item.priority_by,
        **_assessed(item.assessed),
        "kind": item.kind,
        "received_at": item.received_at,
        "held_until": item.held_until,
        "archived_at": item.archived_at,
        "content_removed": item.content_removed,
        "message_id": item.message_id,
        "thread_id": item.thread_id,
        "replies": [ReplyOut.of(one) for one in item.replies],
    }


def _assessed(assessed: Assessed | None) -> dict[str, Any]:
    if assessed is None:
        names = ("classification", "summary", "suggested_response", "confidence")
        return dict.fromkeys(names)
    said = assessed.assessment
    return {
        "classification": {
            "intent": said.intent,
            "sentiment": said.sentiment,
            "urgency": said.urgency,
            "topics": list(said.topics),
        },
        "summary": said.summary,
        "suggested_response": assessed.suggested or None,
        "confidence": said.confidence,
    }


def _content(detail: Detail) -> ContentOut | None:
    content = detail.content
    if content is None:
        return None
    return ContentOut.model_validate(
        {
            "date": content.date,
            "from": AddressOut.all(content.from_),
            "to": AddressOut.all(content.to),
            "cc": AddressOut.all(content.cc),
            "reply_to": AddressOut.all(content.reply_to),
            "in_reply_to": content.in_reply_to,
            "references": content.references,
            "text": content.text,
            "written": content.written,
            "html": content.html,
            "is_forward": content.is_forward,
            "attachments": [
                AttachmentOut.model_validate(one, from_attributes=True)
                for one in content.attachments
            ],
            "headers": content.headers,
            "defects": content.defects,
        }
    )
