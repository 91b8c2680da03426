"""Which webhooks does this process serve, and by which settings?"""

from __future__ import annotations

from collections.abc import Sequence

from backend.installation import Installation, webhook_settings
from mailagent.doors.webhook_door import WebhookDoor
from mailagent.flow import events, unrouted
from mailagent.inbound import Inbound
from mailagent.mail import Event
from mailagent.providers import receivers, reporters
from mailagent.providers.fetch import https_get

__all__ = ["webhook_door"]


def webhook_door(shared: Installation) -> WebhookDoor:
    """The door of this process's webhooks, over its store."""
    store = shared.services.store
    settings = webhook_settings(shared.settings)

    async def remember(mail: Inbound) -> None:
        await store.write_unscoped(unrouted.remember, mail)

    async def record(told: Sequence[Event]) -> None:
        await store.write_unscoped(events.take, told)

    return WebhookDoor(
        receivers=receivers(settings, https_get),
        acceptor=shared.acceptor,
        reporters=reporters(settings, https_get),
        record=record,
        remember=remember,
        now=store.now,
        secret=settings.value("INBOUND_WEBHOOK_SECRET"),
        open=settings.open,
    )
