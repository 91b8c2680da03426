"""SendGrid: the form of Inbound Parse with "POST the raw, full MIME message".

Only SendGrid can sign it, so our secret in the path must open the webhook. Source: Twilio SendGrid
"Setting up the Inbound Parse Webhook" (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from backend.simulating.post import Mail, Post, multipart, secret_path
from mailagent.errors import Misconfigured
from mailagent.webhook import WebhookSettings

__all__ = ["fields", "posts"]

_KEY = "SENDGRID_WEBHOOK_PUBLIC_KEY"


def fields(mail: Mail) -> list[tuple[str, bytes]]:
    """The form's fields, in SendGrid's order."""
    envelope = {"to": list(mail.rcpt_to), "from": mail.mail_from or ""}
    return [
        ("dkim", b"none"),
        ("email", mail.raw),
        ("to", ", ".join(mail.rcpt_to).encode()),
        ("from", (mail.mail_from or "").encode()),
        ("sender_ip", b"192.0.2.1"),
        ("envelope", json.dumps(envelope).encode()),
        ("charsets", json.dumps({"to": "UTF-8", "from": "UTF-8"}).encode()),
        ("SPF", b"none"),
    ]


def posts(mail: Mail, settings: WebhookSettings, now: datetime) -> Sequence[Post]:
    """See `MakesPosts`: one for all recipients."""
    if settings.value(_KEY):
        raise Misconfigured(
            _KEY,
            "is set, and only SendGrid has the private key: simulate on a server where it is empty",
        )
    path = secret_path("sendgrid", settings, "only SendGrid can sign its requests")
    body, content_type = multipart(fields(mail), mail.digest)
    return [Post(path, {"Content-Type": content_type}, body)]
