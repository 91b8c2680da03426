"""Which providers are there, and what can each do? `KINDS` is the list: one file, one line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mailagent.errors import Misconfigured, PermanentFailure
from mailagent.outgoing import Sends
from mailagent.providers.account import (
    Account,
    CanKeep,
    CanReceive,
    CanReport,
    CanSend,
    Closes,
    ProviderKind,
    SigningKey,
    SigningKeys,
    Surroundings,
)
from mailagent.providers.capture import Capture
from mailagent.providers.generic import Generic
from mailagent.providers.local import Local
from mailagent.providers.mailgun import Mailgun
from mailagent.providers.postmark import Postmark
from mailagent.providers.sendgrid import SendGrid
from mailagent.providers.ses import Ses
from mailagent.providers.smtp import Smtp
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = [
    "KINDS",
    "Account",
    "SigningKey",
    "SigningKeys",
    "Surroundings",
    "carries_mime",
    "close_accounts",
    "fetch_stored",
    "open_account",
    "receivers",
    "reporters",
]

KINDS: tuple[ProviderKind, ...] = (
    Capture,
    Generic,
    Local,
    Mailgun,
    Postmark,
    SendGrid,
    Ses,
    Smtp,
)


def open_account(account: Account, surroundings: Surroundings) -> Sends:
    """The provider that an account names. Raises Misconfigured; connects to nothing."""
    able = {kind.kind: kind for kind in KINDS if isinstance(kind, CanSend)}
    if account.kind in able:
        return able[account.kind].open(account, surroundings)
    known = ", ".join(able)
    raise Misconfigured("kind", f"{account.kind!r} is no provider: choose one of {known}")


def carries_mime(kind: str) -> bool:
    """Whether accounts of this kind can carry a mail that was handed in as MIME."""
    return any(one.carries_mime for one in KINDS if one.kind == kind and isinstance(one, CanSend))


def receivers(settings: WebhookSettings, fetch: Fetch) -> Mapping[str, Receives]:
    """Every webhook that brings mail, by kind."""
    return {
        kind.kind: kind.receiver(settings, fetch) for kind in KINDS if isinstance(kind, CanReceive)
    }


def reporters(settings: WebhookSettings, fetch: Fetch) -> Mapping[str, Reports]:
    """Every webhook that tells what became of sent mail, by kind."""
    return {
        kind.kind: kind.reporter(settings, fetch) for kind in KINDS if isinstance(kind, CanReport)
    }


async def fetch_stored(settings: WebhookSettings, stored_at: str) -> bytes:
    """A mail that a provider keeps for us. Raises as `CanKeep.fetch_stored` does."""
    for kind in KINDS:
        if isinstance(kind, CanKeep) and kind.keeps(stored_at):
            return await kind.fetch_stored(settings, stored_at)
    raise PermanentFailure("no provider keeps mail at such a place", about="message")


async def close_accounts(accounts: Iterable[Sends]) -> None:
    """Let go of what accounts keep open between two mails."""
    for account in accounts:
        if isinstance(account, Closes):
            await account.close()
