"""How does a mail look as the JSON of SendGrid's Mail Send?

Source: Twilio SendGrid "Mail Send" (v3), with its "Limitations" and "Headers", read 2026-11-21.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from email.header import Header
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.mail import Address
from mailagent.outgoing import Outgoing, OutgoingAttachment
from mailagent.providers.addressing import Addressing, in_ascii

__all__ = ["MESSAGE_ID_KEY", "message", "recipient_at"]

MESSAGE_ID_KEY = "mailagent_message_id"
"""The name in `custom_args` under which events bring our Message-ID back."""

_RESERVED = frozenset(
    {
        "x-sg-id",
        "x-sg-eid",
        "x-smtpapi",
        "received",
        "dkim-signature",
        "content-type",
        "content-transfer-encoding",
        "to",
        "from",
        "subject",
        "reply-to",
        "cc",
        "bcc",
    }
)


def message(outgoing: Outgoing, named: Addressing) -> dict[str, Any]:
    """The body of `POST /v3/mail/send`. Raises PermanentFailure for what it cannot carry."""
    if not outgoing.subject.strip():
        raise PermanentFailure("SendGrid carries no mail without a subject", about="message")
    forms = (("text/plain", outgoing.text), ("text/html", outgoing.html))
    content = [{"type": kind, "value": value} for kind, value in forms if value]
    if not content:
        raise PermanentFailure("SendGrid carries no mail without a text", about="message")
    reply_to = [_mailbox(in_ascii(one, "SendGrid")) for one in outgoing.reply_to]
    fields: dict[str, Any] = {
        "personalizations": _personalizations(named),
        "from": _mailbox(in_ascii(outgoing.from_, "SendGrid")),
        "subject": outgoing.subject,
        "content": content,
        "headers": _headers(outgoing),
        "custom_args": {MESSAGE_ID_KEY: outgoing.message_id},
        # A letter to a person is not watched, and nothing is written under it.
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
        },
    }
    if len(reply_to) == 1:
        fields["reply_to"] = reply_to[0]
    elif reply_to:
        fields["reply_to_list"] = reply_to
    if outgoing.attachments:
        fields["attachments"] = [_file(one) for one in outgoing.attachments]
    return fields


def _personalizations(named: Addressing) -> list[dict[str, Any]]:
    """Each needs a `to`: a hidden recipient without visible ones gets a mail of its own."""
    if not (named.to or named.cc):
        return [{"to": [_mailbox(one)]} for one in named.bcc]
    fields = {"to": named.to or named.cc, "cc": named.cc if named.to else (), "bcc": named.bcc}
    return [{name: [_mailbox(one) for one in boxes] for name, boxes in fields.items() if boxes}]


def _mailbox(mailbox: Address) -> dict[str, str]:
    return {"email": mailbox.address} | ({"name": mailbox.name} if mailbox.name else {})


def _headers(outgoing: Outgoing) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in _fields(outgoing):
        if name.lower() in _RESERVED:
            raise PermanentFailure(f"SendGrid reserves the header {name}", about="message")
        if name.lower() in map(str.lower, headers):
            raise PermanentFailure(f"SendGrid carries the header {name} only once", about="message")
        headers[name] = _encoded(value)
    return headers


def _fields(outgoing: Outgoing) -> Iterator[tuple[str, str]]:
    yield "Message-ID", outgoing.message_id
    if outgoing.in_reply_to:
        yield "In-Reply-To", outgoing.in_reply_to
    if outgoing.references:
        yield "References", " ".join(outgoing.references)
    if outgoing.auto_submitted:
        yield "Auto-Submitted", outgoing.auto_submitted
        yield "X-Auto-Response-Suppress", "OOF, AutoReply"
    yield from outgoing.headers


def _encoded(value: str) -> str:
    """SendGrid writes what it is given: encoded words (RFC 2047) are ours to make, unfolded."""
    return value if value.isascii() else Header(value, "utf-8").encode(linesep="")


def _file(file: OutgoingAttachment) -> dict[str, str]:
    kind = file.content_type
    if kind.lower().startswith("text/") and not file.content.isascii():
        # It takes no charset with a type, and then writes one of its own.
        kind = "application/octet-stream"
    fields = {
        "content": base64.b64encode(file.content).decode(),
        "type": kind,
        "filename": file.filename,
        "disposition": "attachment",
    }
    if file.content_id:
        fields |= {"disposition": "inline", "content_id": file.content_id}
    return fields


def recipient_at(fields: dict[str, Any], path: str) -> str | None:
    """The address that a path of an error, `personalizations.0.to.1.email`, stands for."""
    steps: Sequence[str] = path.split(".")
    value: Any = fields
    for step in steps:
        if isinstance(value, list) and step.isdecimal() and int(step[:6]) < len(value):
            value = value[int(step[:6])]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return None
    is_recipient = steps[0] == "personalizations" and steps[-1] == "email"
    return value if is_recipient and isinstance(value, str) else None
