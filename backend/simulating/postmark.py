"""Postmark: the JSON of its inbound webhook with "Include raw email content".

Source: Postmark "Inbound webhook" (read 2026-11).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from backend.simulating.post import Mail, Post, address, secret_path
from mailagent.webhook import WebhookSettings

__all__ = ["authorization", "document", "encoded", "posts"]

_PASSWORD = "POSTMARK_WEBHOOK_PASSWORD"  # noqa: S105 - the setting's name


def document(mail: Mail, recipient: str) -> dict[str, Any]:
    """The members; in `RawEmail` an octet outside UTF-8 is a lone surrogate."""
    sender = mail.mail_from or ""
    return {
        "MessageStream": "inbound",
        "From": sender,
        "FromFull": {"Email": sender, "Name": "", "MailboxHash": ""},
        "To": recipient,
        "OriginalRecipient": recipient,
        "MessageID": str(UUID(mail.digest[:32])),
        "Headers": [{"Name": "Return-Path", "Value": f"<{sender}>"}],
        "Attachments": [],
        "RawEmail": mail.raw.decode("utf-8", "surrogateescape"),
    }


def encoded(document: Mapping[str, Any]) -> bytes:
    """The body of a POST."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def authorization(user: str, password: str) -> str:
    """RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def posts(mail: Mail, settings: WebhookSettings, now: datetime) -> Sequence[Post]:
    """See `MakesPosts`: one for each recipient."""
    headers = {"Content-Type": "application/json"}
    if password := settings.value(_PASSWORD):
        user = settings.value("POSTMARK_WEBHOOK_USER") or "postmark"
        headers["Authorization"] = authorization(user, password)
    else:
        secret_path("postmark", settings, f"{_PASSWORD} is too")
    path = address("postmark", settings)
    return [Post(path, headers, encoded(document(mail, one))) for one in mail.rcpt_to]
