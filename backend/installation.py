"""What does every process of an installation share? Settings → store → services, opened and closed.

Nothing here listens or serves: commands use it as well as `backend.app`, without the web stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING

import structlog
from pydantic import SecretStr

from backend.outbound.accounts_environment import FromEnvironment, of_environment
from backend.tracing import open_traces
from mailagent import agents
from mailagent.agents.mcp_servers import load_listing
from mailagent.authentication import dkim
from mailagent.egress import Egress
from mailagent.errors import Misconfigured
from mailagent.flow import FlowSettings, Services
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.accounts import Accounts
from mailagent.flow.directory import StoreDirectory
from mailagent.identity import Collects
from mailagent.inbound import Acceptor
from mailagent.outbound import CAPTURE, LOCAL
from mailagent.providers import (
    Account,
    House,
    SigningKey,
    Surroundings,
    collector,
    fetch_stored,
    recoverers,
)
from mailagent.providers.raw_store import RawStore
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.screening import Rspamd
from mailagent.settings import Settings
from mailagent.store import signing_keys
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets
from mailagent.webhook import WebhookSettings
from mailagent.work import Wakeups

if TYPE_CHECKING:
    from backend.traces import Traces

__all__ = ["Installation", "installation", "make_signing_key", "webhook_settings"]

log = structlog.get_logger()

_SELECTOR = "mailagent1"
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True)
class Installation:
    """What every part and every command of one process shares."""

    settings: Settings
    services: Services
    acceptor: Acceptor
    wakeups: Wakeups
    accounts: Accounts
    conflicts: Sequence[str] = ()
    """What in the environment contradicts itself, in sentences."""
    traces: Traces | None = None


@asynccontextmanager
async def installation(settings: Settings, *, demo: bool = False) -> AsyncIterator[Installation]:
    """Open the store and make the services; close them at the end. Raises Misconfigured."""
    secrets = Secrets(settings.secret_keys())
    store = Store(settings.database)
    wakeups = Wakeups(store)
    directory = StoreDirectory(store, secrets, default_domain=settings.default_email_domain)
    acceptor = GroupAcceptor(store, directory, secrets, on_accepted=lambda: wakeups.wake(["read"]))
    sandbox = Sandbox(allowed=("mailagent.reading",))
    processors = _Processors(settings)
    environment = of_environment(webhook_settings(settings).values)
    accounts: Accounts | None = None
    screener = _screener(settings)
    traces = open_traces(settings)
    door: Acceptor = traces.acceptor(acceptor) if traces else acceptor
    try:
        await directory.refresh()
        accounts = _accounts(settings, store, secrets, door, environment)
        await accounts.refresh()
        if any(one.kind == "smtp" for one in accounts.set_up):
            await make_signing_key(store, secrets, settings.default_email_domain)
        services = Services(
            store=store,
            sandbox=sandbox,
            resolver=Resolver(settings.mailagent_resolver or None),
            directory=directory,
            acceptor=door,
            secrets=secrets,
            settings=FlowSettings(
                default_domain=settings.default_email_domain,
                hostname=settings.mailagent_hostname,
                ui_url=settings.public_url,
                trusted_networks=_LOOPBACK if demo else (),
                default_processor=settings.processor,
                arc_sealers=settings.arc_sealers,
                screening_waits=settings.mailagent_rspamd_away == "wait",
                routes_to_loopback=settings.mailagent_routes_to_loopback,
            ),
            accounts=accounts,
            account_states=accounts.states,
            fetch_stored=partial(fetch_stored, webhook_settings(settings)),
            recovers=recoverers(webhook_settings(settings)),
            raw_store=RawStore(webhook_settings(settings).values),
            processor=processors.named,
            screener=screener,
            egress=Egress(settings.internal_hosts),
            mcp_listing=load_listing(settings.mailagent_mcp_servers),
            collectors=partial(_collectors, settings, accounts),
        )
        yield Installation(
            settings, services, door, wakeups, accounts, environment.conflicts, traces
        )
    finally:
        if accounts is not None:
            await accounts.close()
        if screener is not None:
            await screener.close()
        await processors.close()
        await sandbox.close()
        wakeups.close()
        await acceptor.close()
        store.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)


def _collectors(
    settings: Settings, accounts: Accounts
) -> Sequence[tuple[str, AbstractAsyncContextManager[Collects]]]:
    url = settings.webhook_public_url or settings.public_url
    here = House(settings.default_email_domain, url, webhook_settings(settings))
    found = []
    for account in accounts.set_up:
        try:
            opened = collector(account, here)
        except Misconfigured as error:
            log.info("hosts.not_asked", account=account.name, reason=str(error))
            continue
        if opened is not None:
            found.append((account.name, opened))
    return found


def _screener(settings: Settings) -> Rspamd | None:
    if not settings.mailagent_rspamd_url:
        return None
    password = settings.mailagent_rspamd_password
    return Rspamd(settings.mailagent_rspamd_url, password.get_secret_value() if password else "")


class _Processors:
    """Agent processors by name, made when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, agents.AgentKind] = {}

    def named(self, name: str) -> agents.Agent:
        name = name or self._settings.processor
        if name not in self._made:
            self._made[name] = agents.open_agent(name, self._settings.processor_settings)
        return self._made[name]

    async def close(self) -> None:
        for made in self._made.values():
            await made.close()


def _accounts(
    settings: Settings,
    store: Store,
    secrets: Secrets,
    acceptor: Acceptor,
    environment: FromEnvironment,
) -> Accounts:
    """The provider accounts of the environment and the database, capture and local delivery."""
    default_domain = settings.default_email_domain

    async def signing_key(domain: str) -> SigningKey | None:
        # Everything on the default domain is signed d=<default>, aligned relaxed.
        owner = default_domain if f".{domain}".endswith(f".{default_domain}") else domain
        return await store.read_unscoped(_signing_key, secrets, owner)

    around = Surroundings(
        hostname=settings.mailagent_hostname, acceptor=acceptor, signing_key=signing_key
    )
    return Accounts(
        store,
        secrets,
        around,
        always=[Account(CAPTURE, CAPTURE), Account(LOCAL, LOCAL)],
        environment=environment.accounts,
        first=environment.first,
        default_domain=default_domain,
    )


def _signing_key(tx: Transaction, secrets: Secrets, domain: str) -> SigningKey | None:
    found = signing_keys.newest(tx, secrets, domain)
    if found is None:
        return None
    second = signing_keys.beside(tx, secrets, domain)
    beside = SigningKey(domain, second.selector, second.private_pem) if second else None
    return SigningKey(domain, found.selector, found.private_pem, beside)


async def make_signing_key(store: Store, secrets: Secrets, domain: str) -> None:
    """Make the DKIM key that a relay of one's own signs with, unless there is one."""
    if await store.read_unscoped(signing_keys.newest, secrets, domain) is None:
        pair = await asyncio.to_thread(dkim.new_key, "rsa2048")
        key = signing_keys.StoredKey(domain, _SELECTOR, pair.private_pem, pair.public_record)
        await store.write_unscoped(signing_keys.add, secrets, key)


def webhook_settings(settings: Settings) -> WebhookSettings:
    """What is set for providers, by environment variable's name."""
    values = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
        for name, value in settings
    }
    opened = settings.mailagent_open_webhooks.replace(",", " ").split()
    return WebhookSettings(values, frozenset(opened))
