"""SendGrid's cases: requests that are signed, and a SendGrid that speaks its API."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal

from backend.simulating import Mail, Post
from backend.simulating.post import multipart
from backend.simulating.sendgrid import fields
from mailagent.mail import EventKind
from mailagent.providers.fetch import https_get
from mailagent.providers.sendgrid_events import _DROPPED, _KINDS
from mailagent.providers.sendgrid_message import MESSAGE_ID_KEY
from mailagent.providers.sendgrid_send import SendGridSender
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
from tests.sendgrid_server import KEY, SendGridServer, errors
from tests.sendgrid_signer import PUBLIC_KEY, signed

__all__ = ["RECEIVES", "REPORTS", "SENDS"]


class _Signed:
    settings: ClassVar[Mapping[str, str]] = {"SENDGRID_WEBHOOK_PUBLIC_KEY": PUBLIC_KEY}
    refused_with = 403
    fetch = staticmethod(https_get)


def _post(path: str, body: bytes, content_type: str) -> Post:
    return Post(path, {"Content-Type": content_type, **signed(body, int(NOW.timestamp()))}, body)


def _forged(good: Post) -> Named:
    for name, value in good.headers.items():
        if name != "Content-Type":
            # A signature begins with the same few characters, whatever it signs.
            yield name, replace(good, headers={**good.headers, name: changed_byte(value)})
    for at in (0, len(good.body) // 2, len(good.body) - 1):
        body = bytearray(good.body)
        body[at] ^= 1
        yield f"byte {at} of the body", replace(good, body=bytes(body))


class _Receives(_Signed):
    def posts(self, mail: Mail) -> Sequence[Post]:
        return [self._form(mail, fields(mail))]

    def forged(self, mail: Mail) -> Named:
        return _forged(self.posts(mail)[0])

    def malformed(self, mail: Mail) -> Named:
        good = fields(mail)
        for name in ("email", "envelope"):
            yield name, self._form(mail, [(n, v) for n, v in good if n != name])
            yield name, self._form(mail, [(n, b"" if n == name else v) for n, v in good])
        envelope = json.loads(dict(good)["envelope"])
        documents: list[tuple[str, Any]] = [("envelope", []), ("envelope", 7), ("envelope", None)]
        for name in ("to", "from"):
            # An empty sender is <>.
            ways = ("empty",) if name == "from" else ()
            documents += [(name, one.document) for one in damaged(envelope, name, *ways)]
        documents += [("to", {**envelope, "to": to}) for to in ([], [""], ["nobody"])]
        for name, document in documents:
            octets = json.dumps(document).encode()
            yield name, self._form(mail, [(n, octets if n == "envelope" else v) for n, v in good])

    def _form(self, mail: Mail, of: Sequence[tuple[str, bytes]]) -> Post:
        return _post("/webhook/sendgrid", *multipart(of, mail.digest))


class _Reports(_Signed):
    words: ClassVar[Mapping[str, EventKind | None]] = {
        **_KINDS,
        **{f"dropped/{reason}": kind for reason, kind in _DROPPED.items()},
        "bounce/blocked": EventKind.BLOCKED,
    }
    unknown_word = "teleported"

    def provider_id(self, number: int) -> str:
        return f"aB3dE5fG7hJ9kLmN1p{number:04}"

    def post(self, word: str, about: About) -> Post:
        return self._array([self._event(word, about)])

    def forged(self, about: About) -> Named:
        return _forged(self.post("delivered", about))

    def malformed(self, about: About) -> Named:
        event = self._event("delivered", about)
        for name in ("event", "sg_event_id", "email", "timestamp"):
            for one in damaged(event, name):
                if (name, one.how) != ("timestamp", "a number"):
                    yield name, self._array([one.document])
        for name in ("sg_message_id", "smtp-id", "reason", "status", "response"):
            for one in damaged({**event, "smtp-id": "", "status": ""}, name, "missing", "empty"):
                yield name, self._array([one.document])

    def _event(self, word: str, about: About) -> dict[str, Any]:
        event, _, detail = word.partition("/")
        return {
            "event": event,
            "email": about.recipient,
            "timestamp": int(NOW.timestamp()) - 100_000 + about.number,
            "sg_event_id": f"{about.provider_id}-{word}-{about.number}",
            "sg_message_id": f"{about.provider_id}.recvd-5f0c-1-66",
            MESSAGE_ID_KEY: about.message_id,
            "reason": detail if event == "dropped" else "",
            "response": "250 OK",
            **({"type": detail} if event == "bounce" else {}),
        }

    def _array(self, of: Sequence[Any]) -> Post:
        return _post("/webhooks/email/sendgrid", json.dumps(of).encode(), "application/json")


_SCRIPTS: Mapping[Failure, Reply | Fault] = {
    **FAULTS,
    Failure.REFUSED: errors(400, "The subject is required.", "subject"),
    Failure.REFUSED_ACCOUNT: errors(403, "The from address does not match a verified Sender"),
    Failure.THROTTLED: errors(429, "too many requests", Retry_After="7"),
    Failure.FAILING: errors(503, "service unavailable"),
}


class _Sends:
    secrets = (KEY,)
    reaches: Literal["another host"] = "another host"
    names_wait = True

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        async with SendGridServer(script(_SCRIPTS, failure)) as server:
            base = unused_address() if failure is Failure.UNREACHABLE else server.url
            account = SendGridSender("main", KEY, base=base, times=HURRIED, now=lambda: NOW)
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


RECEIVES = _Receives()
REPORTS = _Reports()
SENDS = _Sends()
