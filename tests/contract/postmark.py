"""Postmark's cases: requests with Basic authentication, and a Postmark that speaks its API."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parseaddr
from typing import Any, ClassVar, Literal
from uuid import UUID

from backend.simulating import Mail, Post
from backend.simulating.postmark import authorization, document, encoded
from mailagent.mail import EventKind
from mailagent.providers.fetch import https_get
from mailagent.providers.postmark_events import _BOUNCES, _KINDS, _SUPPRESSIONS, _TIMES
from mailagent.providers.postmark_message import MESSAGE_ID_KEY
from mailagent.providers.postmark_send import PostmarkSender
from tests.api_server import Fault, Reply
from tests.contract.cases import (
    NOW,
    About,
    AtWork,
    Failure,
    Named,
    Seen,
    changed_byte,
    damaged,
)
from tests.contract.far_side import FAULTS, HURRIED, script, unused_address
from tests.postmark_server import TOKEN, PostmarkServer, error

__all__ = ["RECEIVES", "REPORTS", "SENDS"]

_USER, _PASSWORD = "postmark-of-acme", "pm-password-of-the-contract-0001"


class _WithPassword:
    settings: ClassVar[Mapping[str, str]] = {
        "POSTMARK_WEBHOOK_USER": _USER,
        "POSTMARK_WEBHOOK_PASSWORD": _PASSWORD,
    }
    refused_with = 401
    fetch = staticmethod(https_get)


def _post(path: str, of: Mapping[str, Any], user: str = _USER, password: str = _PASSWORD) -> Post:
    headers = {"Content-Type": "application/json", "Authorization": authorization(user, password)}
    return Post(path, headers, encoded(of))


def _forged(path: str, of: Mapping[str, Any]) -> Named:
    for at in range(len(_PASSWORD)):
        yield f"password {at}", _post(path, of, password=changed_byte(_PASSWORD, at))
    for at in range(len(_USER)):
        yield f"user {at}", _post(path, of, user=changed_byte(_USER, at))
    yield "no password", _post(path, of, password="")


class _Receives(_WithPassword):
    _path = "/webhook/postmark"

    def posts(self, mail: Mail) -> Sequence[Post]:
        return [_post(self._path, document(mail, one)) for one in mail.rcpt_to]

    def forged(self, mail: Mail) -> Named:
        return _forged(self._path, document(mail, mail.rcpt_to[0]))

    def malformed(self, mail: Mail) -> Named:
        good = document(mail, mail.rcpt_to[0])
        for name in ("OriginalRecipient", "MessageID", "Headers"):
            for one in damaged(good, name):
                yield name, _post(self._path, one.document)
        # Without it the mail is one that Postmark took apart.
        for one in damaged(good, "RawEmail", "missing"):
            yield "RawEmail", _post(self._path, one.document)
        for name in ("Name", "Value"):
            for one in damaged(good["Headers"][0], name, "empty"):
                yield name, _post(self._path, {**good, "Headers": [one.document]})


class _Reports(_WithPassword):
    _path = "/webhooks/email/postmark"
    words: ClassVar[Mapping[str, EventKind | None]] = {
        **_KINDS,
        **{f"Bounce/{word}": kind for word, kind in _BOUNCES.items()},
        **{f"SubscriptionChange/{'/'.join(of)}": kind for of, kind in _SUPPRESSIONS.items()},
    }
    unknown_word = "Teleport"

    def provider_id(self, number: int) -> str:
        return str(UUID(int=number + (1 << 100)))

    def post(self, word: str, about: About) -> Post:
        return _post(self._path, self._told(word, about))

    def forged(self, about: About) -> Named:
        return _forged(self._path, self._told("Delivery", about))

    def malformed(self, about: About) -> Named:
        told = self._told("Delivery", about)
        for name in ("RecordType", "MessageID", "Recipient", "DeliveredAt"):
            for one in damaged(told, name):
                yield name, _post(self._path, one.document)
        bounce = self._told("Bounce/HardBounce", about)
        for name in ("ID", "Type", "Email", "BouncedAt"):
            for one in damaged(bounce, name):
                if (name, one.how) not in (("ID", "a number"), ("Email", "missing")):
                    yield name, _post(self._path, one.document)

    def _told(self, word: str, about: About) -> dict[str, Any]:
        record, *rest = word.split("/")
        named = hashlib.sha256(f"{word}{about.provider_id}{about.number}".encode()).hexdigest()
        at = f"2026-11-21T08:{about.number // 60:02}:{about.number % 60:02}Z"
        told: dict[str, Any] = {
            "RecordType": record,
            "MessageID": about.provider_id,
            "Recipient": about.recipient,
            "Metadata": {MESSAGE_ID_KEY: about.message_id},
            **({_TIMES[record]: at} if record in _TIMES else {}),
        }
        if record in ("Bounce", "SpamComplaint"):
            told |= {"ID": int(named[:10], 16), "Email": told.pop("Recipient"), "Inactive": False}
        if record == "Bounce":
            told["Type"] = rest[0]
        if record == "SubscriptionChange":
            told |= {"SuppressSending": True, "SuppressionReason": rest[0], "Origin": rest[1]}
        return told


_SCRIPTS: Mapping[Failure, Reply | Fault] = {
    **FAULTS,
    Failure.REFUSED: error(300, "Provide either email TextBody or HtmlBody or both."),
    Failure.REFUSED_ACCOUNT: error(10, "Request does not contain a valid Server token.", 401),
    Failure.THROTTLED: error(429, "Rate limit exceeded", 429, Retry_After="7"),
    Failure.FAILING: error(100, "Maintenance", 503),
}


class _Sends:
    secrets = (TOKEN,)
    reaches: Literal["another host"] = "another host"
    names_wait = True

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        async with PostmarkServer(script(_SCRIPTS, failure)) as server:
            base = unused_address() if failure is Failure.UNREACHABLE else server.url
            account = PostmarkSender("main", TOKEN, base=base, times=HURRIED, now=lambda: NOW)
            try:
                yield AtWork(account, lambda: [_seen(one) for one in server.taken])
            finally:
                await account.close()


def _seen(mail: Mapping[str, Any]) -> Seen:
    headers = {one["Name"]: one["Value"] for one in mail["Headers"]}
    return Seen(
        message_id=headers["Message-ID"],
        in_reply_to=headers["In-Reply-To"],
        references=headers["References"],
        subject=mail["Subject"],
        from_name=parseaddr(mail["From"])[0],
        attachments={one["Name"]: base64.b64decode(one["Content"]) for one in mail["Attachments"]},
    )


RECEIVES = _Receives()
REPORTS = _Reports()
SENDS = _Sends()
