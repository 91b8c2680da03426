"""What is a provider's request made of, whichever provider it is?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mailagent.errors import Misconfigured
from mailagent.webhook import WebhookSettings

__all__ = ["Mail", "MakesPosts", "Post", "address", "multipart", "secret_path"]

_SECRET = "INBOUND_WEBHOOK_SECRET"  # noqa: S105 - the setting's name


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as its sender's server hands it to the provider."""

    mail_from: str | None
    """None is `<>`."""
    rcpt_to: tuple[str, ...]
    raw: bytes

    @property
    def digest(self) -> str:
        """The same for the same mail, in hexadecimal: a provider's own id is made of it."""
        named = hashlib.sha256(repr((self.mail_from, self.rcpt_to)).encode())
        named.update(self.raw)
        return named.hexdigest()


@dataclass(frozen=True, slots=True)
class Post:
    """One POST to this server."""

    path: str = field(repr=False)
    """May hold our secret."""
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


MakesPosts = Callable[[Mail, WebhookSettings, datetime], Sequence[Post]]
"""The requests that bring a mail, authenticated by what is set. Raises Misconfigured when only the
provider could make them."""


def address(kind: str, settings: WebhookSettings, ending: str = "") -> str:
    """The path of a webhook, with our secret in it where one is set."""
    return "/".join(("/webhook", kind, *filter(None, (settings.value(_SECRET), ending))))


def secret_path(kind: str, settings: WebhookSettings, why: str) -> str:
    """The path of a webhook that our secret must open. Raises Misconfigured, with `why`."""
    if not settings.value(_SECRET) and kind not in settings.open:
        raise Misconfigured(_SECRET, f"is empty, and {why}: set it for the server and here")
    return address(kind, settings)


def multipart(fields: Iterable[tuple[str, bytes]], boundary: str) -> tuple[bytes, str]:
    """Body and Content-Type of a form (RFC 7578)."""
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + value
        + b"\r\n"
        for name, value in fields
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
