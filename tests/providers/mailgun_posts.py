"""What Mailgun posts, as its documentation says it: a route's form for any mail, and events."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mailagent.webhook import WebhookRequest

DATA = Path(__file__).parent.parent / "data" / "mailgun"
KEY = "whsk-test-0001"
TOKEN = "5f0cababababababababababababababababababababababab"
NOW = datetime.fromtimestamp(1_795_250_000, UTC) + timedelta(seconds=3)
"""Three seconds after what the data was signed."""

Fields = list[tuple[str, str | bytes]]
Files = Sequence[tuple[str, str, str, bytes]]
"""Name of the field, of the file, type, content."""


def signed(timestamp: str = "1795250000", token: str = TOKEN, key: str = KEY) -> Fields:
    """The three fields that vouch for a post."""
    made = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256)
    return [("timestamp", timestamp), ("token", token), ("signature", made.hexdigest())]


def fixture(name: str) -> Fields:
    """The fields of a form kept in tests/data/mailgun."""
    return [tuple(pair) for pair in json.loads((DATA / name).read_text())]


def urlencoded(fields: Fields) -> tuple[bytes, str]:
    """Body and Content-Type of a form without files."""
    return urlencode(fields).encode(), "application/x-www-form-urlencoded"


def multipart(fields: Fields, files: Files = (), boundary: str = "mg") -> tuple[bytes, str]:
    """Body and Content-Type of a form with files."""
    body = b""
    for name, value in fields:
        octets = value if isinstance(value, bytes) else value.encode()
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        body += octets + b"\r\n"
    for name, filename, content_type, content in files:
        shown = filename.replace("\\", "\\\\").replace('"', '\\"')
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{shown}"\r\n'
            f"Content-Type: {content_type}\r\n\r\n"
        ).encode()
        body += content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def request(
    form: tuple[bytes, str], path: tuple[str, ...] = (), *, vouched: bool = False
) -> WebhookRequest:
    """A post as the door hands it on."""
    body, content_type = form
    return WebhookRequest(
        body=body,
        headers={"content-type": content_type},
        received_at=NOW,
        path=path,
        secret_in_path=vouched,
    )


def event(data: Mapping[str, Any], **signature: str) -> tuple[bytes, str]:
    """Body and Content-Type of an event."""
    body = {"signature": dict(signed(**signature)), "event-data": data}
    return json.dumps(body).encode(), "application/json"


def parsed(
    raw: bytes, recipient: str = "support@acme.aexy.email", sender: str = "dana@customer.example"
) -> tuple[bytes, str]:
    """What `forward()` without `mime` makes of a mail: text and HTML in UTF-8, files beside it."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    top = [
        ["X-Mailgun-Spf", "Pass"],
        ["X-Mailgun-Sflag", "No"],
        ["X-Mailgun-Incoming", "Yes"],
        ["X-Envelope-From", f"<{sender}>"],
        ["Received", "from mail.customer.example by mxa.mailgun.org with ESMTP id abc.123"],
    ]
    texts: dict[str, str] = {}
    files: list[tuple[str, str, str, bytes]] = []
    content_ids: list[str] = []
    for part in message.walk():
        inside_mail = part.get_content_type() == "message/rfc822"
        if part.is_multipart() and not inside_mail:
            continue
        kind, is_file = part.get_content_type(), part.get_filename() is not None
        if part.get_content_maintype() == "text" and not is_file:
            name = f"body-{part.get_content_subtype()}"
            texts[name] = texts.get(name, "") + part.get_content()
            continue
        name = f"attachment-{len(files) + 1}"
        if inside_mail:
            content = part.get_payload(0).as_bytes()
        elif kind.startswith("message/"):
            content = b"\n".join(one.as_bytes() for one in part.get_payload())
        else:
            content = part.get_payload(decode=True)
        files.append((name, part.get_filename() or "", kind, content))
        if part["Content-ID"]:
            content_ids.append(f"{json.dumps(str(part['Content-ID']))}: {json.dumps(name)}")
        if inside_mail:
            break
    fields: Fields = [
        ("recipient", recipient),
        ("sender", sender),
        ("subject", str(message["Subject"] or "")),
        ("from", str(message["From"] or "")),
        ("Recipient", "elsewhere@other.example"),
        *texts.items(),
        ("attachment-count", str(len(files))),
        ("content-id-map", "{" + ", ".join([*content_ids, '"": "attachment-9"']) + "}"),
        ("message-headers", json.dumps(top + [[n, str(v)] for n, v in message.items()])),
        *signed(),
    ]
    return multipart(fields, files) if files else urlencoded(fields)
