"""Amazon SNS as far as a subscriber sees it: a topic that signs, and the host of its certificate.

In a test: `Sns(provider).request({...})` is the POST that carries a message of SES.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mailagent.errors import TransientFailure
from mailagent.webhook import WebhookRequest, WebhookSettings

__all__ = ["NOW", "TOPIC", "Sns", "certificate"]

NOW = datetime(2026, 11, 21, 9, 0, 2, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem"
_CONFIRMS = ("SubscriptionConfirmation", "UnsubscribeConfirmation")


@cache
def _key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def certificate(
    name: str = "sns.amazonaws.com",
    *,
    begins: datetime = NOW - timedelta(days=30),
    ends: datetime = NOW + timedelta(days=300),
) -> bytes:
    """A certificate in PEM over the key of this process."""
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(_key("sns").public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(_key("sns"), hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@dataclass
class Sns:
    """A topic, and the web as its subscribers see it."""

    topic: str = TOPIC
    web: dict[str, bytes] = field(default_factory=dict)
    """What is found at an address; everything else is away."""
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.web.setdefault(self.certificate_url, certificate())

    @property
    def certificate_url(self) -> str:
        return _URL.format("0123456789abcdef" * 2)

    @property
    def subscribe_url(self) -> str:
        where = (
            f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={self.topic}"
        )
        return f"{where}&Token=2336412f37"

    async def fetch(self, url: str) -> bytes:
        """See `webhook.Fetch`."""
        self.fetched.append(url)
        if url not in self.web:
            raise TransientFailure("it could not be fetched")
        return self.web[url]

    def settings(self, **values: str) -> WebhookSettings:
        return WebhookSettings(
            {"SES_SNS_TOPIC_ARNS": self.topic, "SES_S3_BUCKETS": "mail-in", **values}
        )

    def envelope(self, message: object, **changes: Any) -> dict[str, Any]:
        """The signed members. None leaves one out; what `signed_` says is changed after signing."""
        later = {name[7:]: changes.pop(name) for name in list(changes) if name[:7] == "signed_"}
        said: dict[str, Any] = {
            "Type": "Notification",
            "MessageId": "7a0f3c52-0000-5000-8000-000000000001",
            "TopicArn": self.topic,
            "Subject": "Amazon SES Email Receipt Notification",
            "Message": message if isinstance(message, str) else json.dumps(message),
            "Timestamp": "2026-11-21T09:00:01.123Z",
            "SignatureVersion": "2",
            "SigningCertURL": self.certificate_url,
            "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        }
        if changes.get("Type") in _CONFIRMS:
            del said["Subject"], said["UnsubscribeURL"]
            said |= {"Token": "2336412f37", "SubscribeURL": self.subscribe_url}
        said = {name: value for name, value in (said | changes).items() if value is not None}
        said.setdefault("Signature", _sign(said))
        return said | later

    def request(
        self, message: object, *, secret_in_path: bool = False, **changes: Any
    ) -> WebhookRequest:
        """The POST of a message, signed."""
        return self.post(self.envelope(message, **changes), secret_in_path=secret_in_path)

    def post(
        self,
        said: Mapping[str, Any] | bytes,
        *,
        secret_in_path: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> WebhookRequest:
        """A POST of any body, with the headers that SNS sends for it."""
        if not isinstance(said, bytes):
            headers = {
                "content-type": "text/plain; charset=UTF-8",
                "x-amz-sns-message-type": str(said.get("Type", "")),
                "x-amz-sns-message-id": str(said.get("MessageId", "")),
                "x-amz-sns-topic-arn": str(said.get("TopicArn", "")),
                **(headers or {}),
            }
            said = json.dumps(said).encode()
        return WebhookRequest(said, headers or {}, NOW, secret_in_path=secret_in_path)

    def raw(self, message: object, *, secret_in_path: bool = True) -> WebhookRequest:
        """The POST of raw message delivery."""
        headers = {
            "x-amz-sns-rawdelivery": "true",
            "x-amz-sns-message-type": "Notification",
            "x-amz-sns-message-id": "7a0f3c52-0000-5000-8000-000000000001",
            "x-amz-sns-topic-arn": self.topic,
        }
        body = message if isinstance(message, str) else json.dumps(message)
        return self.post(body.encode(), headers=headers, secret_in_path=secret_in_path)


def _sign(said: Mapping[str, Any]) -> str:
    names = ["Message", "MessageId", "Timestamp", "TopicArn", "Type"]
    names += ["SubscribeURL", "Token"] if said.get("Type") in _CONFIRMS else ["Subject"]
    text = "".join(f"{name}\n{said[name]}\n" for name in sorted(names) if name in said)
    algorithm = hashes.SHA1() if said.get("SignatureVersion") == "1" else hashes.SHA256()
    octets = text.encode("utf-8", "replace")
    return base64.b64encode(_key("sns").sign(octets, padding.PKCS1v15(), algorithm)).decode()
