"""How are the parts put together, and how does a process of them live and stop?

Settings → store → services → doors, API, web, workers. `serve` runs any choice of parts; on SIGTERM
it refuses new work, finishes what is in flight for at most 25 seconds, and ends: all else is
durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, Literal

import structlog
import uvicorn

from backend.api import create_api
from backend.health import Health, routes
from backend.web import create_web
from mailagent import agents
from mailagent.authentication import dkim
from mailagent.doors import smtp_tls
from mailagent.doors.smtp import SmtpDoor
from mailagent.doors.smtp_limits import SmtpLimits
from mailagent.doors.webhooks import webhook_app
from mailagent.errors import MailagentError
from mailagent.flow import FlowSettings, Services, chores, workers
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import StoreDirectory
from mailagent.outbound import CAPTURE, LOCAL, AccountState
from mailagent.outgoing import Sends
from mailagent.providers import Account, SigningKey, Surroundings, open_account
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store import signing_keys
from mailagent.store.engine import Store
from mailagent.tokens import Secrets
from mailagent.work import Wakeups

__all__ = [
    "PARTS",
    "Installation",
    "Part",
    "Serving",
    "installation",
    "serving",
    "stop_on_signals",
]

log = structlog.get_logger()

Part = Literal["smtp", "webhooks", "worker", "backend"]
PARTS: tuple[Part, ...] = ("smtp", "webhooks", "worker", "backend")

_GRACE = timedelta(seconds=25)
_SELECTOR = "mailagent1"
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_CHECKPOINT_EVERY = 5.0


@dataclass(frozen=True)
class Installation:
    """What every part and every command of one process shares."""

    settings: Settings
    services: Services
    acceptor: GroupAcceptor
    wakeups: Wakeups


@asynccontextmanager
async def installation(settings: Settings, *, demo: bool = False) -> AsyncIterator[Installation]:
    """Open the store and make the services; close them at the end. Raises Misconfigured."""
    secrets = Secrets([settings.secret_key()])
    store = Store(settings.database)
    wakeups = Wakeups(store)
    directory = StoreDirectory(store, secrets, default_domain=settings.default_email_domain)
    acceptor = GroupAcceptor(store, directory, secrets, on_accepted=lambda: wakeups.wake(["read"]))
    sandbox = Sandbox(allowed=("mailagent.reading",))
    processors = _Processors(settings)
    try:
        await directory.refresh()
        accounts, states = await _accounts(settings, store, secrets, acceptor)
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
            ),
            accounts=accounts,
            account_states=states,
            processor=processors.named,
        )
        yield Installation(settings, services, acceptor, wakeups)
    finally:
        await processors.close()
        await sandbox.close()
        wakeups.close()
        acceptor.close()
        store.close()


class _Processors:
    """Agent processors by name, made when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, agents.AgentKind] = {}

    def named(self, name: str) -> agents.Agent:
        name = name or self._settings.processor
        if name not in self._made:
            key = self._settings.anthropic_api_key
            given = {
                "ANTHROPIC_API_KEY": key.get_secret_value() if key else "",
                "ANTHROPIC_BASE_URL": self._settings.anthropic_base_url,
                "ANTHROPIC_MODEL": self._settings.anthropic_model,
            }
            self._made[name] = agents.open_agent(name, given)
        return self._made[name]

    async def close(self) -> None:
        for made in self._made.values():
            await made.close()


async def _accounts(
    settings: Settings, store: Store, secrets: Secrets, acceptor: GroupAcceptor
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


@dataclass(frozen=True)
class Serving:
    """What a running process listens on; None for parts that it does not run."""

    smtp_port: int | None
    webhooks_port: int | None
    backend_port: int | None


@asynccontextmanager
async def serving(
    shared: Installation,
    parts: Sequence[Part],
    *,
    host: str,
    stop: asyncio.Event,
    limits: SmtpLimits | None = None,
) -> AsyncIterator[Serving]:
    """Run the parts until the block ends, then stop them in order: doors first, then workers."""
    settings, services = shared.settings, shared.services
    await services.store.write_unscoped(chores.plan)
    shared.wakeups.listen()
    running = workers(services) if "worker" in parts else {}
    door = _door(shared, host, limits) if "smtp" in parts else None
    health = Health(services.store, running, door)
    tasks = [
        asyncio.create_task(services.directory.keep_fresh(shared.wakeups.event("directory"), stop)),
        asyncio.create_task(_checkpoints(services.store, stop)),
    ]
    working = [
        asyncio.create_task(worker.run(shared.wakeups.event(name), stop))
        for name, worker in running.items()
    ]
    servers: list[tuple[_Server, asyncio.Task[None]]] = []
    try:
        if running:
            await services.sandbox.warm()
        if door is not None:
            await door.start()
        if running:
            tasks.append(asyncio.create_task(_rehearse(services.sandbox)))
        ports: dict[str, int | None] = {"webhooks": None, "backend": None}
        if "webhooks" in parts:
            app = webhook_app(health.report, health.metrics, may_see_parts=lambda _: False)
            ports["webhooks"] = await _listen(servers, app, host, settings.mailagent_port)
        if "backend" in parts:
            api = create_api(services, settings)
            api.router.routes.extend(routes(health))
            api.mount("/", create_web(services, settings))
            ports["backend"] = await _listen(servers, api, host, settings.backend_port)
        yield Serving(door.port if door else None, ports["webhooks"], ports["backend"])
    finally:
        stop.set()
        if door is not None:
            await door.stop(_GRACE)
        for server, _ in servers:
            server.should_exit = True
        ending = [*(task for _, task in servers), *working, *tasks]
        _, late = await asyncio.wait(ending, timeout=_GRACE.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


def _door(shared: Installation, host: str, limits: SmtpLimits | None) -> SmtpDoor:
    settings = shared.settings
    tls = smtp_tls.context(
        settings.mailagent_tls_cert,
        settings.mailagent_tls_key,
        hostname=settings.mailagent_hostname,
        folder=settings.mailagent_data,
    )
    return SmtpDoor(
        shared.acceptor,
        shared.services.directory,
        hostname=settings.mailagent_hostname,
        host=host,
        port=settings.mailagent_smtp_port,
        limits=limits,
        tls=tls,
    )


class _Server(uvicorn.Server):
    """A server whose signals are ours: several of them share one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _listen(
    servers: list[tuple[_Server, asyncio.Task[None]]], app: Any, host: str, port: int
) -> int:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
    socket = config.bind_socket()
    server = _Server(config)
    servers.append((server, asyncio.create_task(server.serve([socket]))))
    while not server.started:  # noqa: ASYNC110 - uvicorn tells by this flag alone
        await asyncio.sleep(0.01)
    bound: int = socket.getsockname()[1]
    return bound


async def _rehearse(sandbox: Sandbox) -> None:
    """Have the sandbox import what reading needs while no mail waits for it."""
    try:
        await sandbox.run("mailagent.reading:rehearse", b"", {})
    except MailagentError:
        log.exception("sandbox.rehearsal_failed")


async def _checkpoints(store: Store, stop: asyncio.Event) -> None:
    """Keep SQLite's log short from a thread that no commit waits for."""
    while store.on_sqlite and not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _CHECKPOINT_EVERY)
        await asyncio.to_thread(store.checkpoint)


def stop_on_signals(stop: asyncio.Event, tell: Callable[[], None]) -> None:
    """Set `stop` at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()

    def stopping() -> None:
        tell()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping)
