"""Mailgun: mail comes by routes and leaves by `messages.mime`.

Follows Mailgun's pages "Receiving, forwarding and storing messages", "Routes", "Webhooks",
"Securing webhooks", "Events", "Sending messages" and "Retrieving stored messages", read 2026-11.
`mailgun_inbound`, `mailgun_stored`, `mailgun_left`, `mailgun_events`, `mailgun_send`,
`mailgun_domains`, `mailgun_routes` and `mailgun_setup` do the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from mailagent.identity import Collects, Identifies
from mailagent.outgoing import Sends
from mailagent.providers import mailgun_setup, mailgun_stored
from mailagent.providers.account import Account, House, Recovers, Surroundings
from mailagent.providers.mailgun_access import access
from mailagent.providers.mailgun_domains import MailgunDomains
from mailagent.providers.mailgun_events import MailgunReporter
from mailagent.providers.mailgun_inbound import MailgunReceiver
from mailagent.providers.mailgun_left import MailgunLeftBehind
from mailagent.providers.mailgun_routes import MailgunRoutes
from mailagent.providers.mailgun_send import MailgunSender
from mailagent.providers.mailgun_signature import SIGNING_KEY
from mailagent.providers.steps import SetUp
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = ["Mailgun"]


class Mailgun:
    """Receives, keeps mail until it is fetched, tells what it still has, reports, sends, and can be
    set up.
    """

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
    @asynccontextmanager
    async def identifier(cls, account: Account) -> AsyncIterator[Identifies]:
        control = mailgun_setup.control(account)
        try:
            yield MailgunDomains(control)
        finally:
            await control.close()

    @classmethod
    @asynccontextmanager
    async def collector(cls, account: Account, house: House) -> AsyncIterator[Collects]:
        control = mailgun_setup.control(account, house.masked)
        try:
            yield MailgunRoutes(control, mailgun_setup.webhook(house), access(account)[1])
        finally:
            await control.close()

    @classmethod
    def region(cls, account: Account) -> str:
        """See `account.HasRegion`."""
        return account.settings.get("MAILGUN_REGION", "").strip().upper() or "US"

    @classmethod
    def setting_up(cls, account: Account, house: House) -> AbstractAsyncContextManager[SetUp]:
        return mailgun_setup.setting_up(account, house)

    @classmethod
    def recoverer(cls, settings: WebhookSettings) -> Recovers | None:
        """See `account.CanRecover`."""
        return MailgunLeftBehind.of(settings)

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Sends:
        return MailgunSender.of(account)
