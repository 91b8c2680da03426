"""Twilio SendGrid: mail comes by Inbound Parse and leaves by the v3 Mail Send API.

Follows Twilio SendGrid's pages "Setting up the Inbound Parse Webhook", "Securing your Inbound Parse
webhooks", "Event Webhook Reference", "Getting started with the Event Webhook security features" and
"Mail Send" (v3), read 2026-11-21. `sendgrid_inbound`, `sendgrid_events`, `sendgrid_send`,
`sendgrid_domains`, `sendgrid_parse` and `sendgrid_setup` do the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from mailagent.identity import CollectsEachHost, Identifies
from mailagent.outgoing import Sends
from mailagent.providers import sendgrid_setup
from mailagent.providers.account import Account, House, Surroundings
from mailagent.providers.sendgrid_access import control
from mailagent.providers.sendgrid_domains import SendGridDomains
from mailagent.providers.sendgrid_events import SendGridEvents
from mailagent.providers.sendgrid_inbound import SendGridInbound
from mailagent.providers.sendgrid_parse import SendGridParse
from mailagent.providers.sendgrid_send import SendGridSender
from mailagent.providers.steps import SetUp
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = ["SendGrid"]


class SendGrid:
    """Receives, reports, sends, and can be set up."""

    kind: ClassVar[str] = "sendgrid"
    carries_mime: ClassVar[bool] = False

    @classmethod
    def receiver(cls, settings: WebhookSettings, fetch: Fetch) -> Receives:
        return SendGridInbound(settings)

    @classmethod
    def reporter(cls, settings: WebhookSettings, fetch: Fetch) -> Reports:
        return SendGridEvents(settings)

    @classmethod
    @asynccontextmanager
    async def identifier(cls, account: Account) -> AsyncIterator[Identifies]:
        asked = control(account)
        region = account.settings.get("SENDGRID_REGION", "").strip().lower()
        try:
            yield SendGridDomains(asked, region=region)
        finally:
            await asked.close()

    @classmethod
    @asynccontextmanager
    async def collector(cls, account: Account, house: House) -> AsyncIterator[CollectsEachHost]:
        asked = control(account, house.masked)
        try:
            yield SendGridParse(asked, house)
        finally:
            await asked.close()

    @classmethod
    def region(cls, account: Account) -> str:
        """See `account.HasRegion`: `global` is served from the United States."""
        region = account.settings.get("SENDGRID_REGION", "").strip().lower()
        return "EU" if region == "eu" else "US"

    @classmethod
    def setting_up(cls, account: Account, house: House) -> AbstractAsyncContextManager[SetUp]:
        return sendgrid_setup.setting_up(account, house)

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Sends:
        return SendGridSender.of(account)
