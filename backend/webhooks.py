"""Which webhooks does this process serve, and by which settings?"""

from __future__ import annotations

from pydantic import SecretStr

from backend.installation import Installation
from mailagent.doors.webhook_door import WebhookDoor
from mailagent.flow import unrouted
from mailagent.inbound import Inbound
from mailagent.providers import receivers
from mailagent.providers.fetch import https_get
from mailagent.settings import Settings
from mailagent.webhook import WebhookSettings

__all__ = ["webhook_door"]


def webhook_door(shared: Installation) -> WebhookDoor:
    """The door of this process's webhooks, over its store."""
    store = shared.services.store
    settings = _settings(shared.settings)

    async def remember(mail: Inbound) -> None:
        await store.write_unscoped(unrouted.remember, mail)

    return WebhookDoor(
        receivers=receivers(settings, https_get),
        acceptor=shared.acceptor,
        remember=remember,
        now=store.now,
        secret=settings.value("INBOUND_WEBHOOK_SECRET"),
        open=settings.open,
    )


def _settings(settings: Settings) -> WebhookSettings:
    values = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
        for name, value in settings
    }
    opened = settings.mailagent_open_webhooks.replace(",", " ").split()
    return WebhookSettings(values, frozenset(opened))
