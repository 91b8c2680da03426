"""What became of a mail that Amazon SES sent?

SES tells it in two shapes that are nearly one: notifications of an identity (`notificationType`)
and events of a configuration set (`eventType`). Who has switched on both is told everything twice,
so an event is named by what happened and not by the message that says so. Sources: Amazon SES
Developer Guide, "Contents of notifications for Amazon SES", "Contents of event data that Amazon SES
publishes to Amazon SNS" (read 2026-11).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AwareDatetime, StringConstraints

from mailagent.errors import Malformed, Misconfigured
from mailagent.mail import Event, EventKind
from mailagent.providers.ses_answer import seen_as
from mailagent.providers.ses_json import Shape, members, shaped
from mailagent.providers.ses_sns import Notification, Sns, status
from mailagent.webhook import Answered, Fetch, WebhookRequest, WebhookSettings

__all__ = ["WORDS", "SesReporter"]

WORDS: Mapping[tuple[str, ...], EventKind | None] = {
    ("Send",): None,  # the API's answer has said so already
    ("Delivery",): EventKind.DELIVERED,
    ("DeliveryDelay",): EventKind.DELAYED,
    ("Bounce", "Permanent", "General"): EventKind.BOUNCED_HARD,
    ("Bounce", "Permanent", "NoEmail"): EventKind.BOUNCED_HARD,
    # Of SES's own lists: nothing was sent, so the address has said nothing.
    ("Bounce", "Permanent", "Suppressed"): EventKind.REJECTED,
    ("Bounce", "Permanent", "OnAccountSuppressionList"): EventKind.REJECTED,
    ("Bounce", "Permanent", "UnsubscribedRecipient"): EventKind.REJECTED,
    # A word newer than this table: it came back, and no address is dead on our guess.
    ("Bounce", "Permanent"): EventKind.BOUNCED_SOFT,
    # Its "General" is an out-of-office note, too.
    ("Bounce", "Transient"): EventKind.BOUNCED_SOFT,
    ("Bounce", "Transient", "MessageTooLarge"): EventKind.BLOCKED,
    ("Bounce", "Transient", "ContentRejected"): EventKind.BLOCKED,
    ("Bounce", "Transient", "AttachmentRejected"): EventKind.BLOCKED,
    ("Bounce", "Undetermined"): EventKind.BOUNCED_SOFT,
    ("Complaint",): EventKind.COMPLAINED,
    ("Complaint", "OnAccountSuppressionList"): EventKind.REJECTED,
    ("Complaint", "not-spam"): EventKind.UNKNOWN,  # the opposite of a complaint
    ("Reject",): EventKind.REJECTED,
    ("Rendering Failure",): EventKind.REJECTED,
    ("Open",): EventKind.OPENED,
    ("Click",): EventKind.CLICKED,
    ("Subscription", "unsubscribeAll"): EventKind.UNSUBSCRIBED,
}
"""SES's words, from the type to the subtype; the longest beginning that is listed counts."""

_WHOM = {
    "Bounce": "bounce.bouncedRecipients",
    "Complaint": "complaint.complainedRecipients",
    "Delivery": "delivery.recipients",
    "DeliveryDelay": "deliveryDelay.delayedRecipients",
}
_AT_MOST = 255


class _Header(Shape):
    name: str
    value: str


class _CommonHeaders(Shape):
    message_id: str | None = None


class _Mail(Shape):
    timestamp: AwareDatetime
    message_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
    source_arn: str | None = None
    destination: tuple[str, ...] = ()
    headers: tuple[_Header, ...] = ()
    common_headers: _CommonHeaders | None = None


class _Party(Shape):
    email_address: Annotated[str, StringConstraints(min_length=1)]
    status: str | None = None
    diagnostic_code: str | None = None


class _Preferences(Shape):
    unsubscribe_all: bool = False


class _Detail(Shape):
    """The members of every kind of detail; each has some of them."""

    timestamp: AwareDatetime | None = None
    feedback_id: str = ""
    bounce_type: str | None = None
    bounce_sub_type: str | None = None
    complaint_sub_type: str | None = None
    complaint_feedback_type: str | None = None
    delay_type: str | None = None
    bounced_recipients: tuple[_Party, ...] = ()
    complained_recipients: tuple[_Party, ...] = ()
    delayed_recipients: tuple[_Party, ...] = ()
    recipients: tuple[str, ...] = ()
    smtp_response: str | None = None
    reason: str | None = None
    error_message: str | None = None
    link: str | None = None
    new_topic_preferences: _Preferences | None = None

    def words(self, type_: str) -> tuple[str, ...]:
        match type_:
            case "Bounce":
                words = (self.bounce_type, self.bounce_sub_type)
            case "Complaint":
                words = (self.complaint_sub_type or self.complaint_feedback_type, None)
            case "Subscription":
                away = self.new_topic_preferences and self.new_topic_preferences.unsubscribe_all
                words = ("unsubscribeAll" if away else None, None)
            case _:
                words = (self.delay_type, None)
        return (type_, *(word for word in words if word))

    def text(self, party: _Party | None) -> str:
        """What a person reads of it."""
        told = (party.status, party.diagnostic_code) if party else ()
        own = (self.smtp_response, self.reason, self.error_message, self.link)
        return " ".join(word for word in (*told, *own) if word)


class SesReporter:
    """The webhook that tells of sent mail: `/webhooks/email/ses`."""

    def __init__(self, settings: WebhookSettings, fetch: Fetch) -> None:
        self._sns = Sns(settings, fetch)

    @property
    def missing(self) -> Misconfigured | None:
        """See `webhook.Reports`."""
        return self._sns.missing

    async def events(self, request: WebhookRequest) -> Sequence[Event]:
        """See `webhook.Reports`: one for each recipient, none for a confirmation or a test."""
        notification = await self._sns.read(request)
        if notification is None or notification.is_test:
            return []
        said = members("Message", notification.message)
        match said.get("eventType", said.get("notificationType")):
            case "AmazonSnsSubscriptionSucceeded":
                return []
            case "Received":
                raise Misconfigured(
                    "SNS subscription",
                    f"{notification.topic} brings received mail to /webhooks/email/ses: subscribe "
                    "/webhook/ses to it, and delete this subscription",
                )
            case str(type_) if type_:
                return _events(type_, said, notification)
            case _:
                raise Malformed("Message.eventType", "is missing")

    def answer(self, answered: Answered) -> int:
        """See `ses_sns.status`."""
        return status(answered)


def _events(type_: str, said: Mapping[str, Any], notification: Notification) -> Sequence[Event]:
    mail = shaped(_Mail, said.get("mail"), "Message.mail")
    key = "failure" if type_ == "Rendering Failure" else type_[:1].lower() + type_[1:]
    known = (type_,) in WORDS or type_ in ("Bounce", "Subscription")
    detail = shaped(_Detail, said.get(key) if known else {}, f"Message.{key}")
    words = detail.words(type_)
    kind = _kind(words)
    if kind is None:
        return []
    at = detail.timestamp or mail.timestamp
    happened = detail.feedback_id or f"{mail.message_id}:{type_}:{at.isoformat()}"
    raw = _storable({name: value for name, value in said.items() if name != "mail"})
    return [
        Event(
            source="ses",
            source_event_id=_named(happened, recipient),
            kind=kind,
            at=at,
            recipient=recipient,
            message_ids=_message_ids(mail, notification),
            detail=_storable(" ".join(("/".join(words), detail.text(party))).strip()),
            raw=raw,
        )
        for recipient, party in _about(type_, mail, detail)
    ]


def _kind(words: tuple[str, ...]) -> EventKind | None:
    for length in range(len(words), 0, -1):
        if words[:length] in WORDS:
            return WORDS[words[:length]]
    return EventKind.UNKNOWN


def _about(type_: str, mail: _Mail, detail: _Detail) -> Iterable[tuple[str | None, _Party | None]]:
    """The recipients that an event is about; None is nobody by name."""
    match type_:
        case "Bounce":
            parties = detail.bounced_recipients
        case "Complaint":
            parties = detail.complained_recipients
        case "DeliveryDelay":
            parties = detail.delayed_recipients
        case "Delivery":
            parties = _parties(detail.recipients)
        case "Reject" | "Rendering Failure":
            parties = _parties(mail.destination)
        case _:
            # A mail to several is one mail to SES: it cannot tell who of them opened it.
            parties = _parties(mail.destination) if len(mail.destination) == 1 else ()
            if not parties:
                return [(None, None)]
    if not parties:
        raise Malformed(f"Message.{_WHOM.get(type_, 'mail.destination')}", "names no recipient")
    return [(_storable(party.email_address), party) for party in parties]


def _parties(addresses: Iterable[str]) -> tuple[_Party, ...]:
    return tuple(shaped(_Party, {"emailAddress": one}, "Message.recipients") for one in addresses)


def _message_ids(mail: _Mail, notification: Notification) -> tuple[str, ...]:
    """SES's id, the Message-ID it made of it, and ours."""
    arn = (mail.source_arn or "").split(":")
    region = arn[3] if len(arn) > 4 and arn[3] else notification.region
    ours = [one.value.strip() for one in mail.headers if one.name.lower() == "message-id"]
    if mail.common_headers and mail.common_headers.message_id:
        ours.append(mail.common_headers.message_id.strip())
    named = (mail.message_id, seen_as(mail.message_id, region), *map(_storable, ours))
    return tuple(dict.fromkeys(name for name in named if name))


def _named(happened: str, recipient: str | None) -> str:
    """Short enough to be a key, and another one for each recipient."""
    whose = hashlib.sha256((recipient or "").lower().encode()).hexdigest()[:16]
    return f"{_storable(happened)[: _AT_MOST - 17]}:{whose}"


def _storable(value: Any) -> Any:
    """Without NUL and unpaired surrogates, which no database takes and any mail server may say."""
    match value:
        case str():
            return value.replace("\x00", "").encode("utf-8", "replace").decode()
        case dict():
            return {_storable(name): _storable(one) for name, one in value.items()}
        case list():
            return [_storable(one) for one in value]
        case _:
            return value
