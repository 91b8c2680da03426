"""Which provider account carries a mail? Pure functions over what is known of the accounts.

Order is a person's choice (`AccountState` in the order of preference); what an account cannot or
must not carry is skipped, and each skip has its reason in words, for the ledger and for people.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from mailagent.outgoing import Outgoing, Recipient

__all__ = [
    "CAPTURE",
    "LOCAL",
    "PERIODS",
    "AccountState",
    "Choice",
    "Period",
    "Quota",
    "Skipped",
    "choose",
    "rest",
]

CAPTURE = "capture"
"""The account that stands in while none is set: kept and shown, never sent."""
LOCAL = "local"
"""The way to our own addresses: there without being set."""

_FAILURES_BEFORE_REST = 3
_FIRST_REST = timedelta(seconds=30)
_LONGEST_REST = timedelta(minutes=15)

Period = Literal["second", "minute", "hour", "day"]
PERIODS: tuple[Period, ...] = get_args(Period)
"""What a quota may count over, the shortest first."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How many envelope recipients an account may be given in each period of the clock (UTC)."""

    period: Period
    most: int

    @property
    def length(self) -> timedelta:
        return timedelta(**{f"{self.period}s": 1})


@dataclass(frozen=True, slots=True)
class AccountState:
    """What is known of one provider account at this moment."""

    name: str
    enabled: bool = True
    off_reason: str = ""
    """Why a person, or a setting that cannot be used, keeps it off."""
    sends_for: frozenset[str] | None = None
    """Lower-case From domains the provider may send for; None is any."""
    most_bytes: int | None = None
    """The largest mail it takes, attachments as they are; None is unknown."""
    paused_until: datetime | None = None
    """Set by failures in a row: it is left alone until then."""
    pause_reason: str = ""
    failures: int = 0
    """In a row, up to now."""
    quotas: tuple[Quota, ...] = ()
    carries_mime: bool = True
    """Whether it takes a mail as MIME; an API that builds its own from fields does not."""
    fingerprint: str = ""
    """Tells credentials apart; says nothing of them."""


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
    again_at: datetime | None = None
    """When the first of the skipped is to be asked again, where one of them only rests."""


def choose(
    outgoing: Outgoing,
    recipient: Recipient,
    *,
    accounts: Sequence[AccountState],
    local_domains: Collection[str],
    now: datetime,
    default_domain: str = "",
    only: Sequence[str] | None = None,
) -> Choice:
    """Order the accounts that may carry the mail to this recipient.

    Our own addresses (`local_domains`, lower case) are reached by `LOCAL` alone: a detour through a
    provider would bring the mail back to our own door, billed. Without any account it is `CAPTURE`.
    What is verified for `default_domain` may send for each domain below it. `only` names the
    accounts of this mailbox or domain, in its own order; None leaves it all.
    """
    if recipient.address.rpartition("@")[2].lower() in local_domains:
        return Choice((LOCAL,))
    if not accounts:
        return Choice((CAPTURE,))
    skipped: list[Skipped] = []
    if only is not None:
        by_name = {account.name: account for account in accounts}
        skipped = [Skipped(name, "is not set up") for name in only if name not in by_name]
        accounts = [by_name[name] for name in only if name in by_name]
    usable: list[str] = []
    resting: list[datetime] = []
    for account in accounts:
        reason = _never(account, outgoing, default_domain)
        if reason is None and account.paused_until is not None and account.paused_until > now:
            resting.append(account.paused_until)
            why = f": {account.pause_reason}" if account.pause_reason else ""
            reason = f"paused until {account.paused_until.isoformat(timespec='seconds')}{why}"
        if reason is None:
            usable.append(account.name)
        else:
            skipped.append(Skipped(account.name, reason))
    return Choice(tuple(usable), tuple(skipped), min(resting, default=None))


def _never(account: AccountState, outgoing: Outgoing, default_domain: str) -> str | None:
    """Why this account cannot carry this mail, however long it waits."""
    domain = outgoing.from_.domain
    if not account.enabled:
        return f"switched off: {account.off_reason}" if account.off_reason else "switched off"
    if account.sends_for is not None and domain not in account.sends_for:
        below = default_domain in account.sends_for and domain.endswith(f".{default_domain}")
        if not (default_domain and below):
            return f"sender domain not verified: {domain}"
    if outgoing.raw is not None and not account.carries_mime:
        return "takes no raw MIME, as the mail was handed in"
    if account.most_bytes is not None:
        size = _size_bytes(outgoing)
        if size > account.most_bytes:
            return f"takes at most {account.most_bytes} bytes, the mail has {size}"
    return None


def _size_bytes(outgoing: Outgoing) -> int:
    if outgoing.raw is not None:
        return len(outgoing.raw)
    files = sum(len(attachment.content) for attachment in outgoing.attachments)
    return len(outgoing.text) + len(outgoing.html or "") + files


def rest(failures: int, rests: int) -> timedelta | None:
    """How long an account is left alone after so many failures in a row and so many rests.

    None for too few of them. Each rest is twice the one before, up to 15 minutes.
    """
    if failures < _FAILURES_BEFORE_REST:
        return None
    longer: int = 2 ** min(rests, 16)
    return min(_FIRST_REST * longer, _LONGEST_REST)
