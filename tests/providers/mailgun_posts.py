"""What Mailgun posts, as its documentation says it: a route's forms, signed, and events."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
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
