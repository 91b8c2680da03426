"""Which provider account carries a mail? One pure function over what is known of the accounts.

Order is a person's choice (`AccountState` in the order of preference); what an account cannot or
must not carry is skipped, and each skip has its reason in words, for the ledger and for people.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from mailagent.outgoing import Outgoing, Recipient

__all__ = ["CAPTURE", "LOCAL", "AccountState", "Choice", "Skipped", "choose"]

CAPTURE = "capture"
"""The account that stands in while none is set: kept and shown, never sent."""
LOCAL = "local"
"""The way to our own addresses: there without being set."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """What is known of one provider account at this moment."""

    name: str
    enabled: bool = True
    sends_for: frozenset[str] | None = None
    """Lower-case From domains the provider may send for; None is any."""
    most_bytes: int | None = None
    """The largest mail it takes, attachments as they are; None is unknown."""
    paused_until: datetime | None = None
    """Set by failures in a row: it is left alone until then."""
    pause_reason: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An account that was passed over."""

    account: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Accounts to try in this order; empty means wait, and `skipped` says for what."""

    accounts: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


def choose(
    outgoing: Outgoing,
    recipient: Recipient,
    *,
    accounts: Sequence[AccountState],
    local_domains: Collection[str],
    now: datetime,
) -> Choice:
    """Order the accounts that may carry the mail to this recipient.

    Our own addresses (`local_domains`, lower case) are reached by `LOCAL` alone: a detour through a
    provider would bring the mail back to our own door, billed. Without any account it is `CAPTURE`.
    """
    if recipient.address.rpartition("@")[2].lower() in local_domains:
        return Choice((LOCAL,))
    if not accounts:
        return Choice((CAPTURE,))
    usable: list[str] = []
    skipped: list[Skipped] = []
    for account in accounts:
        reason = _why_not(account, outgoing, now)
        if reason is None:
            usable.append(account.name)
        else:
            skipped.append(Skipped(account.name, reason))
    return Choice(tuple(usable), tuple(skipped))


def _why_not(account: AccountState, outgoing: Outgoing, now: datetime) -> str | None:
    domain = outgoing.from_.domain
    size = len(outgoing.text) + len(outgoing.html or "")
    size += sum(len(attachment.content) for attachment in outgoing.attachments)
    if not account.enabled:
        return "switched off"
    if account.sends_for is not None and domain not in account.sends_for:
        return f"may not send for {domain}"
    if account.most_bytes is not None and size > account.most_bytes:
        return f"takes at most {account.most_bytes} bytes, the mail has {size}"
    if account.paused_until is not None and account.paused_until > now:
        why = f": {account.pause_reason}" if account.pause_reason else ""
        return f"paused until {account.paused_until.isoformat(timespec='seconds')}{why}"
    return None
