"""Which mail does a receipt notification of Amazon SES bring?

Source: Amazon SES Developer Guide, "Contents of notifications for Amazon SES email receiving"
(read 2026-11).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import structlog
from pydantic import Field, StringConstraints

from mailagent.errors import Malformed, Misconfigured
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.providers.ses_json import Shape, members, shaped
from mailagent.providers.ses_sns import Notification, Sns, status
from mailagent.webhook import Answered, Fetch, WebhookRequest, WebhookSettings

__all__ = ["BUCKETS", "SesReceiver", "buckets"]

log = structlog.get_logger()

BUCKETS = "SES_S3_BUCKETS"

_ADDRESS = re.compile(r"[^\x00-\x1f\x7f<>\ud800-\udfff]{1,512}")
_WORDS = frozenset({"PASS", "FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED"})
_POLICIES = frozenset({"none", "quarantine", "reject"})
_VERDICTS = ("spf", "dkim", "dmarc", "spam", "virus")


class _Mail(Shape):
    message_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
    source: str | None
    """Empty or `<>` for a mail that nobody shall answer."""


class _Verdict(Shape):
    status: str


class _Action(Shape):
    type: str
    encoding: str = ""
    bucket_name: str = ""
    object_key: str = ""


class _Receipt(Shape):
    recipients: tuple[str, ...] = Field(min_length=1)
    action: _Action
    spf_verdict: _Verdict | None = None
    dkim_verdict: _Verdict | None = None
    dmarc_verdict: _Verdict | None = None
    spam_verdict: _Verdict | None = None
    virus_verdict: _Verdict | None = None
    dmarc_policy: str | None = None


class _Received(Shape):
    mail: _Mail
    receipt: _Receipt


class SesReceiver:
    """The webhook that brings mail: `/webhook/ses`."""

    def __init__(self, settings: WebhookSettings, fetch: Fetch) -> None:
        self._sns = Sns(settings, fetch)
        self._buckets = buckets(settings.values)

    @property
    def missing(self) -> Misconfigured | None:
        """See `webhook.Receives`."""
        return self._sns.missing

    async def inbound(self, request: WebhookRequest) -> Sequence[Inbound]:
        """See `webhook.Receives`: one mail, or none for a confirmation or a test."""
        notification = await self._sns.read(request)
        if notification is None or notification.is_test:
            return []
        said = members("Message", notification.message)
        match said.get("notificationType"):
            case "Received":
                return self._mails(said, notification, request.received_at)
            case "AmazonSnsSubscriptionSucceeded":
                return []
            case "Bounce" | "Complaint" | "Delivery":
                raise _of_events(notification)
            case None if "eventType" in said:
                raise _of_events(notification)
            case _:
                raise Malformed("notificationType", "is none that SES sends for received mail")

    def answer(self, answered: Answered) -> int:
        """See `ses_sns.status`."""
        return status(answered)

    def _mails(
        self, said: Mapping[str, Any], notification: Notification, at: datetime
    ) -> Sequence[Inbound]:
        received = shaped(_Received, said, "Message")
        mail, receipt = received.mail, received.receipt
        action, verdicts = receipt.action, _verdicts(receipt)
        content = said.get("content")
        if content is not None:
            raw, origin = _octets(content, action.encoding), Origin(at, provider_verdicts=verdicts)
        elif action.type == "S3":
            raw = _for_every_tenant(said)
            origin = Origin(
                at,
                provider_verdicts=verdicts,
                body_format="stored",
                body_type="application/json",
                stored_at=self._place(action),
            )
        elif action.type == "Bounce":
            log.info("ses.refused_by_rule", ses_id=mail.message_id)
            return []
        else:
            raise Misconfigured(
                "SES receipt rule",
                f"its {action.type} action tells {notification.topic} of a mail and does not bring "
                "it: give that topic to the S3 action of the rule, and take it off this one",
            )
        envelope = Envelope(_sender(mail.source), tuple(map(_address, receipt.recipients)))
        return [Inbound(envelope, raw, "ses", mail.message_id, origin)]

    def _place(self, action: _Action) -> str:
        for field, value in (("bucketName", action.bucket_name), ("objectKey", action.object_key)):
            if not value or "\x00" in value:
                raise Malformed(f"Message.receipt.action.{field}", "does not say where the mail is")
        if action.bucket_name not in self._buckets:
            raise Misconfigured(BUCKETS, f"does not list {action.bucket_name}, where SES put mail")
        return f"s3://{action.bucket_name}/{action.object_key}"


def buckets(settings: Mapping[str, str]) -> Collection[str]:
    """The buckets that mail may be fetched from."""
    return frozenset(settings.get(BUCKETS, "").replace(",", " ").split())


def _of_events(notification: Notification) -> Misconfigured:
    return Misconfigured(
        "SNS subscription",
        f"{notification.topic} brings sending events to /webhook/ses: subscribe "
        "/webhooks/email/ses to it, and delete this subscription",
    )


def _octets(content: object, encoding: str) -> bytes:
    if not isinstance(content, str) or not content:
        raise Malformed("Message.content", "is no text, or empty")
    match encoding.upper():
        case "BASE64":
            try:
                return base64.b64decode(content, validate=True)
            except ValueError as error:
                raise Malformed("Message.content", "is not the Base64 it is said to be") from error
        case "" | "UTF8" | "UTF-8":
            # An unpaired surrogate in JSON is no reason to lose a mail.
            return content.encode("utf-8", "surrogatepass")
        case _:
            raise Malformed("Message.receipt.action.encoding", "is neither UTF8 nor BASE64")


def _for_every_tenant(said: Mapping[str, Any]) -> bytes:
    """The notification as each recipient's workspace may see it: without the other recipients."""
    receipt = {name: value for name, value in said["receipt"].items() if name != "recipients"}
    return json.dumps({**said, "receipt": receipt}).encode()


def _sender(source: str | None) -> str | None:
    bare = (source or "").strip().removeprefix("<").removesuffix(">")
    return _address(bare, "Message.mail.source") if bare else None


def _address(address: str, field: str = "Message.receipt.recipients") -> str:
    if not _ADDRESS.fullmatch(address):
        raise Malformed(field, "holds what is no address")
    return address


def _verdicts(receipt: _Receipt) -> Mapping[str, str]:
    """SES's own words; one that is not documented is no pass."""
    said: dict[str, str] = {}
    for name in _VERDICTS:
        verdict: _Verdict | None = getattr(receipt, f"{name}_verdict")
        if verdict is not None:
            word = verdict.status.upper()
            said[name] = word if word in _WORDS else "UNKNOWN"
    if (receipt.dmarc_policy or "").lower() in _POLICIES:
        said["dmarc_policy"] = str(receipt.dmarc_policy).lower()
    return said
