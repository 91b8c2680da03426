"""Which mails has Postmark given up to hand over?

Its list of inbound mail says which failed after ten tries; it gives no raw octets of one, but calls
the webhook again when it is asked to, under the same `MessageID`. What is `blocked` was refused by
a rule that somebody set there, and stays so. Source: Postmark "Messages API" (read 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import ClassVar, Self
from urllib.parse import quote

from mailagent.errors import Malformed, Misconfigured, PermanentFailure, TransientFailure
from mailagent.inbound import Inbound
from mailagent.mime import json_body
from mailagent.mime.json_body import JsonObject
from mailagent.providers.account import LeftBehind, Listing
from mailagent.providers.api import Answer, Api, base_url
from mailagent.webhook import WebhookSettings

__all__ = ["PostmarkLeftBehind"]

_API = "https://api.postmarkapp.com"
_AT_ONCE = 500
_MOST = 10_000
"""Postmark lists no more, page by page."""
_ANOTHER_CLOCK = timedelta(days=1)
"""Its days are those of New York."""
_NOT_FAILED = frozenset({701, 702, 703})
"""It is not there, or not to be tried again."""


class PostmarkLeftBehind:
    """The inbound mail of the server whose token is set."""

    late: ClassVar[timedelta] = timedelta(hours=24)
    """It is listed by the time it came, and fails ten and a half hours later."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._token = settings.value("POSTMARK_SERVER_TOKEN")
        self._base = settings.value("POSTMARK_BASE_URL")

    @classmethod
    def of(cls, settings: WebhookSettings) -> Self | None:
        """See `account.CanRecover`: with the token, where Postmark's webhook is set up."""
        names = ("POSTMARK_WEBHOOK_PASSWORD", "INBOUND_WEBHOOK_SECRET")
        receives = any(map(settings.value, names))
        return cls(settings) if settings.value("POSTMARK_SERVER_TOKEN") and receives else None

    async def listed(self, since: datetime, after: str) -> Listing:
        """See `account.Recovers`."""
        offset = int(after or 0)
        async with self._api() as api:
            answer = await api.get(
                "/messages/inbound",
                {
                    "count": str(_AT_ONCE),
                    "offset": str(offset),
                    "status": "failed",
                    "fromdate": f"{since - _ANOTHER_CLOCK:%Y-%m-%d}",
                },
            )
        if answer.status != 200:
            raise _failure(answer)
        try:
            said = json_body.read(answer.body)
            found = list(said.objects("InboundMessages"))
            total = said.whole_number("TotalCount")
            mails = [_mail(one, since) for one in found]
        except Malformed as error:
            raise TransientFailure(f"Postmark's list of inbound mail: {error}") from error
        offset += len(found)
        more = found and offset < min(total, _MOST)
        return Listing([one for one in mails if one.at >= since], str(offset) if more else "")

    async def bring(self, mail: LeftBehind) -> Sequence[Inbound]:
        """See `account.Recovers`: Postmark is asked to call the webhook again."""
        async with self._api() as api:
            answer = await api.put(f"/messages/inbound/{quote(mail.place, safe='')}/retry")
        if answer.status != 200:
            raise _failure(answer)
        return ()

    def _api(self) -> Api:
        try:
            base = base_url("POSTMARK_BASE_URL", self._base, _API)
        except Misconfigured as error:
            raise TransientFailure(str(error)) from error
        return Api(base, secret=self._token, headers={"X-Postmark-Server-Token": self._token})


def _mail(said: JsonObject, since: datetime) -> LeftBehind:
    """Raises Malformed."""
    message_id = said.filled("MessageID", at_most=255)
    recipient = said.optional("OriginalRecipient")
    recipients = (recipient,) if "@" in recipient else ()
    return LeftBehind(message_id, message_id, recipients, _time(said.optional("Date")) or since)


def _time(date: str) -> datetime | None:
    """Postmark's samples write it in two forms; None for one that cannot be read."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(date)
        except ValueError:
            continue
        if at.tzinfo is not None:
            return at
    return None


def _failure(answer: Answer) -> TransientFailure | PermanentFailure:
    try:
        code = json_body.read(answer.body).whole_number("ErrorCode")
    except Malformed:
        code = 0
    reason, shown = f"Postmark: {answer.words()}", f"{answer.status}/{code}"
    if code in _NOT_FAILED:
        return PermanentFailure(reason, code=shown, about="message")
    return TransientFailure(reason, code=shown)
