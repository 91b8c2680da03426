"""Which provider account carries a mail? Pure functions over what is known of the accounts.

Order is a person's choice (`AccountState` in the order of preference); what an account cannot or
must not carry is skipped, and each skip has its reason in words, for the ledger and for people.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from mailagent.outgoing import Outgoing, Recipient

__all__ = [
    "CAPTURE",
    "LEAST_DELIVERED",
    "LEAST_SENT_FOR_COMPLAINTS",
    "LOCAL",
    "MOST_BOUNCED",
    "MOST_COMPLAINED",
    "PERIODS",
    "SCHEDULES",
    "UNVERIFIED",
    "AccountState",
    "Choice",
    "Period",
    "Quota",
    "Rates",
    "Skipped",
    "WarmUp",
    "choose",
    "rest",
    "sending_domain",
    "trouble",
    "warm_up_paused",
]

CAPTURE = "capture"
"""The account that stands in while none is set: kept and shown, never sent."""
LOCAL = "local"
"""The way to our own addresses: there without being set."""
UNVERIFIED = "sender domain not verified"
"""How the reason of a mail begins for which an operator must have a domain verified."""

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


SCHEDULES: Mapping[int, tuple[int, ...]] = {
    7: (50, 100, 250, 600, 1_500, 4_000, 10_000),
    14: (50, 75, 115, 170, 260, 390, 580, 870, 1_300, 2_000, 3_000, 4_500, 6_700, 10_000),
    21: (50, 65, 85, 110, 145, 190, 250, 320, 420, 550, 700, 900, 1_200, 1_600, 2_100, 2_700,
         3_500, 4_600, 6_000, 7_700, 10_000),
}  # fmt: skip
"""Days of a warm-up → the most recipients of each day.

They begin at 50, where providers' guides let a domain without a history begin, and grow by the same
factor a day (2.4, 1.5, 1.3), because what receivers take for abuse is a leap. After 10,000 in a day
a domain has a history, and its quotas alone hold.
"""
_LEAST_SENT = 50
"""Before so many a rate says little: of ten, one bounce is 10 %."""
LEAST_SENT_FOR_COMPLAINTS = 1_000
"""A complaint is 0.1 % of these: one alone never stops a warm-up."""
MOST_BOUNCED, MOST_COMPLAINED, LEAST_DELIVERED = 0.05, 0.001, 0.90
"""Shares of what was sent; beyond them receivers and providers begin to refuse a sender."""


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A domain that is new to an account, or to the world: ever more may leave each day."""

    domain: str
    days: int
    """A key of `SCHEDULES`."""
    started_at: datetime
    paused: str = ""
    """Why nothing leaves now, by whomever; empty while it goes on."""

    def day(self, now: datetime) -> int:
        """Which of its days it is, by the clock (UTC), from 1 on; beyond `days` it is over."""
        passed = (now.date() - self.started_at.date()).days
        return max(1, min(passed, self.days) + 1)

    def cap(self, now: datetime) -> int | None:
        """The most recipients today; None when it is over."""
        day = self.day(now)
        return SCHEDULES[self.days][day - 1] if day <= self.days else None


@dataclass(frozen=True, slots=True)
class Rates:
    """What became of the recipients that were sent to while a domain was warming up."""

    sent: int = 0
    bounced: int = 0
    complained: int = 0
    due: int = 0
    """Of those sent, all of which the provider should have told by now."""
    delivered: int = 0
    """Of those due."""


def trouble(rates: Rates) -> str | None:
    """Why a warm-up must stop, in words: over 5 % bounced, over 0.1 % complained, or under 90 %
    delivered.

    That nothing at all is delivered says that the account does not report it, as a relay never
    does. Nothing is said of fewer than 50 recipients.
    """
    if rates.sent >= _LEAST_SENT and rates.bounced > MOST_BOUNCED * rates.sent:
        return f"{rates.bounced} of {rates.sent} bounced, over {MOST_BOUNCED:.0%}"
    of = max(rates.sent, LEAST_SENT_FOR_COMPLAINTS)
    if rates.complained > MOST_COMPLAINED * of:
        return f"{rates.complained} of {rates.sent} complained, over {MOST_COMPLAINED:.1%}"
    reported = rates.delivered > 0 and rates.due >= _LEAST_SENT
    if reported and rates.delivered < LEAST_DELIVERED * rates.due:
        return f"{rates.delivered} of {rates.due} delivered, under {LEAST_DELIVERED:.0%}"
    return None


def warm_up_paused(domain: str) -> str:
    """What stands in the reason of a mail that waits for a warm-up; by it the mail is found again
    when the warm-up goes on.
    """
    return f"warming up for {domain}, which is paused"


def sending_domain(domain: str, default_domain: str) -> str:
    """The domain that receivers know a mail by: all below the default one are signed as that."""
    below = default_domain and domain.endswith(f".{default_domain}")
    return default_domain if below else domain


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
    warm_ups: tuple[WarmUp, ...] = ()
    """Those that are not over."""
    region: str = ""
    """The part of the world where it works; empty is none in particular."""

    def warming(self, domain: str, default_domain: str) -> WarmUp | None:
        """The warm-up that a mail from this domain takes part in."""
        name = sending_domain(domain, default_domain)
        return next((one for one in self.warm_ups if one.domain == name), None)


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

    @property
    def waits_for(self) -> str:
        """Why no account carries the mail, in words."""
        reasons = {one.reason for one in self.skipped}
        if len(reasons) == 1 and next(iter(reasons)).startswith(UNVERIFIED):
            return f"{next(iter(reasons))} (by {', '.join(one.account for one in self.skipped)})"
        told = "; ".join(f"{one.account} {one.reason}" for one in self.skipped)
        return f"no account may carry it: {told}"


def choose(
    outgoing: Outgoing,
    recipient: Recipient,
    *,
    accounts: Sequence[AccountState],
    local_domains: Collection[str],
    now: datetime,
    default_domain: str = "",
    only: Sequence[str] | None = None,
    region: str | None = None,
) -> Choice:
    """Order the accounts that may carry the mail to this recipient.

    Our own addresses (`local_domains`, lower case) are reached by `LOCAL` alone: a detour through a
    provider would bring the mail back to our own door, billed. Without any account it is `CAPTURE`.
    What is verified for `default_domain` may send for each domain below it. `only` names the
    accounts of this mailbox or domain, in its own order; None leaves it all. `region` is the one
    to which the From domain is kept.
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
        reason = _never(account, outgoing, default_domain, region)
        if reason is None and account.paused_until is not None and account.paused_until > now:
            resting.append(account.paused_until)
            why = f": {account.pause_reason}" if account.pause_reason else ""
            reason = f"paused until {account.paused_until.isoformat(timespec='seconds')}{why}"
        if reason is None:
            usable.append(account.name)
        else:
            skipped.append(Skipped(account.name, reason))
    return Choice(tuple(usable), tuple(skipped), min(resting, default=None))


def _never(
    account: AccountState, outgoing: Outgoing, default_domain: str, region: str | None
) -> str | None:
    """Why this account cannot carry this mail, until somebody changes something."""
    domain = outgoing.from_.domain
    if not account.enabled:
        return f"switched off: {account.off_reason}" if account.off_reason else "switched off"
    if account.sends_for is not None and domain not in account.sends_for:
        below = default_domain in account.sends_for and domain.endswith(f".{default_domain}")
        if not (default_domain and below):
            return f"{UNVERIFIED}: {domain}"
    if region is not None and account.region not in ("", region):
        return f"works in {account.region}, and mail of {domain} is kept to {region}"
    warm_up = account.warming(domain, default_domain)
    if warm_up is not None and warm_up.paused:
        return f"{warm_up_paused(warm_up.domain)}: {warm_up.paused}"
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
