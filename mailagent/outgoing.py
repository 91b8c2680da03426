"""Which values describe a mail that goes out, and what may become of it?

`Outgoing` is frozen before it is approved or sent: `digest` is what an approval is bound to. The
provider renders it; MIME, DKIM and return path belong to the provider that needs them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, Protocol

from mailagent.mail import Address

__all__ = [
    "Assessment",
    "Committing",
    "Fault",
    "HandedOver",
    "Handoff",
    "Later",
    "Outgoing",
    "OutgoingAttachment",
    "Recipient",
    "Refused",
    "Reply",
    "Sends",
    "Sent",
    "Sentiment",
    "Silence",
    "Urgency",
]


Fault = Literal["message", "account", "recipient"]
"""Whose fault a refusal is; only an account's may move the mail to another account."""


@dataclass(frozen=True, slots=True)
class OutgoingAttachment:
    """A file that goes with a mail."""

    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None
    """Set for an inline image that the HTML names by `cid:`; without angle brackets."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One mail as it will be sent: complete, and the same whichever provider carries it."""

    message_id: str
    """Ours, with angle brackets; exists before the first attempt."""
    date: datetime
    from_: Address
    to: tuple[Address, ...]
    subject: str
    text: str
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    html: str | None = None
    attachments: tuple[OutgoingAttachment, ...] = ()
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    """Oldest first, with angle brackets, our own earlier ids included."""
    auto_submitted: Literal["auto-replied", "auto-generated"] | None = None
    """RFC 3834 §5; None for a mail that a person wrote."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further fields, e.g. `X-Mailagent-Loop`."""
    raw: bytes | None = None
    """The mail itself, where it was handed in as MIME: it is sent as it stands, and the other
    fields tell what it says. Only accounts that carry MIME may be given it."""

    def digest(self) -> str:
        """SHA-256 (hex) over every field: two values with one digest are the same mail."""
        named = {"to": self.to, "cc": self.cc, "bcc": self.bcc, "reply_to": self.reply_to}
        said: dict[str, Any] = {
            **_fields(self),
            "date": self.date.isoformat(),
            "from_": _fields(self.from_),
            **{name: [_fields(one) for one in those] for name, those in named.items()},
            "attachments": [
                {**_fields(one), "content": _sha256(one.content)} for one in self.attachments
            ],
        }
        if self.raw is None:
            del said["raw"]
        else:
            said["raw"] = _sha256(self.raw)
        return _sha256(json.dumps(said, sort_keys=True).encode())


def _fields(value: Outgoing | Address | OutgoingAttachment) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in fields(value)}


def _sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient of one outbound mail."""

    id: str
    address: str
    return_path: str | None = None
    """The opaque VERP address of this recipient; None sends with the provider's own."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The far side took responsibility. `provider_id` is its name for the mail, if it has one."""

    provider_id: str | None
    response: str
    message_ids: tuple[str, ...] = ()
    """Message-IDs under which recipients may see it, when the provider replaces ours."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The far side said no for good."""

    reason: str
    about: Fault
    code: str | None = None
    suppressed: bool = False
    """The address is on the far side's own list: it writes there no more until a person lets it."""


@dataclass(frozen=True, slots=True)
class Later:
    """The far side said "not now"."""

    reason: str
    code: str | None = None
    retry_at: datetime | None = None


HandedOver = Mapping[Recipient, Sent | Refused | Later]


class Committing(Protocol):
    """Awaited once, with the recipients still accepted, just before the first byte that can
    commit the far side (the HTTP request, the DATA content). When it raises, nothing may be sent.
    """

    def __call__(self, recipients: Sequence[Recipient], /) -> Awaitable[None]: ...


class Sends(Protocol):
    """A provider account that can carry mail.

    Raises TransientFailure and PermanentFailure when the whole hand-over failed before the far side
    took anything, UncertainDelivery when the content may have been taken.
    """

    @property
    def name(self) -> str: ...

    @property
    def recipients_at_once(self) -> int:
        """How many recipients one `send` may be given; 1 where each has its own return path."""
        ...

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver: ...


Sentiment = Literal["positive", "neutral", "negative", "mixed"]
Urgency = Literal["low", "normal", "high", "urgent"]


@dataclass(frozen=True, slots=True)
class Assessment:
    """How an agent read the mail: shown to people, and never a permission."""

    intent: str = ""
    """A few words, the agent's own: `refund request`."""
    sentiment: Sentiment | None = None
    urgency: Urgency | None = None
    topics: tuple[str, ...] = ()
    summary: str = ""
    reasoning: str = ""
    """Why it decided as it did; never sent."""
    confidence: float | None = None
    """0 to 1, how sure it is of its decision."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The agent answers. Headers are not its to choose, and recipients only by `to`."""

    text: str
    html: str | None = None
    attachments: tuple[OutgoingAttachment, ...] = ()
    sources: tuple[str, ...] = ()
    """Names of documents that the answer rests on."""
    to: tuple[Address, ...] = ()
    """Whom to write to instead of the mail's writer: a forward. The policy decides whether."""
    ask: str | None = None
    """Why a person must look before it goes out; None leaves that to the policy."""
    confidence: float | None = None
    """0 to 1; below the workspace's thresholds a person is asked. None: the agent has no idea of
    it, and no threshold applies."""
    assessment: Assessment | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """The agent has decided that no answer is due."""

    reason: str
    wake_at: datetime | None = None
    """Aware; when it wants to look at the thread again if nothing has come by then."""
    assessment: Assessment | None = None


@dataclass(frozen=True, slots=True)
class Handoff:
    """A person must answer. `notice` is sent to the writer first, when set."""

    reason: str
    notice: str | None = None
    assessment: Assessment | None = None
