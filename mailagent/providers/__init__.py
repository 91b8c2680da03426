"""Which providers can carry mail? `KINDS` is the whole list: one file, one line here."""

from __future__ import annotations

from collections.abc import Iterable

from mailagent.errors import Misconfigured
from mailagent.outgoing import Sends
from mailagent.providers.account import (
    Account,
    Closes,
    ProviderKind,
    SigningKey,
    SigningKeys,
    Surroundings,
)
from mailagent.providers.capture import Capture
from mailagent.providers.local import Local
from mailagent.providers.smtp import Smtp

__all__ = [
    "KINDS",
    "Account",
    "SigningKey",
    "SigningKeys",
    "Surroundings",
    "close_accounts",
    "open_account",
]

KINDS: tuple[type[ProviderKind], ...] = (
    Capture,
    Local,
    Smtp,
)


def open_account(account: Account, surroundings: Surroundings) -> Sends:
    """The provider that an account names. Raises Misconfigured; connects to nothing."""
    for kind in KINDS:
        if kind.kind == account.kind:
            return kind.open(account, surroundings)
    known = ", ".join(kind.kind for kind in KINDS)
    raise Misconfigured("kind", f"{account.kind!r} is no provider: choose one of {known}")


async def close_accounts(accounts: Iterable[Sends]) -> None:
    """Let go of what accounts keep open between two mails."""
    for account in accounts:
        if isinstance(account, Closes):
            await account.close()
