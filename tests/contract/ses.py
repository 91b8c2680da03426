"""Amazon SES's cases: a topic that signs, and an SES that speaks its API."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from backend.simulating import Mail, Post
from backend.simulating.ses import notification
from mailagent.mail import EventKind
from mailagent.providers.ses import Ses
from mailagent.providers.ses_access import Access
from mailagent.providers.ses_control import Aws
from mailagent.providers.ses_events import WORDS
from mailagent.providers.ses_identity import SesIdentities
from mailagent.webhook import WebhookRequest
from tests.api_server import Fault, Reply
from tests.contract.cases import (
    NOW,
    About,
    AtWork,
    Failure,
    Knowing,
    Named,
    Published,
    Seen,
    changed_byte,
    damaged,
    seen,
)
from tests.contract.far_side import later, script, unused_address, waits_in_vain
from tests.ses_identities import SesControlServer
from tests.ses_server import SesServer
from tests.sns_signer import TOPIC, Sns

__all__ = ["IDENTIFIES", "RECEIVES", "REPORTS", "SENDS"]

_DATA = Path(__file__).parent.parent / "data" / "ses"
_SNS = Sns()
_SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Signature")


class _Topic:
    """What mail and events have in common: SNS."""

    settings: ClassVar[Mapping[str, str]] = {"SES_SNS_TOPIC_ARNS": TOPIC}
    refused_with = 403
    fetch = staticmethod(_SNS.fetch)

    def __init__(self, path: str) -> None:
        self._path = path

    def posted(self, message: object, **changes: Any) -> Post:
        return self._as_post(_SNS.request(message, **changes))

    def _as_post(self, request: WebhookRequest) -> Post:
        return Post(self._path, request.headers, request.body)

    def altered(self, message: object) -> Named:
        """Each signed member with one byte changed, where the body stays what SNS could send."""
        said = _SNS.envelope(message)
        for name in _SIGNED:
            # The last letters of Base64 may hold bits that mean nothing.
            length = len(said[name]) - (3 if name == "Signature" else 0)
            for at in range(length):
                value = changed_byte(said[name], at)
                if name == "Timestamp" and not _is_time(value):
                    continue  # that one cannot be read, see `wrong_envelopes`
                yield f"{name} {at}", self._as_post(_SNS.post({**said, name: value}))
        # The first digits of a certificate's name: another certificate, or none.
        other = said["SigningCertURL"].replace("eu-west-1", "eu-west-2")
        yield "SigningCertURL", self._as_post(_SNS.post({**said, "SigningCertURL": other}))

    def wrong_envelopes(self, message: object) -> Named:
        """Members of SNS's own that cannot be read."""
        said = _SNS.envelope(message)
        for name in ("MessageId", "TopicArn", "Message", "Timestamp", "Signature"):
            for one in damaged(said, name, "empty"):
                yield name, self._as_post(_SNS.post(one.document))
        for at in range(len(said["Timestamp"])):
            value = changed_byte(said["Timestamp"], at)
            if not _is_time(value):
                yield "Timestamp", self._as_post(_SNS.post({**said, "Timestamp": value}))


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


class _Receives(_Topic):
    def posts(self, mail: Mail) -> Sequence[Post]:
        return [self.posted(notification(mail, NOW))]

    def forged(self, mail: Mail) -> Named:
        return self.altered(notification(mail, NOW))

    def malformed(self, mail: Mail) -> Named:
        message = notification(mail, NOW)
        yield from self.wrong_envelopes(message)
        for path in ("mail.messageId", "receipt.recipients", "content"):
            # A notification without content is that of an action that does not bring the mail.
            ways = ("missing",) if path == "content" else ()
            for one in damaged(message, path, *ways):
                if path != "receipt.recipients" or one.how != "an array":
                    yield path, self.posted(one.document)
        for one in damaged(message, "mail.source", "empty"):
            yield "mail.source", self.posted(one.document)
        for one in damaged(message, "notificationType"):
            yield "notificationType", self.posted(one.document)
        for path in ("mail", "receipt", "receipt.action"):
            for one in damaged(message, path):
                yield path, self.posted(one.document)


_TYPES = {
    "Rendering Failure": "rendering-failure",
    "DeliveryDelay": "delay",
}


class _Reports(_Topic):
    words: ClassVar[Mapping[str, EventKind | None]] = {
        "/".join(words): kind for words, kind in WORDS.items()
    }
    unknown_word = "Teleport"

    def provider_id(self, number: int) -> str:
        return f"0102019a5b2c3d4e-1f2e3d4c-0000-4000-8000-{number:012d}-000000"

    def post(self, word: str, about: About) -> Post:
        return self.posted(self._message(word, about))

    def forged(self, about: About) -> Named:
        return self.altered(self._message("Delivery", about))

    def malformed(self, about: About) -> Named:
        message = self._message("Delivery", about)
        yield from self.wrong_envelopes(message)
        for path in ("eventType", "mail.messageId", "mail.timestamp", "delivery.timestamp"):
            ways = () if path == "eventType" or path.startswith("mail") else ("missing",)
            for one in damaged(message, path, *ways):
                if "timestamp" not in path or one.how != "a number":  # a number is a time
                    yield path, self.posted(one.document)
        for one in damaged(message, "delivery.recipients"):
            if one.how not in ("missing", "an array"):
                yield "delivery.recipients", self.posted(one.document)

    def _message(self, word: str, about: About) -> dict[str, Any]:
        type_, *rest = word.split("/")
        named = _TYPES.get(type_, type_.lower())
        path = _DATA / f"event-{named}.json"
        base = path if path.exists() else _DATA / "event-open.json"
        message: dict[str, Any] = json.loads(base.read_text())
        message["eventType"] = type_
        message.pop("notificationType", None)
        mail = message["mail"]
        mail |= {"messageId": about.provider_id, "destination": [about.recipient]}
        mail["headers"] = [{"name": "Message-ID", "value": about.message_id}]
        mail["commonHeaders"] = {}
        key = "failure" if named == "rendering-failure" else type_[:1].lower() + type_[1:]
        detail = message.setdefault(key, {})
        detail["timestamp"] = f"2026-11-21T09:{about.number // 60:02}:{about.number % 60:02}.000Z"
        if "feedbackId" in detail:
            detail["feedbackId"] = f"{about.provider_id}-{word}-{about.number}"
        for parties in ("bouncedRecipients", "complainedRecipients", "delayedRecipients"):
            if parties in detail:
                detail[parties] = [{**detail[parties][0], "emailAddress": about.recipient}]
        if "recipients" in detail:
            detail["recipients"] = [about.recipient]
        match type_:
            case "Bounce":
                detail["bounceType"], detail["bounceSubType"] = (*rest, None)[:2]
            case "Complaint":
                listed = rest == ["OnAccountSuppressionList"]
                detail["complaintSubType"] = rest[0] if listed else None
                detail["complaintFeedbackType"] = rest[0] if rest and not listed else None
        return message


def _answer(name: str) -> Reply:
    said = json.loads((_DATA / f"send-{name}.json").read_text())
    return Reply(said["status"], said["body"], said["headers"])


_SCRIPTS: Mapping[Failure, Reply | Fault] = {
    Failure.DEAF: Fault.DEAF,
    Failure.SILENT: Fault.HANG,
    Failure.RESET: Fault.RESET,
    Failure.REFUSED: _answer("bad-request"),
    Failure.REFUSED_ACCOUNT: _answer("paused"),
    Failure.THROTTLED: _answer("throttled"),
    Failure.FAILING: _answer("unavailable"),
}


def _patience(failure: Failure | None) -> float:
    return 0.3 if waits_in_vain(failure) else 10


class _Sends:
    secrets = ("wJalrXUtnFEMI-K7MDENG-secret",)
    reaches: Literal["another host"] = "another host"
    names_wait = True

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        async with SesServer(script(_SCRIPTS, failure)) as server:
            url = unused_address() if failure is Failure.UNREACHABLE else server.url
            access = Access(
                *("sesv2", "eu-west-1", "AKIAEXAMPLE", self.secrets[0], url),
                connect_seconds=_patience(failure),
                read_seconds=_patience(failure),
            )
            account = Ses(access, now=lambda: NOW)

            def taken() -> Sequence[Seen]:
                return [
                    seen(base64.b64decode(request.json["Content"]["Raw"]["Data"]))
                    for request in server.requests
                ]

            try:
                yield AtWork(account, taken)
            finally:
                await account.close()


class _Identifies:
    secrets = ("wJalrXUtnFEMI-K7MDENG-secret",)
    gives_up = True
    mail_from = "bounce.shop.example"

    @asynccontextmanager
    async def at_work(
        self, failure: Failure | None = None, *, at_change: bool = False
    ) -> AsyncIterator[Knowing]:
        async with SesControlServer(later(_SCRIPTS, failure, at_change=at_change)) as server:
            url = unused_address() if failure is Failure.UNREACHABLE else server.url
            aws = Aws(
                Access(
                    *("sesv2", "eu-west-1", "AKIAEXAMPLE", self.secrets[0], url),
                    connect_seconds=_patience(failure),
                    read_seconds=_patience(failure),
                ),
                now=lambda: NOW,
            )

            def publish(domain: str, what: Published) -> None:
                dkim = {"all": "SUCCESS", "half": "PENDING", "wrong": "FAILED"}[what]
                server.publish(domain, dkim=dkim, mail_from="SUCCESS" if what != "wrong" else "")

            try:
                yield Knowing(SesIdentities(aws), publish, lambda: server.changes)
            finally:
                await aws.close()


RECEIVES = _Receives("/webhook/ses")
REPORTS = _Reports("/webhooks/email/ses")
SENDS = _Sends()
IDENTIFIES = _Identifies()
