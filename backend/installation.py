"""What does every process of an installation share? Settings → store → services, opened and closed.

Nothing here listens or serves: commands use it as well as `backend.app`, without the web stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING

from pydantic import SecretStr

from backend.tracing import open_traces
from mailagent import agents
from mailagent.authentication import dkim
from mailagent.flow import FlowSettings, Services
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import StoreDirectory
from mailagent.inbound import Acceptor
from mailagent.outbound import CAPTURE, LOCAL, AccountState
from mailagent.outgoing import Sends
from mailagent.providers import (
    Account,
    SigningKey,
    Surroundings,
    close_accounts,
    fetch_stored,
    open_account,
)
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.screening import Rspamd
from mailagent.settings import Settings
from mailagent.store import signing_keys
from mailagent.store.engine import Store
from mailagent.tokens import Secrets
from mailagent.webhook import WebhookSettings
from mailagent.work import Wakeups

if TYPE_CHECKING:
    from backend.traces import Traces

__all__ = ["Installation", "installation", "webhook_settings"]

_SELECTOR = "mailagent1"
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True)
class Installation:
    """What every part and every command of one process shares."""

    settings: Settings
    services: Services
    acceptor: Acceptor
    wakeups: Wakeups
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
    accounts: Mapping[str, Sends] = {}
    screener = _screener(settings)
    traces = open_traces(settings)
    door: Acceptor = traces.acceptor(acceptor) if traces else acceptor
    try:
        await directory.refresh()
        accounts, states = await _accounts(settings, store, secrets, door)
        services = Services(
            store=store,
            sandbox=sandbox,
            resolver=Resolver(settings.mailagent_resolver or None),
            directory=directory,
            secrets=secrets,
            settings=FlowSettings(
                default_domain=settings.default_email_domain,
                hostname=settings.mailagent_hostname,
                ui_url=settings.public_url,
                trusted_networks=_LOOPBACK if demo else (),
                default_processor=settings.processor,
                arc_sealers=settings.arc_sealers,
                screening_waits=settings.mailagent_rspamd_away == "wait",
            ),
            accounts=accounts,
            account_states=states,
            fetch_stored=partial(fetch_stored, webhook_settings(settings)),
            processor=processors.named,
            screener=screener,
        )
        yield Installation(settings, services, door, wakeups, traces)
    finally:
        await close_accounts(accounts.values())
        if screener is not None:
            await screener.close()
        await processors.close()
        await sandbox.close()
        wakeups.close()
        acceptor.close()
        store.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)


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


async def _accounts(
    settings: Settings, store: Store, secrets: Secrets, acceptor: Acceptor
) -> tuple[Mapping[str, Sends], tuple[AccountState, ...]]:
    """The provider accounts that settings name, with capture and local delivery always there."""
    default_domain = settings.default_email_domain

    async def signing_key(domain: str) -> SigningKey | None:
        # Everything on the default domain is signed d=<default>, aligned relaxed.
        owner = default_domain if f".{domain}".endswith(f".{default_domain}") else domain
        found = await store.read_unscoped(signing_keys.newest, secrets, owner)
        return SigningKey(found.domain, found.selector, found.private_pem) if found else None

    around = Surroundings(
        hostname=settings.mailagent_hostname, acceptor=acceptor, signing_key=signing_key
    )
    given = [Account(CAPTURE, CAPTURE), Account(LOCAL, LOCAL)]
    states: tuple[AccountState, ...] = ()
    if settings.smtp_relay_url:
        relay = {"SMTP_RELAY_URL": settings.smtp_relay_url.get_secret_value()}
        given.append(Account("smtp", "smtp", relay))
        states = (AccountState("smtp"),)
        await _make_signing_key(store, secrets, default_domain)
    return {one.name: open_account(one, around) for one in given}, states


async def _make_signing_key(store: Store, secrets: Secrets, domain: str) -> None:
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
