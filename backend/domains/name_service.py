"""How does one `dns serve` process live, from its first packet to SIGTERM?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.tsig

from backend.domains.carriers import Installed
from backend.domains.dns_dialogue import Policy
from backend.domains.dns_notify import Notifier
from backend.domains.dns_server import DnsServer
from backend.domains.served_zone import ServedZone
from backend.domains.zone_watch import watch
from backend.listening import taken
from mailagent.settings import Settings
from mailagent.store import zone_version
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.work import Wakeups

__all__ = ["name_service"]


@asynccontextmanager
async def name_service(
    store: Store,
    settings: Settings,
    installed: Callable[[Transaction], Installed],
    *,
    host: str,
    port: int,
) -> AsyncIterator[int]:
    """Serve the zone as hidden primary until the block ends; gives the port.

    Raises Misconfigured where the port is taken or the settings make no zone.
    """
    stop = asyncio.Event()
    served = ServedZone(store, settings, installed)
    await served.refresh()
    key = _key(settings)
    policy = Policy(frozenset(address for address, _ in settings.dns_secondaries), key)
    server = DnsServer(lambda: served.zone, policy)
    notifier = Notifier(settings.dns_secondaries, key, lambda: served.zone)
    wakeups = Wakeups(store)
    try:
        try:
            listening = await server.start(host, port)
        except OSError as error:
            raise taken("MAILAGENT_DNS_PORT", port, error) from error
        wakeups.listen()
        following = asyncio.create_task(
            served.keep_fresh(wakeups.event(zone_version.ZONE), stop, notifier.tell_all)
        )
        watching = asyncio.create_task(
            watch(store, settings.dns_secondaries, lambda: served.zone, stop)
        )
        notifier.tell_all()
        try:
            yield listening
        finally:
            stop.set()
            wakeups.wake([zone_version.ZONE])
            await following
            await watching
            await notifier.close()
            await server.stop()
    finally:
        wakeups.close()


def _key(settings: Settings) -> dns.tsig.Key | None:
    if settings.mailagent_dns_tsig is None:
        return None
    algorithm, name, secret = settings.mailagent_dns_tsig.get_secret_value().split(":")
    return dns.tsig.Key(name, secret, algorithm)
