"""Postmark: mail comes by its inbound webhook and leaves by `POST /email`.

Follows Postmark's pages "Inbound webhook", "Webhooks overview", "Bounce webhook", "Email API" and
"API error codes", read 2026-11-21. `postmark_inbound`, `postmark_events` and `postmark_send` do
the work.
"""

from __future__ import annotations

from typing import ClassVar

from mailagent.outgoing import Sends
from mailagent.providers.account import Account, Surroundings
from mailagent.providers.postmark_events import PostmarkEvents
from mailagent.providers.postmark_inbound import PostmarkInbound
from mailagent.providers.postmark_send import PostmarkSender
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = ["Postmark"]


class Postmark:
    """Receives, reports and sends."""

    kind: ClassVar[str] = "postmark"
    carries_mime: ClassVar[bool] = False

    @classmethod
    def receiver(cls, settings: WebhookSettings, fetch: Fetch) -> Receives:
        return PostmarkInbound(settings)

    @classmethod
    def reporter(cls, settings: WebhookSettings, fetch: Fetch) -> Reports:
        return PostmarkEvents(settings)

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Sends:
        return PostmarkSender.of(account)
