"""Which mails does Mailgun keep of which its webhook could not tell us?

An event `stored` is a mail of `store()`, an event `failed` one that `forward()` gave up after eight
hours; Mailgun keeps both for three days. Source: Mailgun "Events", "Retrieving stored messages"
(read 2026-11).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlsplit

from mailagent.errors import Malformed, Misconfigured, PermanentFailure, TransientFailure
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.mime import json_body
from mailagent.mime.json_body import JsonObject
from mailagent.providers.account import LeftBehind, Listing
from mailagent.providers.api import Api, base_url
from mailagent.providers.envelope import forward_paths, reverse_path
from mailagent.providers.mailgun_inbound import raw_id
from mailagent.providers.mailgun_signature import SIGNING_KEY
from mailagent.providers.mailgun_stored import fetch_mail, is_stored_at, stored_id
from mailagent.webhook import WebhookSettings

__all__ = ["MailgunLeftBehind"]

_HOSTS = {"": "https://api.mailgun.net", "us": "https://api.mailgun.net"} | {
    "eu": "https://api.eu.mailgun.net"
}
_AT_ONCE = "300"
"""As many as Mailgun gives."""
_KEPT = timedelta(days=3)


class MailgunLeftBehind:
    """The events of `MAILGUN_DOMAIN`, else of the default domain."""

    late: ClassVar[timedelta] = timedelta(hours=1)
    """An event is listed minutes after its time."""

    def __init__(self, settings: WebhookSettings, domain: str) -> None:
        self._settings, self._domain = settings, domain

    @classmethod
    def of(cls, settings: WebhookSettings) -> Self | None:
        """See `account.CanRecover`: with the API key, where Mailgun's webhook is set up."""
        receives = settings.value(SIGNING_KEY) or settings.value("INBOUND_WEBHOOK_SECRET")
        domain = settings.value("MAILGUN_DOMAIN") or settings.value("DEFAULT_EMAIL_DOMAIN")
        if not (settings.value("MAILGUN_API_KEY") and receives and domain):
            return None
        return cls(settings, domain.lower())

    async def listed(self, since: datetime, after: str) -> Listing:
        """See `account.Recovers`."""
        path = f"/v3/{quote(self._domain, safe='')}/events"
        query = {
            "begin": f"{max(since, datetime.now(UTC) - _KEPT).timestamp():.0f}",
            "ascending": "yes",
            "event": "stored OR failed",
            "limit": _AT_ONCE,
        }
        said = await self._ask(after or path, {} if after else query)
        items = list(said.objects("items"))
        mails = [mail for item in items if (mail := _mail(item)) is not None]
        following = said.object("paging").optional("next") if items else ""
        # Only the path: the key goes to no host that an answer names.
        following = urlsplit(following).path
        return Listing(mails, following if following.startswith(f"{path}/") else "")

    async def bring(self, mail: LeftBehind) -> Sequence[Inbound]:
        """See `account.Recovers`. `forward()` names a mail by its content, for each recipient."""
        found = await fetch_mail(self._settings, mail.place)
        try:
            sender = reverse_path("sender", found.sender)
            listed = ",".join(mail.recipients) or found.recipients
            recipients = forward_paths("recipients", listed) if listed.strip() else ()
        except Malformed as error:
            raise PermanentFailure(str(error), about="message") from error
        origin = Origin(received_at=mail.at)
        if mail.source_id or not recipients:
            source_id = mail.source_id or stored_id(mail.place)
            envelope = Envelope(sender, recipients)
            return [Inbound(envelope, found.mime, "mailgun", source_id, origin)]
        return [
            Inbound(
                Envelope(sender, (one,)),
                found.mime,
                "mailgun",
                raw_id(one, found.sender, found.mime),
                origin,
            )
            for one in recipients
        ]

    async def _ask(self, path: str, query: Mapping[str, str]) -> JsonObject:
        value, key = self._settings.value, self._settings.value("MAILGUN_API_KEY")
        credentials = base64.b64encode(f"api:{key}".encode()).decode()
        region = _HOSTS.get(value("MAILGUN_REGION").lower(), _HOSTS["us"])
        try:
            base = base_url("MAILGUN_BASE_URL", value("MAILGUN_BASE_URL"), region)
        except Misconfigured as error:
            raise TransientFailure(str(error)) from error
        headers = {"Authorization": f"Basic {credentials}"}
        async with Api(base, secret=key, headers=headers) as api:
            answer = await api.get(path, query)
        if answer.status != 200:
            reason = f"Mailgun's events of {self._domain}: {answer.status} {answer.words()}"
            raise TransientFailure(reason, code=str(answer.status))
        try:
            return json_body.read(answer.body)
        except Malformed as error:
            raise TransientFailure("Mailgun's events are no JSON") from error


def _mail(item: JsonObject) -> LeftBehind | None:
    """None for an event that is not of a mail to us, or of one that is not kept."""
    try:
        url = item.object("storage").optional("url")
        at = _time(item.members.get("timestamp"))
        if not is_stored_at(url) or at is None:
            return None
        event, recipients = item.optional("event"), _recipients(item)
        if event == "stored":
            return LeftBehind(stored_id(url), url, recipients, at)
        routed = item.object("flags").members.get("is-routed") is True
        if event != "failed" or not routed or item.optional("severity") == "temporary":
            return None
    except Malformed:
        return None
    return LeftBehind("", url, recipients, at)


def _recipients(item: JsonObject) -> tuple[str, ...]:
    """By the event; of a route that failed, `recipient` is where it led to, not whom it was for."""
    listed = item.object("message").members.get("recipients")
    named = listed if isinstance(listed, list) else []
    if not named and item.optional("event") == "stored":
        named = [item.optional("recipient")]
    return tuple(one for one in named if isinstance(one, str) and "@" in one)


def _time(seconds: Any) -> datetime | None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
