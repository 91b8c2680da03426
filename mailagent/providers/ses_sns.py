"""Did Amazon SNS send this request, from a topic of ours, and what does it carry?

A valid signature proves only that some topic sent it, and anybody may subscribe our address to a
topic of theirs: the list of topics is what authenticates. Raw message delivery has no signature at
all. Sources: Amazon SNS Developer Guide, "Parsing Amazon SNS message formats", "Verifying the
signatures of Amazon SNS messages", "Amazon SNS raw message delivery" (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import BaseModel, ConfigDict, Field

from mailagent.errors import Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Replayed, Unrouted
from mailagent.providers.ses_json import members, shaped
from mailagent.webhook import Answered, Fetch, WebhookRequest, WebhookSettings, from_base64

__all__ = ["TOPICS", "Notification", "Sns", "status"]

log = structlog.get_logger()

TOPICS = "SES_SNS_TOPIC_ARNS"

_OLDEST = timedelta(hours=24)
"""SNS tries for an hour at most; the rest is for clocks."""
_MOST_CERTIFICATES = 16
_ARN = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]{3,40}):[0-9]{12}:[\w.-]{1,262}", re.A
)
_CERTIFICATE_PATH = r"/SimpleNotificationService-[0-9A-Za-z]{8,64}\.pem"
_PRINTABLE = re.compile(r"[!-~]{1,2000}")
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "1": hashes.SHA1(),  # noqa: S303 - what SNS signs with unless the topic says 2
    "2": hashes.SHA256(),
}
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""Which members are signed, in the order of the signed text; an absent one is left out."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a topic of ours published."""

    message: str
    topic: str

    @property
    def is_test(self) -> bool:
        """SES tried whether it may publish to the topic."""
        return self.message.startswith("Successfully validated SNS topic for Amazon SES")

    @property
    def region(self) -> str:
        """The topic's region: SES publishes to topics of its own region only."""
        found = _ARN.fullmatch(self.topic)
        return found[2] if found else ""


class _Envelope(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    type: str = Field(alias="Type")
    message_id: str = Field(alias="MessageId", min_length=1)
    topic: str = Field(alias="TopicArn", min_length=1)
    message: str = Field(alias="Message")
    timestamp: str = Field(alias="Timestamp")
    subject: str | None = Field(None, alias="Subject")
    token: str | None = Field(None, alias="Token")
    subscribe_url: str | None = Field(None, alias="SubscribeURL")
    signature_version: str = Field(alias="SignatureVersion")
    signature: str = Field(alias="Signature")
    certificate_url: str = Field(alias="SigningCertURL")


class Sns:
    """Reads SNS requests of the operator's topics, and confirms their subscriptions."""

    def __init__(self, settings: WebhookSettings, fetch: Fetch) -> None:
        self._topics = frozenset(settings.value(TOPICS).replace(",", " ").split())
        self._fetch = fetch
        self._certificates: dict[str, x509.Certificate] = {}

    @property
    def missing(self) -> Misconfigured | None:
        """See `webhook.Receives`."""
        if self._topics:
            return None
        return Misconfigured(TOPICS, "is not set: list the ARN of each SNS topic that SES uses")

    async def read(self, request: WebhookRequest) -> Notification | None:
        """What the request carries; None when it only confirms something.

        Raises Unauthentic, Malformed, TransientFailure (certificate or confirmation cannot be
        fetched) and Misconfigured (a topic asks to be confirmed and none is listed).
        """
        if request.header("x-amz-sns-rawdelivery").lower() == "true":
            return self._raw(request)
        said = members("body", request.body)
        envelope = shaped(_Envelope, said, "body")
        for header, value in (
            ("x-amz-sns-message-type", envelope.type),
            ("x-amz-sns-message-id", envelope.message_id),
            ("x-amz-sns-topic-arn", envelope.topic),
        ):
            if request.header(header) not in ("", value):
                raise Unauthentic(f"the header {header} says something else than the body")
        host = self._host(envelope.topic)
        _check_age(envelope.timestamp, request.received_at)
        if envelope.type not in _SIGNED:
            raise Malformed("Type", "is none that SNS sends")
        certificate = await self._certificate(envelope.certificate_url, host)
        _check_dates(certificate, request.received_at)
        _check_signature(certificate, envelope, said)
        match envelope.type:
            case "SubscriptionConfirmation":
                await self._confirm(envelope, host)
            case "UnsubscribeConfirmation":
                log.warning("ses.unsubscribed", topic=envelope.topic)
            case _:
                return Notification(envelope.message, envelope.topic)
        return None

    def _raw(self, request: WebhookRequest) -> Notification:
        if not request.secret_in_path:
            raise Unauthentic(
                "raw message delivery is not signed: turn it off for this subscription, or put "
                "INBOUND_WEBHOOK_SECRET in its address"
            )
        topic = request.header("x-amz-sns-topic-arn")
        self._host(topic)
        try:
            return Notification(request.body.decode(), topic)
        except UnicodeDecodeError as error:
            raise Malformed("body", "is not UTF-8") from error

    def _host(self, topic: str) -> str:
        """Where a topic's region has its API. Raises Unauthentic for a topic that is not ours."""
        found = _ARN.fullmatch(topic)
        if found is None:
            raise Unauthentic("it names no SNS topic")
        if self._topics and topic not in self._topics:
            raise Unauthentic(f"{topic} is not listed in {TOPICS}")
        return f"sns.{found[2]}.amazonaws.com{'.cn' if found[1] == 'aws-cn' else ''}"

    async def _certificate(self, url: str, host: str) -> x509.Certificate:
        if not re.fullmatch(re.escape(f"https://{host}") + _CERTIFICATE_PATH, url):
            raise Unauthentic(f"SigningCertURL is no certificate of {host}")
        if (known := self._certificates.get(url)) is not None:
            return known
        try:
            certificate = x509.load_pem_x509_certificate(await self._fetch(url))
        except ValueError as error:
            raise TransientFailure("what is at SigningCertURL is no certificate") from error
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        if [name.value for name in names] != ["sns.amazonaws.com"]:
            raise Unauthentic("the certificate is not that of SNS")
        while len(self._certificates) >= _MOST_CERTIFICATES:
            self._certificates.pop(next(iter(self._certificates)))
        self._certificates[url] = certificate
        return certificate

    async def _confirm(self, envelope: _Envelope, host: str) -> None:
        topic, url = envelope.topic, envelope.subscribe_url or ""
        if not self._topics:
            raise Misconfigured(TOPICS, f"is not set, and {topic} asks to be confirmed: list it")
        asked = parse_qs(urlsplit(url).query) if _PRINTABLE.fullmatch(url) else {}
        if (
            not url.startswith(f"https://{host}/?")
            or asked.get("Action") != ["ConfirmSubscription"]
            or asked.get("TopicArn") != [topic]
            or asked.get("Token") != [envelope.token]
        ):
            raise Unauthentic("SubscribeURL does not confirm this subscription")
        await self._fetch(url)
        log.info("ses.subscription_confirmed", topic=topic)


def status(answered: Answered) -> int:
    """SNS repeats after a 5xx, for an hour at most, and drops at once what gets a 4xx.

    So a notification that cannot be read is "later" too: it is authentic, and the mistake rather
    ours than Amazon's.
    """
    match answered:
        case Accepted() | Duplicate() | Unrouted():
            return 200
        case Unauthentic() | Replayed():
            return 403
        case _:
            return 503


def _check_age(timestamp: str, now: datetime) -> None:
    try:
        sent_at = datetime.fromisoformat(timestamp)
    except ValueError as error:
        raise Malformed("Timestamp", "is no time") from error
    if sent_at.tzinfo is None:
        raise Malformed("Timestamp", "has no time zone")
    if now - sent_at > _OLDEST:
        raise Unauthentic("it was sent more than a day ago: somebody repeats it")


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Unauthentic("the certificate is not valid now: is this machine's clock right?")


def _check_signature(
    certificate: x509.Certificate, envelope: _Envelope, said: Mapping[str, Any]
) -> None:
    algorithm = _HASHES.get(envelope.signature_version)
    key = certificate.public_key()
    if algorithm is None or not isinstance(key, rsa.RSAPublicKey):
        raise Unauthentic("it is signed in a way that we do not know")
    signed = "".join(
        f"{name}\n{said[name]}\n" for name in _SIGNED[envelope.type] if said.get(name) is not None
    )
    try:
        signature = from_base64(envelope.signature)
        key.verify(signature, signed.encode(), padding.PKCS1v15(), algorithm)
    except (InvalidSignature, ValueError) as error:
        raise Unauthentic("the signature does not hold") from error
