"""What may an operator do with the accounts that carry mail: add, change, pause, remove, look at?

Accounts of the environment can be paused and limited too; what they are made of stands there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import update

from backend.outbound import warm_ups
from backend.outbound.account_health import Health, healths, score
from backend.outbound.accounts_environment import SETTINGS, FromEnvironment
from backend.outbound.accounts_probe import checked
from backend.outbound.warm_ups import Progress
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import accounts as standing_of
from mailagent.flow.accounts import ANY_DOMAIN, Described, describe
from mailagent.flow.warm_ups import going_on
from mailagent.outbound import CAPTURE, LOCAL, PERIODS
from mailagent.providers import Account
from mailagent.store import provider_accounts
from mailagent.store.tables import account_standings
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = [
    "Limits",
    "Overview",
    "add",
    "find",
    "limit",
    "overview",
    "pause",
    "remove",
    "resume",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_LARGEST_QUOTA = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Overview:
    """One account, without what it keeps secret. Times are aware."""

    name: str
    kind: str
    from_environment: bool
    status: str
    reason: str
    priority: int
    sends_for: tuple[str, ...]
    """Domains; `*` is any."""
    quotas: Mapping[str, int]
    settings: tuple[str, ...]
    """The names of what is set."""
    paused_until: datetime | None
    failures: int
    health: Health
    warm_ups: tuple[Progress, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may be used for; None leaves it as it is."""

    priority: int | None = None
    sends_for: Sequence[str] | None = None
    """Domains that the provider has verified; `*` for any; empty for the usual ones again."""
    quotas: Mapping[str, int] | None = None
    """The most recipients by `second`, `minute`, `hour`, `day`; 0 takes a quota away."""


def overview(
    tx: Transaction, secrets: Secrets, environment: FromEnvironment, default_domain: str
) -> tuple[Overview, ...]:
    """Every account that is set up, in the order of preference."""
    found = describe(
        provider_accounts.stored(tx),
        standing_of.standings(tx),
        secrets,
        environment=environment.accounts,
        first=environment.first,
        default_domain=default_domain,
        now=tx.now,
        warming=going_on(tx),
    )
    known, progress = healths(tx), warm_ups.overview(tx)
    return tuple(_shown(one, known.get(one.account.name), progress) for one in found)


def find(
    tx: Transaction, name: str, secrets: Secrets, environment: FromEnvironment, default_domain: str
) -> Overview:
    """One account. Raises NotFound."""
    for one in overview(tx, secrets, environment, default_domain):
        if one.name == name:
            return one
    raise NotFound(f"there is no provider account {name!r}: mailagent provider list")


def opened(tx: Transaction, name: str, secrets: Secrets, environment: FromEnvironment) -> Account:
    """One account with its settings, to be asked of. Raises NotFound, Unauthentic."""
    for one in provider_accounts.stored(tx):
        if one.name == name:
            return Account(name, one.kind, provider_accounts.opened(one, secrets))
    for account in environment.accounts:
        if account.name == name:
            return account
    raise NotFound(f"there is no provider account {name!r}: mailagent provider list")


def add(
    tx: Transaction,
    secrets: Secrets,
    kind: str,
    settings: Mapping[str, str],
    *,
    name: str = "",
    replace: bool = False,
) -> str:
    """Keep an account, its settings encrypted; returns its name, which is its kind by default.

    With `replace`, give the account of that name other settings. Raises Malformed, Misconfigured
    for settings that make no account, Conflict.
    """
    if kind not in SETTINGS:
        raise Malformed("kind", f"{kind!r} is no provider: choose one of {', '.join(SETTINGS)}")
    name = name or kind
    if not _NAME.fullmatch(name) or name in (CAPTURE, LOCAL):
        raise Malformed("name", "is made of lower-case letters, digits and -, 63 at most")
    known = SETTINGS[kind]
    for word in settings:
        if word not in known:
            raise Malformed("settings", f"{word!r} is none of {kind}: {', '.join(known)}")
    checked(Account(name, kind, settings))
    there = name in {one.name for one in provider_accounts.stored(tx)}
    if there and not replace:
        raise Conflict(f"there is an account {name}: give --name, or --replace its settings")
    provider_accounts.keep(tx, secrets, name, kind, settings)
    return name


def remove(tx: Transaction, name: str) -> None:
    """Forget an account of the database; a mail that it carries now is carried to the end.

    Raises NotFound; Conflict for one that the environment names.
    """
    if not provider_accounts.remove(tx, name):
        raise NotFound(f"there is no account {name!r} in the database (one that the environment "
                       "names is removed there, or paused)")  # fmt: skip


def pause(tx: Transaction, name: str, reason: str) -> None:
    """Let nothing leave by an account until it is resumed."""
    _change(tx, name, {"status": "paused", "reason": reason[:500]})


def resume(tx: Transaction, name: str) -> None:
    """Use an account at once, whatever was before."""
    well: dict[str, Any] = {"status": "active", "reason": "", "failures": 0, "pauses": 0}
    _change(tx, name, {**well, "paused_until": None, "rejected": None})


def limit(tx: Transaction, name: str, limits: Limits) -> None:
    """Change what an account may be used for. Raises Malformed."""
    row = standing_of.standing(tx, name)
    values: dict[str, Any] = {}
    if limits.priority is not None:
        values["priority"] = limits.priority
    if limits.sends_for is not None:
        domains = [one.strip().rstrip(".").lower() for one in limits.sends_for]
        for domain in domains:
            if domain != ANY_DOMAIN and not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
                raise Malformed("sends_for", f"{domain[:80]!r} is no domain in ASCII")
        values["sends_for"] = domains or None
    if limits.quotas is not None:
        quotas = {**row.quotas, **limits.quotas}
        for period, most in quotas.items():
            if period not in PERIODS or not 0 <= most <= _LARGEST_QUOTA:
                raise Malformed("quotas", f"are numbers by {', '.join(PERIODS)}")
        values["quotas"] = {period: most for period, most in quotas.items() if most}
    _change(tx, name, values)


def _change(tx: Transaction, name: str, values: Mapping[str, Any]) -> None:
    standing_of.standing(tx, name)
    same = account_standings.c.name == name
    tx.execute(update(account_standings).where(same).values(changed_at=tx.now, **values))
    provider_accounts.changed(tx)


def _shown(one: Described, health: Health | None, progress: Sequence[Progress]) -> Overview:
    state = one.state
    return Overview(
        name=one.account.name,
        kind=one.account.kind,
        from_environment=one.from_environment,
        status=one.status,
        reason=one.reason,
        priority=one.priority,
        sends_for=(ANY_DOMAIN,) if state.sends_for is None else tuple(sorted(state.sends_for)),
        quotas={quota.period: quota.most for quota in state.quotas},
        settings=tuple(sorted(one.account.settings)),
        paused_until=state.paused_until,
        failures=state.failures,
        health=health or score({}, {}),
        warm_ups=tuple(each for each in progress if each.account == one.account.name),
    )
