"""Postmark: mail comes by its inbound webhook and leaves by `POST /email`.

Follows Postmark's pages "Inbound webhook", "Webhooks overview", "Bounce webhook", "Email API" and
"Messages API" and "API error codes", read 2026-11-21. `postmark_inbound`, `postmark_left`,
`postmark_events`, `postmark_send`, `postmark_domains`, `postmark_servers` and `postmark_setup` do
the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from mailagent.identity import Collects, Identifies
from mailagent.outgoing import Sends
from mailagent.providers import postmark_setup
from mailagent.providers.account import Account, House, Recovers, Surroundings
from mailagent.providers.postmark_control import account_control, hook
from mailagent.providers.postmark_domains import PostmarkDomains
from mailagent.providers.postmark_events import PostmarkEvents
from mailagent.providers.postmark_inbound import PostmarkInbound
from mailagent.providers.postmark_left import PostmarkLeftBehind
from mailagent.providers.postmark_send import PostmarkSender
from mailagent.providers.postmark_servers import PostmarkServers
from mailagent.providers.steps import SetUp
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = ["Postmark"]


class Postmark:
    """Receives, tells what it could not hand over, reports, sends, and can be set up."""

    kind: ClassVar[str] = "postmark"
    carries_mime: ClassVar[bool] = False

    @classmethod
    def receiver(cls, settings: WebhookSettings, fetch: Fetch) -> Receives:
        return PostmarkInbound(settings)

    @classmethod
    def reporter(cls, settings: WebhookSettings, fetch: Fetch) -> Reports:
        return PostmarkEvents(settings)

    @classmethod
    @asynccontextmanager
    async def identifier(cls, account: Account) -> AsyncIterator[Identifies]:
        control = account_control(account)
        try:
            yield PostmarkDomains(control)
        finally:
            await control.close()

    @classmethod
    @asynccontextmanager
    async def collector(cls, account: Account, house: House) -> AsyncIterator[Collects]:
        address = hook(house, house.webhook("postmark", secret=True))
        control = account_control(account, house.masked)
        try:
            yield PostmarkServers(control, address)
        finally:
            await control.close()

    @classmethod
    def region(cls, account: Account) -> str:
        """See `account.HasRegion`: its servers are in the United States alone."""
        return "US"

    @classmethod
    def setting_up(cls, account: Account, house: House) -> AbstractAsyncContextManager[SetUp]:
        return postmark_setup.setting_up(account, house)

    @classmethod
    def recoverer(cls, settings: WebhookSettings) -> Recovers | None:
        """See `account.CanRecover`."""
        return PostmarkLeftBehind.of(settings)

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Sends:
        return PostmarkSender.of(account)
