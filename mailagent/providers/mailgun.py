"""Mailgun: mail comes by routes and leaves by `messages.mime`.

Follows Mailgun's pages "Receiving, forwarding and storing messages", "Routes", "Webhooks",
"Securing webhooks", "Events", "Sending messages" and "Retrieving stored messages", read 2026-11.
`mailgun_inbound`, `mailgun_stored`, `mailgun_events` and `mailgun_send` do the work.
"""

from __future__ import annotations

from typing import ClassVar

from mailagent.outgoing import Sends
from mailagent.providers import mailgun_stored
from mailagent.providers.account import Account, Surroundings
from mailagent.providers.mailgun_events import MailgunReporter
from mailagent.providers.mailgun_inbound import MailgunReceiver
from mailagent.providers.mailgun_send import MailgunSender
from mailagent.providers.mailgun_signature import SIGNING_KEY
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = ["Mailgun"]


class Mailgun:
    """Receives, keeps mail until it is fetched, reports and sends."""

    kind: ClassVar[str] = "mailgun"
    carries_mime: ClassVar[bool] = True

    @classmethod
    def receiver(cls, settings: WebhookSettings, fetch: Fetch) -> Receives:
        return MailgunReceiver(settings.value(SIGNING_KEY))

    @classmethod
    def reporter(cls, settings: WebhookSettings, fetch: Fetch) -> Reports:
        return MailgunReporter(settings.value(SIGNING_KEY))

    @classmethod
    def keeps(cls, stored_at: str) -> bool:
        """See `account.CanKeep`."""
        return mailgun_stored.is_stored_at(stored_at)

    @classmethod
    async def fetch_stored(cls, settings: WebhookSettings, stored_at: str) -> bytes:
        """See `account.CanKeep`."""
        return await mailgun_stored.fetch_stored(settings, stored_at)

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Sends:
        return MailgunSender.of(account)
