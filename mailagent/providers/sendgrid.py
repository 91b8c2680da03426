"""Twilio SendGrid: mail comes by Inbound Parse and leaves by the v3 Mail Send API.

Follows Twilio SendGrid's pages "Setting up the Inbound Parse Webhook", "Securing your Inbound Parse
webhooks", "Event Webhook Reference", "Getting started with the Event Webhook security features" and
"Mail Send" (v3), read 2026-11-21. `sendgrid_inbound`, `sendgrid_events` and `sendgrid_send` do the
work.
"""

from __future__ import annotations

from typing import ClassVar

from mailagent.outgoing import Sends
from mailagent.providers.account import Account, Surroundings
from mailagent.providers.sendgrid_events import SendGridEvents
from mailagent.providers.sendgrid_inbound import SendGridInbound
from mailagent.providers.sendgrid_send import SendGridSender
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = ["SendGrid"]


class SendGrid:
    """Receives, reports and sends."""

    kind: ClassVar[str] = "sendgrid"
    carries_mime: ClassVar[bool] = False

    @classmethod
    def receiver(cls, settings: WebhookSettings, fetch: Fetch) -> Receives:
        return SendGridInbound(settings)

    @classmethod
    def reporter(cls, settings: WebhookSettings, fetch: Fetch) -> Reports:
        return SendGridEvents(settings)

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Sends:
        return SendGridSender.of(account)
