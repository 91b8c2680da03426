"""An installation whose domains are looked at for real: a DNS server, providers' servers, a clock.

Nothing runs by itself: `work` does every step and look that is due, as the workers would, and
`later` lets time pass. Real are the store, DNS over sockets, and the providers' HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from backend.agents import service as agents
from backend.domains import adding, checking, removing, steps, stored
from backend.domains.adding import Wanted
from backend.domains.desk import Desk
from backend.domains.publishing import delegated, expected
from backend.domains.record import DomainRecord
from backend.domains.stored import CHECKS, STEPS, Domain
from backend.domains.zone_servers import Address
from backend.workspaces import members
from backend.workspaces import service as workspaces
from mailagent.errors import LostClaim
from mailagent.flow.services import FlowSettings
from mailagent.settings import Settings
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets
from mailagent.work import Claim, Queue, claim
from tests.dns_server import DnsServer
from tests.flow.house import longer_ago

__all__ = ["DEFAULT", "HOST", "NAME", "Town", "open_town"]

DEFAULT = "agents.example"
HOST = f"mx.{DEFAULT}"
NAME = "acme.example"
_ADDRESS = "192.0.2.25"
_ROUNDS = 20


@dataclass
class Clock:
    """Real time, and what a test turned it on by."""

    turned: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.turned


@dataclass
class Town:
    """Two workspaces, `acme` with the agent `hello`, and `other`."""

    store: Store
    dns: DnsServer
    desk: Desk
    clock: Clock
    acme: str = ""
    other: str = ""
    published: dict[str, list[DomainRecord]] = field(default_factory=dict)

    async def add(self, name: str = NAME, *, workspace: str | None = None, **more: Any) -> Domain:
        return await adding.add(
            self.desk, workspace or self.acme, Wanted(name, **more), actor="person:test"
        )

    async def domain(self, name: str = NAME, *, workspace: str | None = None) -> Domain:
        return await self.store.read(workspace or self.acme, stored.find, name)

    async def records(
        self, name: str = NAME, *, workspace: str | None = None
    ) -> tuple[DomainRecord, ...]:
        """What the domain must publish now."""
        domain = await self.domain(name, workspace=workspace)
        installed = await self.store.read_unscoped(self.desk.installed)
        wanted = await self.store.read(domain.workspace_id, expected, installed, domain)
        return wanted.records

    async def publish(self, name: str = NAME, *, workspace: str | None = None) -> None:
        """The owner publishes exactly what is asked."""
        self.put(await self.records(name, workspace=workspace))
        await self.publish_zone()

    async def publish_zone(self) -> None:
        """Our own zone has what stands behind CNAMEs."""
        installed = await self.store.read_unscoped(self.desk.installed)
        for each in await self.store.read_unscoped(delegated, installed):
            value = f"{each.priority} {each.value}." if each.type == "MX" else each.value
            self.dns.add({each.name: {each.type: [value]}})

    def put(self, records: Iterable[DomainRecord]) -> None:
        found: dict[str, dict[str, list[str]]] = {}
        for each in records:
            dot = "." if each.record.type in ("MX", "CNAME", "NS") else ""
            entry = found.setdefault(each.name, {}).setdefault(each.record.type, [])
            if f"{each.text}{dot}" not in entry:
                entry.append(f"{each.text}{dot}")
        self.dns.add(found)

    def without(self, name: str, type_: str) -> list[str]:
        """Somebody deletes records; returns what they were."""
        return self.dns.zone[name].pop(type_)

    async def remove(self, name: str = NAME, *, workspace: str | None = None, **more: Any) -> Any:
        options = {"force": False, **more}
        return await self.store.write_unscoped(
            removing.remove,
            self.desk,
            workspace or self.acme,
            name,
            actor="person:test",
            **options,
        )

    async def look(self, name: str = NAME, *, workspace: str | None = None) -> Domain:
        """Somebody asks for a look."""
        return await checking.look_now(self.desk, workspace or self.acme, name)

    # --- time and work ---

    async def later(self, by: timedelta) -> None:
        """Let time pass; what is due then waits for `work`."""
        if self.store.on_sqlite:
            self.clock.turned += by
        else:
            # Claims go by the database's clock, which nobody can turn: all that was is longer ago.
            await self.store.write_unscoped(longer_ago, by)

    async def claimed(self, queue: Queue) -> list[Claim]:
        """Take what is due of a queue, to be done by the test."""
        return await self.store.write_unscoped(_claimed, queue)

    async def work(self) -> int:
        """Do what is due until nothing is; returns how much that was."""
        done = 0
        for _ in range(_ROUNDS):
            claims = [
                (work, one)
                for queue, work in ((STEPS, steps.do), (CHECKS, checking.check))
                for one in await self.store.write_unscoped(_claimed, queue)
            ]
            if not claims:
                return done
            for work, one in claims:
                done += 1
                try:
                    await work(self.desk, one)
                except LostClaim:
                    continue
        raise AssertionError(f"still busy after {_ROUNDS} rounds")

    async def next_look(self, name: str = NAME) -> None:
        """Wait until the domain's next look is due, and do what is due then."""
        domain = await self.domain(name)
        assert domain.next_look is not None, f"{name} is not looked at any more"
        await self.later(domain.next_look - self.store.now() + timedelta(seconds=1))
        await self.work()

    async def cycles(self, number: int = 1, name: str = NAME) -> None:
        """Let regular looks come, with every fast one before them."""
        target = await self._regular(name) + number
        while await self._regular(name) < target:
            await self.next_look(name)

    async def _regular(self, name: str) -> int:
        domain = await self.domain(name)
        checks = t.domain_checks.c
        counted = select(func.count()).where(checks.domain_id == domain.id, checks.regular)
        (row,) = await self.rows(counted)
        return int(row[0])

    # --- what is there ---

    async def rows(self, statement: Any) -> Sequence[AnyRow]:
        return await self.store.read_unscoped(_rows, statement)

    async def notices(self, workspace: str | None = None) -> Sequence[AnyRow]:
        """The mails to people, oldest first."""
        mails = t.outbound_mails.c
        return await self.rows(
            select(t.outbound_mails)
            .where(mails.purpose == "notice", mails.workspace_id == (workspace or self.acme))
            .order_by(mails.id)
        )

    async def ledger(self, workspace: str | None = None) -> list[str]:
        rows = await self.rows(
            select(t.ledger)
            .where(t.ledger.c.workspace_id == (workspace or self.acme), t.ledger.c.step == "domain")
            .order_by(t.ledger.c.id)
        )
        return [row.what for row in rows]


def _claimed(tx: Transaction, queue: Queue) -> list[Claim]:
    return [*claim(tx, queue, 1, rescue=True), *claim(tx, queue, 50)]


def _rows(tx: Transaction, statement: Any) -> Sequence[AnyRow]:
    return tx.rows(statement)


@contextmanager
def open_town(
    url: str,
    dns: DnsServer,
    *,
    make_store: Callable[..., Store] = Store,
    **settings: Any,
) -> Iterator[Town]:
    """The installation on a migrated database; `settings` name its accounts."""
    clock = Clock()
    store = make_store(url, now=clock)
    serve(dns, NAME)

    async def addresses_of(host: str) -> Sequence[Address]:
        return [("127.0.0.1", dns.port)]

    desk = Desk(
        store,
        Secrets(["a secret of the tests that is long enough"]),
        Settings(
            mailagent_data=Path("unused"),
            mailagent_resolver=dns.address,
            mailagent_hostname=HOST,
            mailagent_public_ips=_ADDRESS,
            default_email_domain=DEFAULT,
            **settings,
        ),
        FlowSettings(DEFAULT, HOST, "https://mail.agents.example"),
        addresses_of,
    )
    town = Town(store, dns, desk, clock)
    try:
        if not store.read_now(None, _rows, select(t.workspaces.c.id)):
            for slug in ("acme", "other"):
                owner = store.write_now(None, members.create_person, f"owner@{slug}.people.example")
                store.write_now(None, workspaces.create, slug, slug.title(), owner_id=owner.id)
                store.write_now(
                    store.read_now(None, workspaces.find, slug).id,
                    agents.create,
                    DEFAULT,
                    handle="hello",
                )
        town.acme = store.read_now(None, workspaces.find, "acme").id
        town.other = store.read_now(None, workspaces.find, "other").id
        yield town
    finally:
        store.close()


def serve(dns: DnsServer, zone: str) -> None:
    """Have the server be the zone's own."""
    dns.add({zone: {"NS": [f"ns1.{zone}."]}, f"ns1.{zone}": {"A": ["192.0.2.53"]}})
    dns.add({HOST: {"A": [_ADDRESS]}})
