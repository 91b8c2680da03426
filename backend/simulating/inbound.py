"""The generic door: raw MIME with the envelope in headers, signed. See `providers.generic`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from backend.simulating.post import Mail, Post, secret_path
from mailagent.providers.generic import SECRET, SIGNED_HEADERS, Generic, signature
from mailagent.webhook import WebhookSettings

__all__ = ["envelope", "posts", "signed"]


def envelope(mail: Mail, now: datetime) -> dict[str, str]:
    """The headers that say what SMTP would have said."""
    return {
        "X-Mailagent-Timestamp": str(int(now.timestamp())),
        "X-Mailagent-Mail-From": mail.mail_from or "",
        "X-Mailagent-Rcpt-To": ", ".join(mail.rcpt_to),
    }


def signed(secret: str, headers: Mapping[str, str], body: bytes) -> Post:
    """A POST of any headers and body, signed as they are."""
    made = signature(secret, [headers.get(name, "").encode() for name in SIGNED_HEADERS], body)
    named = {"Content-Type": "message/rfc822", **headers, "X-Mailagent-Signature": made}
    return Post(f"/webhook/{Generic.kind}", named, body)


def posts(mail: Mail, settings: WebhookSettings, now: datetime) -> Sequence[Post]:
    """See `MakesPosts`: one for all recipients."""
    headers = envelope(mail, now)
    if secret := settings.value(SECRET):
        return [signed(secret, headers, mail.raw)]
    path = secret_path(Generic.kind, settings, "it is the key of this webhook")
    return [Post(path, headers, mail.raw)]
