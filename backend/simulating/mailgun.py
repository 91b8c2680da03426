"""Mailgun: the form of a route's `forward()` to an address that ends in `mime`, signed.

Source: Mailgun "Receiving, forwarding and storing messages", "Securing webhooks" (read 2026-11).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from backend.simulating.post import Mail, Post, address, multipart, secret_path
from mailagent.webhook import WebhookSettings

__all__ = ["fields", "posts", "signed"]

_KEY = "MAILGUN_WEBHOOK_SIGNING_KEY"
Fields = list[tuple[str, bytes]]


def fields(mail: Mail, recipient: str) -> Fields:
    """The form's fields without the signature."""
    return [
        ("recipient", recipient.encode()),
        ("sender", (mail.mail_from or "").encode()),
        ("body-mime", mail.raw),
    ]


def signed(key: str, now: datetime, token: str) -> Fields:
    """The fields that vouch for a POST; `token` is good for one content."""
    timestamp = str(int(now.timestamp()))
    made = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    named = (("timestamp", timestamp), ("token", token), ("signature", made))
    return [(name, value.encode()) for name, value in named]


def posts(mail: Mail, settings: WebhookSettings, now: datetime) -> Sequence[Post]:
    """See `MakesPosts`: one for each recipient, as a route makes them."""
    key = settings.value(_KEY)
    if not key:
        secret_path("mailgun", settings, f"{_KEY} is too")
    path = address("mailgun", settings, "mime")
    made = []
    for recipient in mail.rcpt_to:
        vouched = signed(key, now, secrets.token_hex(25)) if key else []
        body, content_type = multipart([*fields(mail, recipient), *vouched], mail.digest)
        made.append(Post(path, {"Content-Type": content_type}, body))
    return made
