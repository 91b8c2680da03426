"""What does Mailgun tell of a mail we sent? One table of its words.

Source: Mailgun "Webhooks", "Events", "Tracking failures" (read 2026-11). `severity` says whether a
`failed` is the end; `reason` and the far side's status and words say what it is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mailagent.errors import Misconfigured
from mailagent.mail import Event, EventKind, FailedRecipient
from mailagent.mime import form, json_body
from mailagent.mime.failure_cause import cause_of, precise_status
from mailagent.mime.json_body import JsonObject
from mailagent.providers.mailgun_signature import (
    Signature,
    is_event,
    missing_key,
    posted_event,
    status,
)
from mailagent.webhook import Answered, WebhookRequest

__all__ = ["WORDS", "MailgunReporter"]

WORDS: Mapping[tuple[str, ...], EventKind] = {
    ("delivered",): EventKind.DELIVERED,
    ("opened",): EventKind.OPENED,
    ("clicked",): EventKind.CLICKED,
    ("unsubscribed",): EventKind.UNSUBSCRIBED,
    ("complained",): EventKind.COMPLAINED,
    ("rejected",): EventKind.REJECTED,
    ("failed", "temporary"): EventKind.DELAYED,
    # A reason that is not listed is read from the far side's answer.
    ("failed", "permanent", "suppress-bounce"): EventKind.REJECTED,
    ("failed", "permanent", "suppress-complaint"): EventKind.REJECTED,
    ("failed", "permanent", "suppress-unsubscribe"): EventKind.REJECTED,
    ("failed", "permanent", "old"): EventKind.BOUNCED_SOFT,
    ("failed", "permanent", "espblock"): EventKind.BLOCKED,
}
"""By `event`, `severity`, `reason`. Without `accepted` and `stored`: they are no verdict."""
_CHARACTERS = 500
_YEAR_2286 = 10_000_000_000


class MailgunReporter:
    """The webhook that tells what became of mail: `/webhooks/email/mailgun`."""

    def __init__(self, signing_key: str) -> None:
        self._key = signing_key

    @property
    def missing(self) -> Misconfigured | None:
        """See `webhook.Reports`."""
        return missing_key(self._key)

    async def events(self, request: WebhookRequest) -> Sequence[Event]:
        """The one event of a POST. Raises Unauthentic, Malformed; TransientFailure for a stale
        signature; Misconfigured for a mail, which has an address of its own.
        """
        if not is_event(request):
            posted = form.read(request.body, request.header("content-type"))
            self._authenticate(Signature.of_form(posted), request)
            raise Misconfigured(
                "/webhooks/email/mailgun",
                "a Mailgun route sends mail here: set its action to "
                'forward("…/webhook/mailgun/mime")',
            )
        body = posted_event(request)
        self._authenticate(Signature.of_event(body), request)
        return [_event(body.object("event-data"))]

    def answer(self, answered: Answered) -> int:
        """See `webhook.Reports`."""
        return status(answered)

    def _authenticate(self, signature: Signature, request: WebhookRequest) -> None:
        if self._key:
            signature.check(self._key, request.received_at)


def _event(data: JsonObject) -> Event:
    word, at = data.filled("event"), _time(data)
    message_id = data.object("message").object("headers").optional("message-id").strip("<> ")
    return Event(
        source="mailgun",
        # Mailgun's id names an event within its day.
        source_event_id=f"{at:%Y-%m-%d}:{data.filled('id', at_most=200)}",
        kind=_kind(word, data),
        at=at,
        recipient=data.optional("recipient")[:320] or None,
        message_ids=(f"<{message_id}>",) if message_id else (),
        detail=_detail(data),
        raw=json_body.storable(data.members),
    )


def _kind(word: str, data: JsonObject) -> EventKind:
    if word != "failed":
        return WORDS.get((word,), EventKind.UNKNOWN)
    severity = data.optional("severity")
    if severity != "permanent":
        return WORDS.get((word, severity), EventKind.UNKNOWN)
    listed = WORDS.get((word, severity, data.optional("reason")))
    return listed or _failure(data.object("delivery-status"))


def _failure(answer: JsonObject) -> EventKind:
    """What the far side's last word is about; a dead address only when it says so."""
    words = _words(answer)
    status = answer.optional("enhanced-code") or precise_status((words,))
    cause = cause_of(status, words)
    if FailedRecipient(None, "failed", status, words, cause).hard:
        return EventKind.BOUNCED_HARD
    return EventKind.BLOCKED if cause == "policy" else EventKind.BOUNCED_SOFT


def _words(answer: JsonObject) -> str:
    """The far side's answer, e.g. `550 5.1.1 no such user`."""
    code = answer.whole_number("code") if "code" in answer else ""
    said = (str(code), answer.optional("message"), answer.optional("description"))
    return " ".join(word for word in said if word)


def _detail(data: JsonObject) -> str:
    """In words: Mailgun's reason, the far side's answer, the link that was followed."""
    said = (
        data.optional("reason"),
        _words(data.object("delivery-status")),
        data.object("reject").optional("reason"),
        data.optional("url"),
    )
    return ": ".join(one for one in said if one)[:_CHARACTERS]


def _time(data: JsonObject) -> datetime:
    value = data.members.get("timestamp")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _YEAR_2286:
        raise data.wrong("timestamp", "is no time in seconds")
    return datetime.fromtimestamp(value, UTC)
