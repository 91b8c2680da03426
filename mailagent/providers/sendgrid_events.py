"""What does SendGrid's Event Webhook say, in our words?

A request is an array of events, each with a name of its own. Source: Twilio SendGrid "Event Webhook
Reference", read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog

from mailagent.errors import Malformed, Misconfigured
from mailagent.mail import Event, EventKind
from mailagent.mime import json_body
from mailagent.mime.json_body import JsonObject
from mailagent.providers.sendgrid_message import MESSAGE_ID_KEY
from mailagent.providers.sendgrid_signature import Signature, answer
from mailagent.webhook import Answered, WebhookRequest, WebhookSettings

__all__ = ["SendGridEvents"]

log = structlog.get_logger()

_KINDS: Mapping[str, EventKind] = {
    "processed": EventKind.UNKNOWN,
    "deferred": EventKind.DELAYED,
    "delivered": EventKind.DELIVERED,
    "open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "spamreport": EventKind.COMPLAINED,
    "unsubscribe": EventKind.UNSUBSCRIBED,
    "group_unsubscribe": EventKind.UNSUBSCRIBED,
    "group_resubscribe": EventKind.UNKNOWN,
    "bounce": EventKind.BOUNCED_HARD,
    "dropped": EventKind.REJECTED,
}
_DROPPED: Mapping[str, EventKind] = {
    # What SendGrid knows of the address holds whoever sends; its other lists are of this account.
    "bounced address": EventKind.BOUNCED_HARD,
    "invalid": EventKind.BOUNCED_HARD,
}
_OF_NO_MAIL = ("account_status_change",)


class SendGridEvents:
    """`/webhooks/email/sendgrid`."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._signature = Signature(settings)

    @property
    def missing(self) -> Misconfigured | None:
        return self._signature.missing

    async def events(self, request: WebhookRequest) -> Sequence[Event]:
        """The events of a request.

        One that cannot be read is left out with a line in the log, so that it does not take the
        others with it; Malformed is raised when none can.
        """
        self._signature.check(request)
        if request.header("content-type").lower().startswith("multipart/"):
            raise Misconfigured(
                "webhook",
                "SendGrid's Inbound Parse sends mail here: set its URL to /webhook/sendgrid",
            )
        events: list[Event] = []
        problem: Malformed | None = None
        for told in json_body.read_array(request.body):
            if told.members.get("event") in _OF_NO_MAIL:
                continue
            try:
                events.append(_event(told))
            except Malformed as error:
                problem = error
                log.warning("sendgrid.event_left_out", problem=str(error))
        if problem is not None and not events:
            raise problem
        return events

    def answer(self, answered: Answered) -> int:
        return answer(answered)


def _event(told: JsonObject) -> Event:
    word = told.filled("event", at_most=100)
    return Event(
        source="sendgrid",
        source_event_id=told.filled("sg_event_id", at_most=255),
        kind=_kind(word, told),
        at=_time(told),
        recipient=told.filled("email", at_most=320),
        message_ids=tuple(dict.fromkeys(_names(told))),
        detail=_detail(word, told),
        raw={name: json_body.storable(value) for name, value in told.members.items()},
    )


def _kind(word: str, told: JsonObject) -> EventKind:
    if word == "bounce":
        if told.optional("type").lower() == "blocked":
            return EventKind.BLOCKED
        is_soft = told.optional("status").startswith("4")
        return EventKind.BOUNCED_SOFT if is_soft else EventKind.BOUNCED_HARD
    if word == "dropped":
        return _DROPPED.get(told.optional("reason").strip().lower(), EventKind.REJECTED)
    return _KINDS.get(word, EventKind.UNKNOWN)


def _detail(word: str, told: JsonObject) -> str:
    known = _KINDS.get(word, EventKind.UNKNOWN) is not EventKind.UNKNOWN
    parts = ["" if known else word, told.optional("status"), told.optional("reason")]
    parts += [told.optional("response"), told.optional("url")]
    if told.members.get("sg_machine_open") is True:
        parts.append("by a machine")
    return " ".join(part for part in parts if part)


def _time(told: JsonObject) -> datetime:
    try:
        return datetime.fromtimestamp(told.whole_number("timestamp"), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise told.wrong("timestamp", "is no time") from error


_PREFIX = re.compile(r"(.+?)\.(?:recvd|filter)[^.]*[-.]")


def _names(told: JsonObject) -> list[str]:
    """Ours as it was given along, SendGrid's as the send was answered, that of the header."""
    names = [told.optional(MESSAGE_ID_KEY)]
    if full := told.optional("sg_message_id"):
        # `<X-Message-Id>.recvd-…` or `.filter…`; old ids have dots of their own.
        found = _PREFIX.match(full)
        names.append(found[1] if found else full.partition(".")[0])
    if header := told.optional("smtp-id").strip():
        names.append(header if header.startswith("<") else f"<{header}>")
    return [name for name in names if name]
