"""Which providers are there, and what can each do? `KINDS` is the list: one file, one line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager

from mailagent.errors import Misconfigured, PermanentFailure
from mailagent.identity import Collects, Identifies
from mailagent.outgoing import Sends
from mailagent.providers.account import (
    Account,
    CanCollect,
    CanIdentify,
    CanKeep,
    CanReceive,
    CanRecover,
    CanReport,
    CanSend,
    CanSetUp,
    Closes,
    HasRegion,
    House,
    ProviderKind,
    Recovers,
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
from mailagent.providers.steps import SetUp
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = [
    "KINDS",
    "Account",
    "House",
    "Recovers",
    "SigningKey",
    "SigningKeys",
    "Surroundings",
    "carries_mime",
    "close_accounts",
    "collector",
    "fetch_stored",
    "identifier",
    "open_account",
    "receivers",
    "recoverers",
    "region_of",
    "reporters",
    "setting_up",
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


def identifier(account: Account) -> AbstractAsyncContextManager[Identifies] | None:
    """Opens what verifies sender domains; None where the provider verifies none.

    Raises Misconfigured; connects to nothing before it is asked something.
    """
    kind = _kind(account)
    return kind.identifier(account) if isinstance(kind, CanIdentify) else None


def collector(account: Account, house: House) -> AbstractAsyncContextManager[Collects] | None:
    """Opens what must be told for which domains mail comes in; None where nothing must.

    Raises as `identifier`.
    """
    kind = _kind(account)
    return kind.collector(account, house) if isinstance(kind, CanCollect) else None


def setting_up(account: Account, house: House) -> AbstractAsyncContextManager[SetUp] | None:
    """Opens the steps of an account's set-up; None where there is nothing to set up.

    Raises as `identifier`, and what the provider's answers mean.
    """
    kind = _kind(account)
    return kind.setting_up(account, house) if isinstance(kind, CanSetUp) else None


def _kind(account: Account) -> ProviderKind | None:
    return next((kind for kind in KINDS if kind.kind == account.kind), None)


def region_of(account: Account) -> str:
    """Where an account keeps and sends mail (`account.HasRegion`); empty for a relay of one's own,
    which is where its owner has put it.
    """
    kind = _kind(account)
    return kind.region(account) if isinstance(kind, HasRegion) else ""


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


def recoverers(settings: WebhookSettings) -> Mapping[str, Recovers]:
    """Every provider that can be asked for what an outage left behind, by kind."""
    made = {kind.kind: kind.recoverer(settings) for kind in KINDS if isinstance(kind, CanRecover)}
    return {kind: one for kind, one in made.items() if one is not None}


async def close_accounts(accounts: Iterable[Sends]) -> None:
    """Let go of what accounts keep open between two mails."""
    for account in accounts:
        if isinstance(account, Closes):
            await account.close()
