"""How is a mail fetched that Mailgun keeps for us (`store(notify=…)`, three days)?

Source: Mailgun "Retrieving stored messages" (read 2026-11).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.webhook import WebhookSettings

__all__ = ["Stored", "fetch_mail", "fetch_stored", "is_stored_at", "stored_id"]

_PLACE = re.compile(
    r"https://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)?api(?:\.eu)?\.mailgun\.net"
    r"/v3/domains/[A-Za-z0-9.-]{1,255}/messages/[A-Za-z0-9_=.~-]{1,500}"
)
"""The API key goes there: nothing that could be read as another host, port, user or call."""
_MOST_BYTES = 60 * 1024 * 1024
_LONGEST_ID = 200
_TIMEOUT = httpx.Timeout(10.0, read=60.0)


def is_stored_at(url: str) -> bool:
    """Whether Mailgun keeps a mail at this address, by its form alone."""
    return _PLACE.fullmatch(url) is not None


def stored_id(url: str) -> str:
    """Mailgun's own name for a mail that it keeps: the key of its storage, or that one's SHA-256
    where it is longer than 200 characters.
    """
    key = urlsplit(url).path.rpartition("/")[2]
    return key if len(key) <= _LONGEST_ID else hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Stored:
    """A mail that Mailgun keeps, and its envelope as Mailgun wrote it down."""

    mime: bytes
    sender: str
    recipients: str
    """Commas between them."""


async def fetch_stored(settings: WebhookSettings, url: str) -> bytes:
    """The raw MIME of a stored mail. Raises as `fetch_mail` does."""
    return (await fetch_mail(settings, url)).mime


async def fetch_mail(settings: WebhookSettings, url: str) -> Stored:
    """A stored mail, at most 60 MiB with its JSON.

    Uses `MAILGUN_API_KEY`; where `MAILGUN_BASE_URL` is set, that host is asked instead. Raises
    TransientFailure, also for a key that is not set or not taken, since a person can still mend
    that; PermanentFailure when this is no such place, or Mailgun has the mail no more.
    """
    if not is_stored_at(url):
        raise PermanentFailure("is no place where Mailgun keeps mail", about="message")
    key = settings.value("MAILGUN_API_KEY")
    if not key:
        raise TransientFailure("MAILGUN_API_KEY is empty: mail that Mailgun stores needs it")
    if base := settings.value("MAILGUN_BASE_URL"):
        url = base.rstrip("/") + urlsplit(url).path
    body = bytearray()
    try:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client,
            client.stream(
                "GET", url, auth=("api", key), headers={"Accept": "message/rfc2822"}
            ) as response,
        ):
            _check(response.status_code)
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES:
                    reason = f"the stored mail has more than {_MOST_BYTES} bytes"
                    raise PermanentFailure(reason, about="message")
    except httpx.HTTPError as error:
        reason = f"Mailgun's storage could not be reached: {type(error).__name__}"
        raise TransientFailure(reason) from error
    return _stored(bytes(body))


def _check(status: int) -> None:
    match status:
        case 200:
            return
        case 401 | 403:
            problem = "MAILGUN_API_KEY is not taken there: it must be the account's, not a domain's"
            raise TransientFailure(
                f"Mailgun's storage answered {status}: {problem}", code=str(status)
            )
        case 404 | 410:
            raise PermanentFailure(
                "Mailgun has the mail no more", code=str(status), about="message"
            )
        case _:
            raise TransientFailure(f"Mailgun's storage answered {status}", code=str(status))


def _stored(body: bytes) -> Stored:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TransientFailure("Mailgun's storage did not answer with JSON") from error
    said = said if isinstance(said, dict) else {}
    mime, sender, recipients = (said.get(name) for name in ("body-mime", "sender", "recipients"))
    if not isinstance(mime, str) or not mime:
        raise TransientFailure("Mailgun's storage answered without body-mime")
    return Stored(
        mime=mime.encode("utf-8", "surrogatepass"),
        sender=sender if isinstance(sender, str) else "",
        recipients=recipients if isinstance(recipients, str) else "",
    )
