"""Is this POST of Mailgun's making, and is it fresh?

Source: Mailgun "Securing webhooks" (read 2026-11). The signature covers neither body nor recipient:
whoever has seen one timestamp, token and signature could post anything under them. So a token is
good for one content (`Inbound.replay_token`), and a secret in the path should stand beside it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from mailagent.errors import Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Replayed, Unrouted
from mailagent.mime import json_body
from mailagent.mime.form import Form
from mailagent.mime.json_body import JsonObject
from mailagent.webhook import Answered, WebhookRequest

__all__ = [
    "SIGNED_FIELDS",
    "SIGNING_KEY",
    "Signature",
    "is_event",
    "missing_key",
    "posted_event",
    "status",
]

SIGNING_KEY = "MAILGUN_WEBHOOK_SIGNING_KEY"
SIGNED_FIELDS = ("timestamp", "token", "signature")

_OLDEST = timedelta(hours=9)
"""Mailgun repeats a POST for eight hours, and does not say that it signs it anew."""
_AHEAD = timedelta(minutes=15)

_MOST_EVENT_BYTES = 1024 * 1024

# Exactly ten digits: "1795250000" + "5f0c" and "17952500005" + "f0c" have the same signature, and
# a digit more or less would make another token of it.
_TIMESTAMP = re.compile(r"[0-9]{10}")
_TOKEN = re.compile(r"[!-~]{1,128}")
"""Fifty characters, by the documentation."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What Mailgun signs a POST with."""

    timestamp: str
    token: str
    signature: str

    @classmethod
    def of_form(cls, form: Form) -> Self:
        """Of a route's POST. Where a mail's own header repeats a name, Mailgun's is the last."""
        return cls(*((form.last(name) or b"").decode("latin-1") for name in SIGNED_FIELDS))

    @classmethod
    def of_event(cls, body: JsonObject) -> Self:
        """Of an event's `signature`. Raises Malformed."""
        signed = body.object("signature")
        return cls(*(str(signed.members.get(name, "")) for name in SIGNED_FIELDS))

    def check(self, key: str, now: datetime) -> None:
        """Raises Unauthentic; TransientFailure when it was made at another time than now."""
        text = f"{self.timestamp}{self.token}".encode("utf-8", "replace")
        right = hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
        given = self.signature.encode("utf-8", "replace")
        if not _TIMESTAMP.fullmatch(self.timestamp) or not _TOKEN.fullmatch(self.token):
            raise Unauthentic("the request has no timestamp, token and signature of Mailgun's")
        if not hmac.compare_digest(given, right.encode()):
            raise Unauthentic(f"the signature does not hold: is {SIGNING_KEY} this account's?")
        age = now - datetime.fromtimestamp(int(self.timestamp), UTC)
        if not -_AHEAD <= age <= _OLDEST:
            raise TransientFailure(f"it was signed {self.timestamp}: is our clock right?")


def is_event(request: WebhookRequest) -> bool:
    """Whether a POST is an event (JSON); a route's is a form."""
    kind = request.header("content-type").partition(";")[0]
    return kind.strip().lower() == "application/json"


def posted_event(request: WebhookRequest) -> JsonObject:
    """The JSON of an event's POST. Raises Malformed."""
    if len(request.body) > _MOST_EVENT_BYTES:
        raise Malformed("body", f"is no event: it has more than {_MOST_EVENT_BYTES} bytes")
    return json_body.read(request.body)


def missing_key(key: str) -> Misconfigured | None:
    """What is to be set before Mailgun's signatures can be checked; None when `key` is set."""
    if key:
        return None
    return Misconfigured(
        SIGNING_KEY,
        "is empty: copy it from Mailgun (API security, HTTP webhook signing key), "
        "or put INBOUND_WEBHOOK_SECRET into the address",
    )


def status(answered: Answered) -> int:
    """406 ends it, 200 says kept; anything else makes Mailgun try for eight hours.

    A wrong signature is tried again, because a key may just be changing. Source: Mailgun "Routes",
    "Webhooks".
    """
    match answered:
        case Accepted() | Duplicate() | Unrouted():
            return 200
        case Malformed() | Replayed():  # it will be the same the next time
            return 406
        case Unauthentic():
            return 401
        case _:
            return 503
