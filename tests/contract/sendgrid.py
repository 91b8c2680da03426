"""SendGrid's cases: webhooks that it signs, and a SendGrid that takes our mail."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from backend.simulating import Mail, Post
from backend.simulating.post import multipart
from backend.simulating.sendgrid import fields
from mailagent.mail import EventKind
from mailagent.providers.api import Api
from mailagent.providers.control import Control
from mailagent.providers.fetch import https_get
from mailagent.providers.sendgrid_domains import SendGridDomains
from mailagent.providers.sendgrid_send import SendGridSender
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
)
from tests.contract.far_side import FAULTS, later, patience, script, unused_address
from tests.sendgrid_control import SendGridControlServer
from tests.sendgrid_server import KEY, SendGridServer, errors
from tests.sendgrid_signer import PUBLIC_KEY, signed

__all__ = ["IDENTIFIES", "RECEIVES", "REPORTS", "SENDS"]

_DATA = Path(__file__).parent.parent / "data" / "sendgrid"
_AT = int(NOW.timestamp())
_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


class _Signed:
    """What mail and events have in common: the key."""

    settings: ClassVar[Mapping[str, str]] = {"SENDGRID_WEBHOOK_PUBLIC_KEY": PUBLIC_KEY}
    refused_with = 403
    fetch = staticmethod(https_get)

    def __init__(self, path: str) -> None:
        self._path = path

    def posted(self, body: bytes, content_type: str) -> Post:
        return Post(self._path, {"Content-Type": content_type, **signed(body, _AT)}, body)

    def altered(self, body: bytes, content_type: str) -> Named:
        good = self.posted(body, content_type)
        for at in range(len(body)):
            changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            yield "body", Post(good.path, good.headers, changed)
        for name in (_SIGNATURE, _TIMESTAMP):
            value = good.headers[name]
            # The last letters of Base64 may hold bits that mean nothing.
            for at in range(len(value.rstrip("=")) - 1):
                headers = {**good.headers, name: changed_byte(value, at)}
                yield name, Post(good.path, headers, body)


class _Receives(_Signed):
    def posts(self, mail: Mail) -> Sequence[Post]:
        return [self._form(fields(mail))]

    def forged(self, mail: Mail) -> Named:
        return self.altered(*multipart(fields(mail), "of-the-contract"))

    def malformed(self, mail: Mail) -> Named:
        said = dict(fields(mail))
        wrong: Mapping[str, Sequence[bytes | None]] = {
            "email": (None, b"", b"\r\n"),
            "envelope": (None, b"", b"{", b"[]", b"7", b"null", b"\xff"),
        }
        for name, values in wrong.items():
            for value in values:
                changed = {**said, name: value}
                yield name, self._form([(n, v) for n, v in changed.items() if v is not None])
        for member in ("to", "from"):
            for one in damaged(json.loads(said["envelope"]), member):
                if (member, one.how) != ("from", "empty"):
                    envelope = json.dumps(one.document).encode()
                    yield (
                        f"envelope.{member}",
                        self._form([*{**said, "envelope": envelope}.items()]),
                    )

    def _form(self, said: Sequence[tuple[str, bytes]]) -> Post:
        return self.posted(*multipart(said, "of-the-contract"))


_WORDS: Mapping[str, EventKind] = {
    "processed": EventKind.UNKNOWN,
    "deferred": EventKind.DELAYED,
    "delivered": EventKind.DELIVERED,
    "bounce/bounce": EventKind.BOUNCED_HARD,
    "bounce/blocked": EventKind.BLOCKED,
    "dropped/Bounced Address": EventKind.BOUNCED_HARD,
    "dropped/Invalid": EventKind.BOUNCED_HARD,
    "dropped/Unsubscribed Address": EventKind.REJECTED,
    "dropped/Spam Reporting Address": EventKind.REJECTED,
    "dropped/Spam Content": EventKind.REJECTED,
    "dropped/Invalid SMTPAPI header": EventKind.REJECTED,
    "dropped/Recipient List over Package Quota": EventKind.REJECTED,
    "open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "spamreport": EventKind.COMPLAINED,
    "unsubscribe": EventKind.UNSUBSCRIBED,
    "group_unsubscribe": EventKind.UNSUBSCRIBED,
    "group_resubscribe": EventKind.UNKNOWN,
}


class _Reports(_Signed):
    words: ClassVar[Mapping[str, EventKind | None]] = _WORDS
    unknown_word = "teleported"

    def provider_id(self, number: int) -> str:
        return f"aB3dE5fG7hJ9kLmN{number:06d}"

    def post(self, word: str, about: About) -> Post:
        return self._array(self._event(word, about))

    def forged(self, about: About) -> Named:
        body = json.dumps([self._event("delivered", about)]).encode() + b"\r\n"
        return self.altered(body, "application/json")

    def malformed(self, about: About) -> Named:
        event = self._event("bounce/bounce", about)
        for name in ("email", "event", "sg_event_id", "timestamp"):
            for one in damaged(event, name):
                if (name, one.how) != ("timestamp", "a number"):
                    yield name, self._array(one.document)
        for name in ("status", "reason", "type", "sg_message_id"):
            for one in damaged(event, name, "missing", "empty"):
                yield name, self._array(one.document)

    def _array(self, *events: object) -> Post:
        return self.posted(json.dumps(events).encode() + b"\r\n", "application/json")

    def _event(self, word: str, about: About) -> dict[str, Any]:
        name, _, more = word.partition("/")
        every: list[dict[str, Any]] = json.loads((_DATA / "events.json").read_text())
        event = next((one for one in every if one["event"] == name), every[0])
        named = hashlib.sha256(f"{word} {about}".encode()).hexdigest()[:22]
        event |= {"event": name, "email": about.recipient, "sg_event_id": named}
        event["sg_message_id"] = f"{about.provider_id}.recvd-1-abc-5F5F.0"
        event["timestamp"] = _AT - 3_600 + about.number
        event |= {"smtp-id": about.message_id, "mailagent_message_id": about.message_id}
        return event | ({"type" if name == "bounce" else "reason": more} if more else {})


_STEPS: Mapping[Failure, Reply | Fault] = {
    **FAULTS,
    Failure.REFUSED: errors(400, "The content value must be a string", "content.0.value"),
    Failure.REFUSED_ACCOUNT: errors(401, "The provided authorization grant is invalid"),
    Failure.THROTTLED: errors(429, "too many requests", X_RateLimit_Reset=str(_AT + 7)),
    Failure.FAILING: errors(500, "internal error"),
}


class _Sends:
    secrets = (KEY,)
    reaches: Literal["another host"] = "another host"
    names_wait = True

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        async with SendGridServer(script(_STEPS, failure)) as server:
            url = unused_address() if failure is Failure.UNREACHABLE else server.url
            account = SendGridSender(
                "sendgrid", KEY, base=url, times=patience(failure), now=lambda: NOW
            )
            try:
                yield AtWork(account, lambda: [_seen(one) for one in server.taken])
            finally:
                await account.close()


def _seen(mail: Mapping[str, Any]) -> Seen:
    return Seen(
        message_id=mail["headers"]["Message-ID"],
        in_reply_to=mail["headers"]["In-Reply-To"],
        references=mail["headers"]["References"],
        subject=mail["subject"],
        from_name=mail["from"]["name"],
        attachments={
            one["filename"]: base64.b64decode(one["content"]) for one in mail["attachments"]
        },
    )


class _Identifies:
    secrets = (KEY,)
    gives_up = False
    mail_from = "em.shop.example"

    @asynccontextmanager
    async def at_work(
        self, failure: Failure | None = None, *, at_change: bool = False
    ) -> AsyncIterator[Knowing]:
        told = later(_STEPS, failure, at_change=at_change)
        async with SendGridControlServer(told) as server:
            base = unused_address() if failure is Failure.UNREACHABLE else server.url
            headers = {"Authorization": f"Bearer {KEY}"}
            api = Api(base, secret=KEY, headers=headers, times=patience(failure))
            control = Control("SendGrid", api, mends={}, now=lambda: NOW)

            def publish(domain: str, what: Published) -> None:
                server.dns[domain] = what

            try:
                yield Knowing(SendGridDomains(control), publish, lambda: server.changes)
            finally:
                await control.close()


RECEIVES = _Receives("/webhook/sendgrid")
REPORTS = _Reports("/webhooks/email/sendgrid")
SENDS = _Sends()
IDENTIFIES = _Identifies()
