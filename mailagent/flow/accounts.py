"""Which accounts at providers may carry mail now?

They come from the environment and from the database, and every process follows the database: what
an operator changes, and what one process learns of an account, the others know within a second
(`versions.accounts`). Failures in a row let an account rest, ever longer; a success ends that.
Rejected credentials are told to the operator once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import overload

import structlog
from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from mailagent import outbound
from mailagent.errors import Misconfigured, Unauthentic
from mailagent.flow import people, warm_ups
from mailagent.flow.services import FlowSettings
from mailagent.outbound import PERIODS, AccountState, Quota, WarmUp
from mailagent.outgoing import Sends
from mailagent.providers import (
    Account,
    Surroundings,
    carries_mime,
    close_accounts,
    open_account,
    region_of,
)
from mailagent.store import provider_accounts
from mailagent.store.engine import Store
from mailagent.store.provider_accounts import StoredAccount
from mailagent.store.tables import (
    account_standings,
    domain_identities,
    domains,
    versions,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets

__all__ = [
    "ANY_DOMAIN",
    "Accounts",
    "Described",
    "Trouble",
    "describe",
    "failed",
    "learn",
    "standing",
    "standings",
    "worked",
]

ANY_DOMAIN = "*"
"""In `sends_for`: the provider does not care for whom."""
_FIRST_RETRY_OF_REJECTED = timedelta(hours=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Described:
    """An account as it was set up, by the environment or by an operator, and how it stands."""

    account: Account
    from_environment: bool
    state: AccountState
    status: str
    """`active`, `paused` by a person, `rejected` by the provider, `resting` after failures, or
    `unusable` as it is set up."""
    reason: str
    priority: int


def describe(
    stored: Sequence[StoredAccount],
    rows: Mapping[str, AnyRow],
    secrets: Secrets,
    *,
    environment: Sequence[Account],
    first: Sequence[str],
    default_domain: str,
    now: datetime,
    warming: Mapping[str, tuple[WarmUp, ...]],
    identified: Mapping[str, frozenset[str]] | None = None,
) -> tuple[Described, ...]:
    """Every account that is set up, in the order of preference.

    `first` names accounts, or kinds, that go before all others; `warming` are warm-ups by account;
    `identified` the workspaces' own domains that an account's provider has verified. An account of
    the database stands in for one of the environment that has its name.
    """
    given: dict[str, tuple[Account, int, bool, str]] = {
        one.name: (one, 10 * number, True, "") for number, one in enumerate(environment, 1)
    }
    for one in stored:
        settings: Mapping[str, str] = {}
        problem = ""
        try:
            settings = provider_accounts.opened(one, secrets)
        except Unauthentic as error:
            problem = str(error)
        given[one.name] = Account(one.name, one.kind, settings), 100, False, problem
    found = []
    for account, priority, from_environment, problem in given.values():
        row = rows.get(account.name)
        if row is not None and row.priority is not None:
            priority = row.priority
        state = _state(account, row, problem, fingerprint(secrets, account), default_domain)
        state = replace(state, warm_ups=warming.get(account.name, ()))
        if state.sends_for is not None and identified:
            own = identified.get(account.name, frozenset())
            state = replace(state, sends_for=state.sends_for | own)
        status, reason = _status(row, state, now)
        found.append(Described(account, from_environment, state, status, reason, priority))

    def place(one: Described) -> tuple[int, int, str]:
        words = (one.account.name, one.account.kind)
        named = [place for place, word in enumerate(first) if word in words]
        return min(named, default=len(first)), one.priority, one.account.name

    return tuple(sorted(found, key=place))


class Accounts(Mapping[str, Sends]):
    """Every account of this process by name; `states` are those that a person set up, in order.

    One that an operator removes stays open until the end: a mail may be on its way by it.
    """

    def __init__(
        self,
        store: Store,
        secrets: Secrets,
        surroundings: Surroundings,
        *,
        always: Sequence[Account],
        environment: Sequence[Account] = (),
        first: Sequence[str] = (),
        default_domain: str,
    ) -> None:
        """`always` are there without being set up; `first` names accounts, or kinds, that go before
        all others. Raises Misconfigured.
        """
        self._store, self._secrets, self._surroundings = store, secrets, surroundings
        self._first, self._default_domain = first, default_domain
        self._environment = tuple(environment)
        self._open = {one.name: open_account(one, surroundings) for one in (*always, *environment)}
        self._settings = {one.name: one for one in environment}
        self._retired: list[Sends] = []
        self._version = -1
        self._states: tuple[AccountState, ...] = ()
        self._refreshing = asyncio.Lock()
        self.states: Sequence[AccountState] = _States(self)

    @property
    def set_up(self) -> Sequence[Account]:
        """The accounts of the environment and the database, without order."""
        return tuple(self._settings.values())

    def __getitem__(self, name: str) -> Sends:
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    async def refresh(self) -> None:
        """Read the accounts anew if they changed. Raises SQLAlchemyError."""
        async with self._refreshing:
            found = await self._store.read_unscoped(_load, self._version)
            if found is not None:
                self._version = found.version
                self._states = self._follow(found)

    async def keep_fresh(self, wake: asyncio.Event, stop: asyncio.Event) -> None:
        """Follow changes until `stop`: at once when woken, else within a second."""
        while not stop.is_set():
            try:
                await self.refresh()
            except SQLAlchemyError as error:
                log.warning("accounts.stale", error=type(error).__name__)
            try:
                await asyncio.wait_for(wake.wait(), timeout=1)
            except TimeoutError:
                continue
            wake.clear()

    async def close(self) -> None:
        """Let go of every connection."""
        await close_accounts([*self._open.values(), *self._retired])

    def _follow(self, found: _Found) -> tuple[AccountState, ...]:
        described = describe(
            found.stored,
            found.standings,
            self._secrets,
            environment=self._environment,
            first=self._first,
            default_domain=self._default_domain,
            now=self._store.now(),
            warming=found.warming,
            identified=found.identified,
        )
        states = []
        for one in described:
            state, name = one.state, one.account.name
            if self._settings.get(name) != one.account:
                try:
                    self._replace(one.account)
                except Misconfigured as error:
                    problem = state.off_reason or f"its settings cannot be used: {error}"
                    state = replace(state, enabled=False, off_reason=problem)
            states.append(state)
        for name in self._settings.keys() - {one.account.name for one in described}:
            del self._settings[name]
        return tuple(states)

    def _replace(self, account: Account) -> None:
        opened = open_account(account, self._surroundings)
        if account.name in self._open:
            self._retired.append(self._open[account.name])
        self._open[account.name], self._settings[account.name] = opened, account


class _States(Sequence[AccountState]):
    """The states of an `Accounts` as they are when looked at."""

    def __init__(self, of: Accounts) -> None:
        self._of = of

    @overload
    def __getitem__(self, index: int) -> AccountState: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AccountState]: ...
    def __getitem__(self, index: int | slice) -> AccountState | Sequence[AccountState]:
        return self._of._states[index]

    def __len__(self) -> int:
        return len(self._of._states)


def fingerprint(secrets: Secrets, account: Account) -> str:
    """32 hex digits that tell one set of credentials from another, to us alone."""
    written = json.dumps([account.kind, dict(account.settings)], sort_keys=True).encode()
    key = secrets.subkey("account fingerprint")
    return hmac.new(key, written, hashlib.sha256).hexdigest()[:32]


def _state(
    account: Account, row: AnyRow | None, problem: str, fingerprint: str, default_domain: str
) -> AccountState:
    # A relay of one's own asks for no verified domain; a provider does.
    sends_for = None if account.kind == "smtp" else frozenset({default_domain})
    state = AccountState(
        account.name,
        enabled=not problem,
        off_reason=problem,
        sends_for=sends_for,
        carries_mime=carries_mime(account.kind),
        fingerprint=fingerprint,
        region=region_of(account),
    )
    if row is None:
        return state
    if row.sends_for is not None:
        sends_for = None if ANY_DOMAIN in row.sends_for else frozenset(row.sends_for)
    paused = row.status == "paused"
    state = replace(
        state,
        enabled=not problem and not paused,
        off_reason=problem or (row.reason if paused else ""),
        sends_for=sends_for,
        quotas=tuple(Quota(one, row.quotas[one]) for one in PERIODS if one in row.quotas),
    )
    if row.status == "rejected" and row.rejected != fingerprint:
        return state  # other credentials than those that were rejected
    return replace(
        state, paused_until=row.paused_until, pause_reason=row.reason, failures=row.failures
    )


def _status(row: AnyRow | None, state: AccountState, now: datetime) -> tuple[str, str]:
    if row is not None and row.status == "paused":
        return "paused", row.reason
    if state.off_reason:
        return "unusable", state.off_reason
    if row is not None and row.status == "rejected" and row.rejected == state.fingerprint:
        return "rejected", row.reason
    if state.paused_until is not None and state.paused_until > now:
        return "resting", state.pause_reason
    return "active", ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the database says of accounts."""

    version: int
    stored: tuple[StoredAccount, ...]
    standings: Mapping[str, AnyRow]
    warming: Mapping[str, tuple[WarmUp, ...]]
    identified: Mapping[str, frozenset[str]]


def _load(tx: Transaction, known: int) -> _Found | None:
    version = tx.value(select(versions.c.value).where(versions.c.name == "accounts"))
    if version == known:
        return None
    return _Found(
        version,
        provider_accounts.stored(tx),
        standings(tx),
        warm_ups.going_on(tx),
        _identified(tx),
    )


def _identified(tx: Transaction) -> Mapping[str, frozenset[str]]:
    """The workspaces' domains for which each account may send."""
    found: dict[str, set[str]] = {}
    for row in tx.rows(
        select(domain_identities.c.account, domain_identities.c.name)
        .join(domains, domains.c.id == domain_identities.c.domain_id)
        .where(domain_identities.c.side == "sending", domains.c.sending_verified_at.is_not(None))
    ):
        found.setdefault(row.account, set()).add(row.name)
    return {account: frozenset(names) for account, names in found.items()}


# --- what is learned of an account ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """A hand-over that failed as a whole."""

    reason: str
    until: datetime | None = None
    """When the far side wants to be asked again."""
    credentials: bool = False


async def learn(
    store: Store, settings: FlowSettings, state: AccountState, what: Trouble | None
) -> None:
    """Remember how a hand-over went, `what` None for well; costs nothing while all goes well."""
    try:
        if what is not None:
            await store.write_unscoped(failed, settings, state, what)
        elif state.failures or state.paused_until is not None:
            await store.write_unscoped(worked, state.name)
    except SQLAlchemyError as error:
        # The mail's own rows are written by now: the next hand-over teaches the same.
        log.warning("accounts.not_learned", account=state.name, error=type(error).__name__)


def failed(tx: Transaction, settings: FlowSettings, state: AccountState, trouble: Trouble) -> None:
    """Count a failure; let the account rest after several; tell the operator of rejection once."""
    tx.lock(f"account {state.name}")
    row = standing(tx, state.name)
    values: dict[str, object] = {"failures": row.failures + 1, "changed_at": tx.now}
    rests = row.paused_until is not None and row.paused_until > tx.now
    if trouble.credentials:
        known = row.status == "rejected" and row.rejected == state.fingerprint
        if row.status != "paused":
            values["status"] = "rejected"
        values |= {
            "rejected": state.fingerprint,
            "reason": f"its credentials were rejected: {trouble.reason}"[:500],
            # They may have been rejected by mistake, and nobody is there: it is asked again.
            "paused_until": tx.now + _FIRST_RETRY_OF_REJECTED,
        }
        if not known:
            _tell_operator(tx, settings, state.name, trouble.reason)
    elif not rests and row.status != "rejected":
        pause = outbound.rest(row.failures + 1, row.pauses)
        ends = [tx.now + pause] if pause else []
        ends += [trouble.until] if trouble.until is not None and trouble.until > tx.now else []
        if ends:
            values["paused_until"] = max(ends)
            if row.status != "paused":
                values["reason"] = trouble.reason[:500]
        if pause:
            values["pauses"] = row.pauses + 1
            log.warning("account.rests", account=state.name, until=str(max(ends)))
    _set(tx, state.name, values)


def worked(tx: Transaction, name: str) -> None:
    """A mail was taken: the account is well, whatever was before; a person's pause stays."""
    row = standing(tx, name)
    well: dict[str, object] = {"failures": 0, "pauses": 0, "paused_until": None, "rejected": None}
    if row.status != "paused":
        well |= {"status": "active", "reason": ""}
    _set(tx, name, {**well, "changed_at": tx.now})


_STANDING = select(account_standings).where(account_standings.c.name == bindparam("account"))


def standing(tx: Transaction, name: str) -> AnyRow:
    """The row of an account's standing, made when there is none."""
    fresh: dict[str, object] = {
        "name": name,
        "priority": None,
        "sends_for": None,
        "quotas": {},
        "status": "active",
        "reason": "",
        "failures": 0,
        "pauses": 0,
        "changed_at": tx.now,
    }
    tx.insert_new(account_standings, fresh, unique=["name"])
    row = tx.row(_STANDING, {"account": name})
    assert row is not None
    return row


def standings(tx: Transaction) -> Mapping[str, AnyRow]:
    """Every standing by the account's name."""
    return {row.name: row for row in tx.rows(select(account_standings))}


def _set(tx: Transaction, name: str, values: Mapping[str, object]) -> None:
    tx.execute(update(account_standings).where(account_standings.c.name == name).values(values))
    provider_accounts.changed(tx)


def _tell_operator(tx: Transaction, settings: FlowSettings, name: str, reason: str) -> None:
    text = (
        f"The provider rejected the credentials of the account {name}.\n\n"
        f"What it said: {reason}\n\n"
        "Mail goes on by the next account, or waits where there is none. This account is asked "
        "again every hour,\nand at once when it has other credentials:\n"
        f"  mailagent provider test {name}\n  mailagent provider list\n"
    )
    subject = f"The account {name} was rejected by its provider"
    people.notify_operator(tx, settings, subject, text)
