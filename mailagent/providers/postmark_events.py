"""What do Postmark's event webhooks say, in our words?

Source: Postmark "Bounce webhook" (with "Bounce types"), "Delivery", "Spam complaint", "Open",
"Click" and "Subscription change webhook", read 2026-11-21. A request is one event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mailagent.errors import Misconfigured
from mailagent.mail import Event, EventKind
from mailagent.mime import json_body
from mailagent.mime.json_body import JsonObject
from mailagent.providers.postmark_access import Access, answer
from mailagent.providers.postmark_message import MESSAGE_ID_KEY, header_id
from mailagent.webhook import Answered, WebhookRequest, WebhookSettings

__all__ = ["PostmarkEvents"]

_BOUNCES: Mapping[str, EventKind] = {
    "HardBounce": EventKind.BOUNCED_HARD,
    "Transient": EventKind.DELAYED,
    "Unsubscribe": EventKind.UNSUBSCRIBED,
    "Subscribe": EventKind.UNKNOWN,
    # The mail arrived and a machine answered: no failure, and no word of a person's.
    "AutoResponder": EventKind.UNKNOWN,
    "AddressChange": EventKind.UNKNOWN,
    "ChallengeVerification": EventKind.UNKNOWN,
    "DnsError": EventKind.BOUNCED_SOFT,
    "SpamNotification": EventKind.BLOCKED,
    "OpenRelayTest": EventKind.UNKNOWN,
    "Unknown": EventKind.BOUNCED_SOFT,
    "SoftBounce": EventKind.BOUNCED_SOFT,
    "VirusNotification": EventKind.BLOCKED,
    "BadEmailAddress": EventKind.BOUNCED_HARD,
    "SpamComplaint": EventKind.COMPLAINED,
    "ManuallyDeactivated": EventKind.REJECTED,
    "Unconfirmed": EventKind.REJECTED,
    "Blocked": EventKind.BLOCKED,
    "SMTPApiError": EventKind.REJECTED,
    "InboundError": EventKind.UNKNOWN,
    "DMARCPolicy": EventKind.BLOCKED,
    "TemplateRenderingFailed": EventKind.REJECTED,
}
_TIMES: Mapping[str, str] = {
    "Bounce": "BouncedAt",
    "SpamComplaint": "BouncedAt",
    "Delivery": "DeliveredAt",
    "Open": "ReceivedAt",
    "Click": "ReceivedAt",
    "SubscriptionChange": "ChangedAt",
}
_KINDS: Mapping[str, EventKind] = {
    "Delivery": EventKind.DELIVERED,
    "SpamComplaint": EventKind.COMPLAINED,
    "Open": EventKind.OPENED,
    "Click": EventKind.CLICKED,
}
_SUPPRESSIONS: Mapping[tuple[str, str], EventKind] = {
    ("HardBounce", "Recipient"): EventKind.BOUNCED_HARD,
    ("SpamComplaint", "Recipient"): EventKind.COMPLAINED,
    ("ManualSuppression", "Recipient"): EventKind.UNSUBSCRIBED,
}
"""By reason and origin; what the account's owner did at Postmark is no word of the recipient's."""
_NO_MESSAGE = "00000000-0000-0000-0000-000000000000"
_NOT_KEPT = frozenset({"Content"})
"""The bounce as it came, the mail itself in it."""


class PostmarkEvents:
    """`/webhooks/email/postmark`."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._access = Access(settings)

    @property
    def missing(self) -> Misconfigured | None:
        return self._access.missing

    async def events(self, request: WebhookRequest) -> Sequence[Event]:
        """The one event of a request."""
        self._access.check(request)
        told = json_body.read(request.body)
        if "RecordType" not in told and "OriginalRecipient" in told:
            raise _misdirected()
        record = told.filled("RecordType", at_most=100)
        if record == "Inbound":
            raise _misdirected()
        return [_event(record, told, request.received_at)]

    def answer(self, answered: Answered) -> int:
        return answer(answered)


def _misdirected() -> Misconfigured:
    return Misconfigured(
        "webhook", "Postmark sends mail here: set the inbound webhook's URL to /webhook/postmark"
    )


def _event(record: str, told: JsonObject, now: datetime) -> Event:
    kind, detail = _meaning(record, told)
    at = _time(told, _TIMES[record]) if record in _TIMES else None
    message_id = told.filled("MessageID", at_most=200)
    recipient = "Email" if "Email" in told else "Recipient"
    address = told.filled(recipient, at_most=320)
    return Event(
        source="postmark",
        source_event_id=_id(record, told, message_id, address, at),
        kind=kind,
        at=at or now,
        recipient=address,
        message_ids=_names(told, message_id),
        detail=detail,
        raw={
            name: json_body.storable(value)
            for name, value in told.members.items()
            if name not in _NOT_KEPT
        },
    )


def _meaning(record: str, told: JsonObject) -> tuple[EventKind, str]:
    match record:
        case "Bounce":
            word = told.filled("Type", at_most=100)
            kind = _BOUNCES.get(word, EventKind.UNKNOWN)
            if kind is EventKind.BOUNCED_SOFT and told.members.get("Inactive") is True:
                kind = EventKind.BOUNCED_HARD  # Postmark itself writes to it no more.
            return kind, _words(word, told.optional("Description"), told.optional("Details"))
        case "SubscriptionChange":
            reason, origin = told.optional("SuppressionReason"), told.optional("Origin")
            if told.members.get("SuppressSending") is not True:
                return EventKind.UNKNOWN, _words("reactivated by", origin)
            kind = _SUPPRESSIONS.get((reason, origin), EventKind.UNKNOWN)
            return kind, _words(reason, "by", origin)
        case "Click":
            return EventKind.CLICKED, told.optional("OriginalLink")
        case _:
            word = "" if record in _KINDS else record
            kind = _KINDS.get(record, EventKind.UNKNOWN)
            return kind, _words(word, told.optional("Details"))


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _time(told: JsonObject, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(told.filled(name, at_most=50))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise told.wrong(name, "is no time") from error


def _id(record: str, told: JsonObject, message_id: str, address: str, at: datetime | None) -> str:
    """Bounces are numbered; of others the same mail, recipient, moment and link is one event."""
    if record in ("Bounce", "SpamComplaint"):
        return f"{record}:{told.whole_number('ID')}"[:255]
    named = (message_id, address.lower(), at, told.optional("OriginalLink"))
    return f"{record}:{hashlib.sha256(repr(named).encode()).hexdigest()[:40]}"[:255]


def _names(told: JsonObject, message_id: str) -> tuple[str, ...]:
    ours = told.object("Metadata").optional(MESSAGE_ID_KEY)
    by_postmark = () if message_id == _NO_MESSAGE else (message_id, header_id(message_id))
    return (*by_postmark, *((ours,) if ours else ()))
