"""Postmark's cases: webhooks with a password, and a Postmark that takes our mail."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import Any, ClassVar, Literal

from backend.simulating import Mail, Post
from backend.simulating.postmark import authorization, document, encoded
from mailagent.mail import EventKind
from mailagent.providers.api import Api
from mailagent.providers.control import Control
from mailagent.providers.fetch import https_get
from mailagent.providers.postmark_domains import PostmarkDomains
from mailagent.providers.postmark_send import PostmarkSender
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
from tests.postmark_control import ACCOUNT_TOKEN, PostmarkControlServer
from tests.postmark_server import TOKEN, PostmarkServer, error

__all__ = ["IDENTIFIES", "RECEIVES", "REPORTS", "SENDS"]

_DATA = Path(__file__).parent.parent / "data" / "postmark"
_USER, _PASSWORD = "mailagent", "a-password-of-the-contract-0001"


class _WithPassword:
    """What mail and events have in common: Basic authentication."""

    settings: ClassVar[Mapping[str, str]] = {
        "POSTMARK_WEBHOOK_USER": _USER,
        "POSTMARK_WEBHOOK_PASSWORD": _PASSWORD,
    }
    refused_with = 401
    fetch = staticmethod(https_get)

    def __init__(self, path: str) -> None:
        self._path = path

    def posted(
        self, body: Mapping[str, Any], *, user: str = _USER, password: str = _PASSWORD
    ) -> Post:
        headers = {
            "Content-Type": "application/json",
            "Authorization": authorization(user, password),
        }
        return Post(self._path, headers, encoded(body))

    def with_others_credentials(self, body: Mapping[str, Any]) -> Named:
        for at in range(len(_USER)):
            yield "user", self.posted(body, user=changed_byte(_USER, at))
        for at in range(len(_PASSWORD)):
            yield "password", self.posted(body, password=changed_byte(_PASSWORD, at))


class _Receives(_WithPassword):
    def posts(self, mail: Mail) -> Sequence[Post]:
        return [self.posted(document(mail, one)) for one in mail.rcpt_to]

    def forged(self, mail: Mail) -> Named:
        return self.with_others_credentials(document(mail, mail.rcpt_to[0]))

    def malformed(self, mail: Mail) -> Named:
        raw = document(mail, mail.rcpt_to[0])
        # Without RawEmail it is a mail in parts, and a good one.
        for name in ("OriginalRecipient", "MessageID", "Headers", "RawEmail"):
            for one in damaged(raw, name):
                if (name, one.how) != ("RawEmail", "missing"):
                    yield name, self.posted(one.document)
        parsed = {name: value for name, value in raw.items() if name != "RawEmail"}
        for name in ("From", "FromFull", "TextBody", "Attachments"):
            for one in damaged(parsed, name, "missing", "empty"):
                if (name, one.how) != ("FromFull", "an object"):
                    yield name, self.posted(one.document)


_WORDS: Mapping[str, EventKind] = {
    "Delivery": EventKind.DELIVERED,
    "Open": EventKind.OPENED,
    "Click": EventKind.CLICKED,
    "SpamComplaint": EventKind.COMPLAINED,
    "SubscriptionChange/ManualSuppression": EventKind.UNSUBSCRIBED,
    "SubscriptionChange/HardBounce": EventKind.BOUNCED_HARD,
    "SubscriptionChange/SpamComplaint": EventKind.COMPLAINED,
    "Bounce/HardBounce": EventKind.BOUNCED_HARD,
    "Bounce/BadEmailAddress": EventKind.BOUNCED_HARD,
    "Bounce/SoftBounce": EventKind.BOUNCED_SOFT,
    "Bounce/DnsError": EventKind.BOUNCED_SOFT,
    "Bounce/Unknown": EventKind.BOUNCED_SOFT,
    "Bounce/Transient": EventKind.DELAYED,
    "Bounce/Blocked": EventKind.BLOCKED,
    "Bounce/SpamNotification": EventKind.BLOCKED,
    "Bounce/VirusNotification": EventKind.BLOCKED,
    "Bounce/DMARCPolicy": EventKind.BLOCKED,
    "Bounce/SpamComplaint": EventKind.COMPLAINED,
    "Bounce/Unsubscribe": EventKind.UNSUBSCRIBED,
    "Bounce/ManuallyDeactivated": EventKind.REJECTED,
    "Bounce/Unconfirmed": EventKind.REJECTED,
    "Bounce/SMTPApiError": EventKind.REJECTED,
    "Bounce/TemplateRenderingFailed": EventKind.REJECTED,
    "Bounce/AutoResponder": EventKind.UNKNOWN,
    "Bounce/AddressChange": EventKind.UNKNOWN,
    "Bounce/ChallengeVerification": EventKind.UNKNOWN,
    "Bounce/Subscribe": EventKind.UNKNOWN,
    "Bounce/OpenRelayTest": EventKind.UNKNOWN,
    "Bounce/InboundError": EventKind.UNKNOWN,
}
_FILES = {
    "SpamComplaint": "spam-complaint",
    "SubscriptionChange": "subscription-change",
    "Open": "open",
    "Click": "click",
    "Bounce": "bounce",
}
_TIMES = ("BouncedAt", "DeliveredAt", "ReceivedAt", "ChangedAt")


class _Reports(_WithPassword):
    words: ClassVar[Mapping[str, EventKind | None]] = _WORDS
    unknown_word = "Teleport"

    def provider_id(self, number: int) -> str:
        return f"0a129aee-e1cd-480d-b08d-{number:012d}"

    def post(self, word: str, about: About) -> Post:
        return self.posted(self._body(word, about))

    def forged(self, about: About) -> Named:
        return self.with_others_credentials(self._body("Delivery", about))

    def malformed(self, about: About) -> Named:
        for word, names in (
            ("Delivery", ("MessageID", "Recipient", "DeliveredAt", "RecordType")),
            ("Bounce/HardBounce", ("Email", "BouncedAt", "ID", "Type")),
        ):
            for name in names:
                for one in damaged(self._body(word, about), name):
                    is_good = (name, one.how) == ("ID", "a number")
                    # An address has two names: without the one it is the other that is missing.
                    if not is_good and (name, one.how) != ("Email", "missing"):
                        yield name, self.posted(one.document)

    def _body(self, word: str, about: About) -> dict[str, Any]:
        record, _, type_ = word.partition("/")
        path = _DATA / f"event-{_FILES.get(record, 'delivery')}.json"
        body: dict[str, Any] = json.loads(path.read_text())
        body |= {"RecordType": record, "MessageID": about.provider_id}
        body["Metadata"] = {"message_id": about.message_id}
        body["Email" if "Email" in body else "Recipient"] = about.recipient
        at = (NOW - timedelta(hours=1) + timedelta(seconds=about.number)).isoformat()
        body |= {name: at for name in _TIMES if name in body}
        if "ID" in body:
            body["ID"] = sum(map(ord, word + about.provider_id + about.recipient)) * 10**6
            body["ID"] += about.number
        if record == "SubscriptionChange":
            return body | {"SuppressionReason": type_}
        return body | ({"Type": type_, "Inactive": False} if type_ else {})


_STEPS: Mapping[Failure, Reply | Fault] = {
    **FAULTS,
    Failure.REFUSED: error(300, "Invalid metadata content."),
    Failure.REFUSED_ACCOUNT: error(10, "Request does not contain a valid Server token.", 401),
    Failure.THROTTLED: error(0, "Rate limit exceeded", 429, Retry_After="7"),
    Failure.FAILING: Reply(500, {"ErrorCode": 0, "Message": "Internal server error"}),
}


class _Sends:
    secrets = (TOKEN,)
    reaches: Literal["another host"] = "another host"
    names_wait = True

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        async with PostmarkServer(script(_STEPS, failure)) as server:
            url = unused_address() if failure is Failure.UNREACHABLE else server.url
            account = PostmarkSender(
                "postmark", TOKEN, base=url, times=patience(failure), now=lambda: NOW
            )
            try:
                yield AtWork(account, lambda: [_seen(one) for one in server.taken])
            finally:
                await account.close()


def _seen(mail: Mapping[str, Any]) -> Seen:
    headers = {one["Name"]: one["Value"] for one in mail["Headers"]}
    return Seen(
        message_id=headers["Message-ID"] if headers["X-PM-KeepID"] == "true" else "",
        in_reply_to=headers["In-Reply-To"],
        references=headers["References"],
        subject=mail["Subject"],
        from_name=parseaddr(mail["From"])[0],
        attachments={one["Name"]: base64.b64decode(one["Content"]) for one in mail["Attachments"]},
    )


class _Identifies:
    secrets = (ACCOUNT_TOKEN,)
    gives_up = False
    mail_from = "pm-bounces.shop.example"

    @asynccontextmanager
    async def at_work(
        self, failure: Failure | None = None, *, at_change: bool = False
    ) -> AsyncIterator[Knowing]:
        told = later(_STEPS, failure, at_change=at_change)
        async with PostmarkControlServer(told) as server:
            base = unused_address() if failure is Failure.UNREACHABLE else server.url
            headers = {"X-Postmark-Account-Token": ACCOUNT_TOKEN}
            api = Api(base, secret=ACCOUNT_TOKEN, headers=headers, times=patience(failure))
            control = Control("Postmark", api, mends={}, now=lambda: NOW)

            def publish(domain: str, what: Published) -> None:
                found = {"all": ("dkim", "return_path"), "half": ("return_path",), "wrong": ()}
                server.find(domain, *found[what])

            try:
                yield Knowing(PostmarkDomains(control), publish, lambda: server.changes)
            finally:
                await control.close()


RECEIVES = _Receives("/webhook/postmark")
REPORTS = _Reports("/webhooks/email/postmark")
SENDS = _Sends()
IDENTIFIES = _Identifies()
