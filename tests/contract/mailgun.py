"""Mailgun's cases: routes and events that are signed, and a Mailgun that speaks its API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from backend.simulating import Mail, Post
from backend.simulating.mailgun import fields, signed
from backend.simulating.post import multipart
from mailagent.mail import EventKind
from mailagent.providers.control import Control
from mailagent.providers.fetch import https_get
from mailagent.providers.mailgun_access import open_api
from mailagent.providers.mailgun_domains import MailgunDomains
from mailagent.providers.mailgun_events import WORDS
from mailagent.providers.mailgun_send import MailgunSender
from tests.api_server import Fault, Reply
from tests.contract.cases import (
    NOW,
    About,
    AtWork,
    Failure,
    Knowing,
    Named,
    Published,
    changed_byte,
    damaged,
    seen,
)
from tests.contract.far_side import FAULTS, later, patience, script, unused_address
from tests.mailgun_control import MailgunControlServer
from tests.mailgun_server import KEY, MailgunServer

__all__ = ["IDENTIFIES", "RECEIVES", "REPORTS", "SENDS"]

_DATA = Path(__file__).parent.parent / "data" / "mailgun"
_SIGNING_KEY = "whsk-of-the-contract-0001"


class _Signed:
    settings: ClassVar[Mapping[str, str]] = {"MAILGUN_WEBHOOK_SIGNING_KEY": _SIGNING_KEY}
    refused_with = 401
    fetch = staticmethod(https_get)


def _vouched(token: str) -> list[tuple[str, bytes]]:
    return signed(_SIGNING_KEY, NOW, token.encode().hex()[:50].ljust(50, "0"))


class _Receives(_Signed):
    def posts(self, mail: Mail) -> Sequence[Post]:
        return [_form(mail, [*fields(mail, one), *_vouched(one)]) for one in mail.rcpt_to]

    def forged(self, mail: Mail) -> Named:
        good = [*fields(mail, mail.rcpt_to[0]), *_vouched("t")]
        for name in ("timestamp", "token", "signature"):
            whole = dict(good)[name].decode()
            for at in range(len(whole)):
                value = changed_byte(whole, at).encode()
                yield name, _form(mail, [(n, value if n == name else v) for n, v in good])
            yield f"no {name}", _form(mail, [(n, v) for n, v in good if n != name])

    def malformed(self, mail: Mail) -> Named:
        good = fields(mail, mail.rcpt_to[0])
        for name in ("recipient", "sender", "body-mime"):
            yield name, _form(mail, [*_vouched("t"), *((n, v) for n, v in good if n != name)])
        for name, values in {
            "recipient": (b"", b"<>", b"\xff\xfe", b"a b"),
            "sender": (b"\xff\xfe", b"a b"),
            "body-mime": (b"",),
        }.items():
            for value in values:
                changed = [(n, value if n == name else v) for n, v in good]
                yield name, _form(mail, [*_vouched("t"), *changed])
        yield "recipient", _form(mail, [*_vouched("t"), *good, ("recipient", b"eve@x.example")])


def _form(mail: Mail, of: Sequence[tuple[str, bytes]]) -> Post:
    body, content_type = multipart(of, mail.digest)
    return Post("/webhook/mailgun/mime", {"Content-Type": content_type}, body)


class _Reports(_Signed):
    words: ClassVar[Mapping[str, EventKind | None]] = {
        "/".join(words): kind for words, kind in WORDS.items()
    }
    unknown_word = "teleported"

    def provider_id(self, number: int) -> str:
        return f"<m{number}@acme.example>"

    def post(self, word: str, about: About) -> Post:
        return _event(self._data(word, about))

    def forged(self, about: About) -> Named:
        data, good = self._data("delivered", about), dict(_vouched("t"))
        for name, value in good.items():
            for at in range(len(value)):
                changed = {**good, name: changed_byte(value.decode(), at).encode()}
                yield name, _event(data, changed)
            yield f"no {name}", _event(data, {n: v for n, v in good.items() if n != name})

    def malformed(self, about: About) -> Named:
        data = self._data("delivered", about)
        for name in ("event", "id", "timestamp"):
            for one in damaged(data, name):
                if (name, one.how) != ("timestamp", "a number"):
                    yield name, _event(one.document)
        for path in ("recipient", "message.headers.message-id", "reason", "url"):
            for one in damaged({**data, "url": ""}, path, "missing", "empty"):
                yield path.rpartition(".")[2], _event(one.document)
        for path in ("message", "message.headers", "delivery-status"):
            for one in damaged(data, path, "missing"):
                if one.how != "an object":
                    yield path.rpartition(".")[2], _event(one.document)

    def _data(self, word: str, about: About) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((_DATA / "event-failed-permanent.json").read_text())
        names = dict(zip(("event", "severity", "reason"), word.split("/"), strict=False))
        message_id = about.provider_id.strip("<>")
        return {
            **data,
            "severity": "",
            "reason": "",
            **names,
            "id": f"{message_id}-{word}-{about.number}"[:200],
            "timestamp": NOW.timestamp() - 100_000 + about.number,
            "recipient": about.recipient,
            "message": {"headers": {"message-id": message_id}},
        }


def _event(data: Mapping[str, Any], vouched: Mapping[str, bytes] | None = None) -> Post:
    by = dict(_vouched("t")) if vouched is None else vouched
    told = {"signature": {n: v.decode() for n, v in by.items()}, "event-data": data}
    headers = {"Content-Type": "application/json"}
    return Post("/webhooks/email/mailgun", headers, json.dumps(told).encode())


_SCRIPTS: Mapping[Failure, Reply | Fault] = {
    **FAULTS,
    Failure.REFUSED: Reply(413, {"message": "Request entity too large"}),
    Failure.REFUSED_ACCOUNT: Reply(401, {"message": "Forbidden"}),
    Failure.THROTTLED: Reply(429, {"message": "Too many requests"}, {"Retry-After": "7"}),
    Failure.FAILING: Reply(503, {"message": "Service unavailable"}),
}


class _Sends:
    secrets = (KEY,)
    reaches: Literal["another host"] = "another host"
    names_wait = True

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        async with MailgunServer(script(_SCRIPTS, failure)) as server:
            base = unused_address() if failure is Failure.UNREACHABLE else server.url
            account = MailgunSender(
                "main", KEY, base=base, times=patience(failure), now=lambda: NOW
            )
            try:
                yield AtWork(account, lambda: [seen(one.mime) for one in server.taken])
            finally:
                await account.close()


class _Identifies:
    secrets = (KEY,)
    gives_up = False
    mail_from = None

    @asynccontextmanager
    async def at_work(
        self, failure: Failure | None = None, *, at_change: bool = False
    ) -> AsyncIterator[Knowing]:
        told = later(_SCRIPTS, failure, at_change=at_change)
        async with MailgunControlServer(told) as server:
            base = unused_address() if failure is Failure.UNREACHABLE else server.url
            control = Control(
                "Mailgun", open_api(KEY, base, patience(failure)), mends={}, now=lambda: NOW
            )

            def publish(domain: str, what: Published) -> None:
                server.dns[domain] = what

            try:
                yield Knowing(MailgunDomains(control), publish, lambda: server.changes)
            finally:
                await control.close()


RECEIVES = _Receives()
REPORTS = _Reports()
SENDS = _Sends()
IDENTIFIES = _Identifies()
