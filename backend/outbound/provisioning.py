"""What should stand at a provider, what stands there, and how is the one made of the other?

The calls go to the provider, between transactions; nothing of them is kept here, because the
provider is asked anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import select

from backend.outbound.accounts_environment import SETTINGS, FromEnvironment
from mailagent.errors import Conflict, Delivery, Malformed, Misconfigured
from mailagent.identity import DnsRecord
from mailagent.providers import Account, House, setting_up
from mailagent.providers.steps import Outcome, Result, examine, set_up
from mailagent.store import provider_accounts
from mailagent.store.tables import workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets
from mailagent.webhook import WebhookSettings

__all__ = ["Mode", "Report", "account_of_kind", "accounts_to_check", "carry_out", "house"]

Mode = Literal["plan", "make", "check"]


@dataclass(frozen=True, slots=True)
class Report:
    """An account's set-up as it is after a run; holds no secret."""

    account: str
    kind: str
    mode: Mode
    steps: tuple[Result, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    publish: tuple[DnsRecord, ...] = ()

    @property
    def well(self) -> bool:
        """Whether all is as it should be."""
        return all(step.well for step in self.steps)

    @property
    def failed(self) -> bool:
        return any(step.outcome in (Outcome.FAILED, Outcome.LEFT) for step in self.steps)


def account_of_kind(
    tx: Transaction,
    kind: str,
    name: str,
    secrets: Secrets,
    environment: FromEnvironment,
    values: WebhookSettings,
) -> Account:
    """The account to set up: the one named, else the only one of its kind.

    Before there is one, the environment's `values` alone make it. Raises Malformed, Conflict.
    """
    if kind not in SETTINGS:
        raise Malformed(
            "kind", f"{kind[:80]!r} is no provider: choose one of {', '.join(SETTINGS)}"
        )
    found = [one for one in _all(tx, secrets, environment) if one.kind == kind]
    if name:
        found = [one for one in found if one.name == name]
        if not found:
            raise Malformed("account", f"there is no {kind} account {name[:80]!r}")
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise Conflict(f"there are several {kind} accounts: name one of {names}")
    if found:
        return found[0]
    given = {name: values.value(name) for name in SETTINGS[kind]}
    return Account(kind, kind, {name: value for name, value in given.items() if value})


def accounts_to_check(
    tx: Transaction, name: str, secrets: Secrets, environment: FromEnvironment
) -> Sequence[Account]:
    """The account named, or every one. Raises Malformed."""
    found = [one for one in _all(tx, secrets, environment) if not name or one.name == name]
    if name and not found:
        raise Malformed("account", f"there is no account {name[:80]!r}: mailagent provider list")
    return found


def house(tx: Transaction, default_domain: str, url: str, values: WebhookSettings) -> House:
    """What a provider must know of us. Raises Misconfigured for an address no provider reaches."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise Misconfigured(
            "WEBHOOK_PUBLIC_URL", "must be the https:// address at which providers reach us"
        )
    slugs = tx.rows(select(workspaces.c.slug).order_by(workspaces.c.created_at))
    hosts = tuple(f"{row.slug}.{default_domain}" for row in slugs)
    return House(default_domain, url.rstrip("/"), values, hosts)


async def carry_out(account: Account, here: House, mode: Mode) -> Report | None:
    """Plan, make or check an account's set-up; None for a kind that needs none.

    Raises Misconfigured for an account whose settings are not complete; a check says it.
    """
    try:
        opened = setting_up(account, here)
        if opened is None:
            return None
        async with opened as wanted:
            run = set_up if mode == "make" else examine
            done = await run(wanted.steps)
            settings, publish = wanted.settings, wanted.publish
    except (Delivery, Misconfigured) as error:
        if isinstance(error, Misconfigured) and mode != "check":
            raise
        reached = "the provider answers us"
        refused = Result("account", reached, Outcome.FAILED, here.masked(str(error)))
        return Report(account.name, account.kind, mode, (refused,))
    shown = tuple(_masked(one, here) for one in done)
    return Report(account.name, account.kind, mode, shown, settings, publish)


def _all(tx: Transaction, secrets: Secrets, environment: FromEnvironment) -> Sequence[Account]:
    """An account of the database stands in for one of the environment of its name."""
    stored = {
        one.name: Account(one.name, one.kind, provider_accounts.opened(one, secrets))
        for one in provider_accounts.stored(tx)
    }
    return [*stored.values(), *(one for one in environment.accounts if one.name not in stored)]


def _masked(result: Result, here: House) -> Result:
    """Addresses of ours may hold the secret of a path."""
    return Result(
        result.name,
        here.masked(result.wants),
        result.outcome,
        here.masked(result.says),
        here.masked(result.mend),
        tuple(map(here.masked, result.notes)),
        tuple(map(here.masked, result.calls)),
    )
