"""How does a mail leave by Mailgun?

Our own MIME goes to `POST /v3/{domain}/messages.mime`, which keeps our Message-ID; whom it goes to
is said beside it. Mailgun signs it. Source: Mailgun "Sending messages", "Events" (read 2026-11).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Self
from urllib.parse import quote

from mailagent.errors import Malformed, Misconfigured, PermanentFailure, TransientFailure
from mailagent.mail import Address
from mailagent.mime import build, json_body
from mailagent.mime.outgoing_rules import check_address
from mailagent.outgoing import Committing, HandedOver, Outgoing, Recipient, Refused
from mailagent.providers.account import Account
from mailagent.providers.addressing import in_ascii
from mailagent.providers.api import TIMES, Times
from mailagent.providers.mailgun_access import HOSTS, access, open_api
from mailagent.providers.mailgun_answer import sent

__all__ = ["MailgunSender"]

_MOST_BYTES: Final = 25 * 1024 * 1024
_MOST_RECIPIENTS: Final = 1_000
_MOST_TAGS = 3
_EVENTS_ARE_THERE_AFTER = timedelta(minutes=30)
_EVENTS_ARE_KEPT = timedelta(hours=23)
"""A day, where nothing is paid."""


class MailgunSender:
    """One Mailgun account, in one region. Belongs to one event loop; `close` it there."""

    def __init__(
        self,
        name: str,
        key: str,
        *,
        region: str = "us",
        base: str = "",
        domain: str = "",
        tags: Sequence[str] = (),
        times: Times = TIMES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._region, self._domain, self._tags = region, domain.lower(), tuple(tags)
        self._api = open_api(key, base or HOSTS[region], times)
        self._now = now

    @classmethod
    def of(cls, account: Account) -> Self:
        """`MAILGUN_API_KEY`; where set, `MAILGUN_REGION` (`us`, `eu`), `MAILGUN_BASE_URL`,
        `MAILGUN_DOMAIN` (sends for its subdomains too) and `MAILGUN_TAGS` (up to three, by commas).
        Raises Misconfigured.
        """
        settings = account.settings
        key, region, base = access(account)
        tags = [tag.strip() for tag in settings.get("MAILGUN_TAGS", "").split(",") if tag.strip()]
        if len(tags) > _MOST_TAGS or not all(tag.isascii() and len(tag) <= 128 for tag in tags):
            raise Misconfigured("MAILGUN_TAGS", f"are at most {_MOST_TAGS}, of 128 ASCII letters")
        return cls(
            account.name,
            key,
            region=region,
            base=base,
            domain=settings.get("MAILGUN_DOMAIN", "").strip(),
            tags=tags,
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def recipients_at_once(self) -> int:
        return _MOST_RECIPIENTS

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        """Hand one mail over for up to 1,000 recipients, in one request.

        The mail has at most 25 MB as MIME. Raises PermanentFailure, TransientFailure (429, 500,
        503, no connection), UncertainDelivery (no answer, or a gateway's in Mailgun's place).
        """
        if len(to) > _MOST_RECIPIENTS:
            reason = f"Mailgun takes {_MOST_RECIPIENTS} recipients at once"
            raise PermanentFailure(reason, about="message")
        mime = _rendered(outgoing)
        path = f"/v3/{self._domain_of(outgoing)}/messages.mime"
        refused: dict[Recipient, Refused] = {}
        addresses: dict[Recipient, str] = {}
        for recipient in to:
            written = _written(recipient)
            if isinstance(written, Refused):
                refused[recipient] = written
            else:
                addresses[recipient] = written
        if not addresses:
            return refused
        options = [("to", address) for address in addresses.values()]
        options += [("o:tag", tag) for tag in self._tags]
        body, content_type = _multipart(options, mime)
        await committing(tuple(addresses))
        answer = await self._api.post(path, body, content_type=content_type)
        outcomes = sent(answer, tuple(addresses), region=self._region, now=self._now())
        return {**refused, **outcomes}

    async def taken(
        self, outgoing: Outgoing, recipient: Recipient, *, tried_at: datetime | None = None
    ) -> bool | None:
        """Whether Mailgun has this mail for this recipient, by its list of events.

        An event of any kind says yes. No event says no only for a mail that was `tried_at` at least
        half an hour ago, since events come late, and within a day, since they are kept no longer
        everywhere. None: it cannot be told, also because Mailgun cannot be asked.
        """
        try:
            answer = await self._api.get(
                f"/v3/{self._domain_of(outgoing)}/events",
                {
                    "message-id": outgoing.message_id.strip("<>"),
                    "recipient": recipient.address,
                    "limit": "1",
                },
            )
            items = json_body.read(answer.body).members.get("items")
        except (TransientFailure, PermanentFailure, Malformed):
            return None
        if answer.status != 200 or not isinstance(items, list):
            return None
        if items:
            return True
        age = None if tried_at is None else self._now() - tried_at
        settled = age is not None and _EVENTS_ARE_THERE_AFTER <= age <= _EVENTS_ARE_KEPT
        return False if settled else None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    def _domain_of(self, outgoing: Outgoing) -> str:
        """The Mailgun domain that carries the mail, as it stands in an address."""
        own = in_ascii(Address(f"_@{outgoing.from_.domain}"), "Mailgun").domain
        if self._domain and f".{own}".endswith(f".{self._domain}"):
            own = self._domain
        return quote(own, safe="")


def _rendered(outgoing: Outgoing) -> bytes:
    try:
        mime = build.render(outgoing)
    except Malformed as error:
        raise PermanentFailure(str(error), code="5.6.0", about="message") from error
    if len(mime) > _MOST_BYTES:
        raise PermanentFailure(
            f"the mail has {len(mime)} bytes with its attachments in Base64, "
            f"Mailgun takes {_MOST_BYTES}",
            code="5.3.4",
            about="message",
        )
    return mime


def _written(recipient: Recipient) -> str | Refused:
    """The address as Mailgun is given it: one that it could not read would refuse all others."""
    try:
        check_address("to", recipient.address)
        return in_ascii(Address(recipient.address), "Mailgun").address
    except Malformed as error:
        return Refused(str(error), about="recipient", code="5.1.3")
    except PermanentFailure as error:
        return Refused(error.reason, about="recipient", code=error.code)


def _multipart(options: Sequence[tuple[str, str]], mime: bytes) -> tuple[bytes, str]:
    """The body of `messages.mime`, and its Content-Type. The mail must be a file in it."""
    boundary = secrets.token_hex(20)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in options
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="message.mime"'
        "\r\nContent-Type: message/rfc822\r\n\r\n"
    )
    body = b"".join((head.encode(), mime, f"\r\n--{boundary}--\r\n".encode()))
    return body, f"multipart/form-data; boundary={boundary}"
