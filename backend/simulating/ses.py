"""Amazon SES: a receipt notification with the mail inside, by raw delivery of SNS.

Only Amazon can sign a notification. Raw message delivery has no signature, and our secret in the
path opens it. Source: Amazon SES Developer Guide, "Contents of notifications for Amazon SES email
receiving"; Amazon SNS Developer Guide, "Amazon SNS raw message delivery" (read 2026-11).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from backend.simulating.post import Mail, Post, secret_path
from mailagent.webhook import WebhookSettings

__all__ = ["notification", "posts"]

_ANY_TOPIC = "arn:aws:sns:eu-west-1:123456789012:simulated"
_PASS = {"status": "PASS"}


def notification(mail: Mail, now: datetime) -> dict[str, Any]:
    """The `Message` that SES publishes for a mail that its rule gives to SNS, in Base64."""
    at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "notificationType": "Received",
        "mail": {
            "timestamp": at,
            "source": mail.mail_from or "<>",
            "messageId": mail.digest[:40],
            "destination": list(mail.rcpt_to),
            "headersTruncated": False,
            "headers": [],
            "commonHeaders": {},
        },
        "receipt": {
            "timestamp": at,
            "processingTimeMillis": 1,
            "recipients": list(mail.rcpt_to),
            **dict.fromkeys(
                ("spamVerdict", "virusVerdict", "spfVerdict", "dkimVerdict", "dmarcVerdict"), _PASS
            ),
            "action": {"type": "SNS", "topicArn": _ANY_TOPIC, "encoding": "BASE64"},
        },
        "content": base64.b64encode(mail.raw).decode(),
    }


def posts(mail: Mail, settings: WebhookSettings, now: datetime) -> Sequence[Post]:
    """See `MakesPosts`: one for all recipients."""
    path = secret_path("ses", settings, "only Amazon can sign for SES")
    listed = settings.value("SES_SNS_TOPIC_ARNS").replace(",", " ").split()
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "x-amz-sns-rawdelivery": "true",
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-topic-arn": listed[0] if listed else _ANY_TOPIC,
    }
    return [Post(path, headers, json.dumps(notification(mail, now)).encode())]
