"""Two workspaces on a real database, with the list of their due rows in place of workers.

Real are the store, its SQL, acceptance and every step of `mailagent.flow`; played is what stands
outside (`outside`). Nothing runs by itself: a row is worked when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import select

from mailagent.flow import FlowSettings, Services, chores, directory, outbox
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import StoreDirectory
from mailagent.flow.read import READING_QUEUE
from mailagent.flow.think import THINKING
from mailagent.flow.workers import workers
from mailagent.inbound import Envelope, Inbound, Later, Origin, Outcome
from mailagent.outbound import AccountState
from mailagent.providers import fetch_stored
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id
from mailagent.webhook import WebhookSettings
from mailagent.work import Claim, Queue, Worker, claim
from tests.flow.house import longer_ago
from tests.properties import promises
from tests.properties.fate import Fate, Frozen, MortalStore, start
from tests.properties.outside import FarSide, Mind, Reader, Zone

__all__ = ["DOMAIN", "QUEUES", "Asleep", "InHand", "QuietHouse", "Space"]

DOMAIN = "aexy.example"
QUEUES: Mapping[str, Queue] = {
    "read": READING_QUEUE,
    "think": THINKING,
    "send": outbox.SENDING,
    "schedule": chores.SCHEDULES,
}
_RECORDS = {
    ("customer.example", "TXT"): "v=spf1 ip4:192.0.2.1 -all",
    ("_dmarc.customer.example", "TXT"): "v=DMARC1; p=reject",
}
_BEGAN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
_LEASES_END = timedelta(seconds=9)
_ROUNDS = 10
_LONGEST_WAITS = (_LEASES_END, timedelta(hours=7), timedelta(hours=25), timedelta(hours=80))


@dataclass(frozen=True)
class Space:
    """One workspace with two agents; `hello` has a second address."""

    id: str
    slug: str

    @property
    def domain(self) -> str:
        return f"{self.slug}.{DOMAIN}"

    def at(self, local_part: str) -> str:
        return f"{local_part}@{self.domain}"


@dataclass(frozen=True)
class InHand:
    """A claim of a worker that has not begun, or is frozen."""

    queue: str
    claim: Claim


@dataclass(frozen=True)
class Asleep:
    """A worker that froze at a commit point of a row."""

    of: InHand
    frozen: Frozen


@dataclass
class _Clock:
    """SQLite's clock is ours: it stands, but for a tick between any two looks at it."""

    at: datetime = _BEGAN

    def now(self) -> datetime:
        self.at += timedelta(microseconds=1)
        return self.at


@dataclass
class QuietHouse:
    """An installation in which only what is asked for happens."""

    services: Services
    acceptor: GroupAcceptor
    far: FarSide
    mind: Mind
    spaces: tuple[Space, Space]
    broken: list[str]
    _workers: Mapping[str, Worker]
    _clock: _Clock | None
    kept: dict[str, bytes] = field(default_factory=dict)
    """What was acknowledged: delivery → the octets that were handed in."""

    @classmethod
    async def found(cls, url: str, *, at_once: int) -> QuietHouse:
        """Two workspaces on an empty, migrated database; the far side takes `at_once` together."""
        clock = _Clock() if url.startswith("sqlite") else None
        store = MortalStore(url, now=clock.now) if clock else MortalStore(url)
        secrets = Secrets(["test-key-" * 5])
        addresses = StoreDirectory(store, secrets, default_domain=DOMAIN)
        broken: list[str] = []
        far, mind = FarSide(store, broken, at_once), Mind(broken)
        acceptor = GroupAcceptor(store, addresses, secrets, on_accepted=lambda: None)
        services = Services(
            store=store,
            sandbox=Reader(),
            resolver=Zone(_RECORDS),
            directory=addresses,
            acceptor=acceptor,
            secrets=secrets,
            settings=FlowSettings(
                default_domain=DOMAIN,
                hostname=f"mx.{DOMAIN}",
                ui_url="https://mail.example",
                replies_per_thread_an_hour=3,
                turns_per_sender_a_day=6,
                turns_per_workspace_a_day=10,
                default_processor="played",
            ),
            accounts={far.name: far},
            account_states=(AccountState(far.name),),
            processor=lambda _: mind,
            fetch_stored=partial(fetch_stored, WebhookSettings()),
        )
        spaces = (Space(new_id("wsp"), "east"), Space(new_id("wsp"), "west"))
        for space in spaces:
            await store.write_unscoped(_settle_in, space)
        await store.write_unscoped(chores.plan)
        await addresses.refresh()
        return cls(services, acceptor, far, mind, spaces, broken, workers(services), clock)

    @property
    def store(self) -> Store:
        return self.services.store

    async def close(self) -> None:
        await self.acceptor.close()
        self.store.close()

    async def accept(
        self,
        raw: bytes,
        to: Sequence[str],
        *,
        mail_from: str | None,
        source: str,
        source_id: str,
        ip: str = "192.0.2.1",
    ) -> Outcome:
        """Hand a mail over as a door does; what is acknowledged is noted."""
        origin = Origin(self.store.now(), client_ip=ip, helo="mx.customer.example")
        inbound = Inbound(Envelope(mail_from, tuple(to)), raw, source, source_id, origin)
        (outcome,) = await self.acceptor.accept([inbound])
        if isinstance(outcome, Later):
            self.broken.append(f"a mail was not taken: {outcome.reason}")
        for id_ in getattr(outcome, "delivery_ids", ()):
            self.kept.setdefault(id_, raw)
        return outcome

    async def claim(self, queue: str, *, most: int = 1, rescue: bool = False) -> list[InHand]:
        """Lease due rows, or one whose lease ran out."""
        claims = await self.store.write_unscoped(claim, QUEUES[queue], most, rescue=rescue)
        return [InHand(queue, one) for one in claims]

    async def work(self, one: InHand, fate: Fate) -> Asleep | None:
        """Do what a worker does with a claim, until its end or until it is frozen."""
        fate.answered_before = self.mind.answered
        frozen = await start(self._workers[one.queue]._one(one.claim), fate)
        return None if frozen is None else Asleep(one, frozen)

    async def wake(self, one: Asleep) -> None:
        """Let a frozen worker go on. If its lease was lost, that must change nothing.

        But what it learned from the far side is evidence, however late.
        """
        table = QUEUES[one.of.queue].table
        row = await self.rows(select(table.c.claimed_by).where(table.c.id == one.of.claim.id))
        lost = not row or row[0].claimed_by != one.of.claim.token
        before = await self.store.read_unscoped(_all_but_sending)
        await one.frozen.thaw()
        after = await self.store.read_unscoped(_all_but_sending)
        if lost and one.of.queue != "send" and after != before:
            self.broken.append(f"{one.of.claim.id} was changed by a worker that had lost it")

    async def later(self, by: timedelta) -> None:
        """Let time pass."""
        if self._clock is not None:
            self._clock.at += by
        else:
            # PostgreSQL's own clock decides what is due: all that was is longer ago.
            await self.store.write_unscoped(longer_ago, by)

    async def come_to_rest(self) -> None:
        """Work until nothing is left to do, in a world that is well."""
        for wait in (timedelta(), *_LONGEST_WAITS * _ROUNDS):
            await self.later(wait)
            while await self._work_some():
                pass
            if not await self.store.read_unscoped(promises.unfinished):
                return

    async def _work_some(self) -> bool:
        did = False
        for queue in QUEUES:
            while found := (
                await self.claim(queue, rescue=True) or await self.claim(queue, most=20)
            ):
                for one in found:
                    await self.work(one, Fate())
                did = did or queue != "schedule"
        return did

    async def check(self) -> None:
        """Raises AssertionError naming every promise that is broken now."""
        self.broken += await self.store.read_unscoped(promises.always)
        assert not self.broken, "\n".join(self.broken)

    async def check_at_rest(self) -> None:
        """As `check`, for a house that has come to rest."""
        self.broken += await self.store.read_unscoped(promises.at_rest)
        offered = {one.recipient.id for one in self.far.offered}
        reported = select(t.outbound_recipients.c.id).where(
            t.outbound_recipients.c.state.in_(["delayed", "delivered", "bounced", "complained"])
        )
        self.broken += [
            f"{row.id} was reported and never offered to anybody"
            for row in await self.rows(reported)
            if row.id not in offered
        ]
        rows = {row.id: row for row in await self.store.read_unscoped(_kept)}
        for id_, raw in self.kept.items():
            if id_ not in rows or rows[id_].content != raw:
                self.broken.append(f"{id_} was acknowledged and is not kept as it came")
        await self.check()

    async def rows(self, statement: Any) -> Sequence[AnyRow]:
        """Rows of all workspaces."""
        return await self.store.read_unscoped(lambda tx: tx.rows(statement))


def _settle_in(tx: Transaction, space: Space) -> None:
    tx.insert(
        t.workspaces,
        {
            "id": space.id,
            "slug": space.slug,
            "name": space.slug,
            "settings": {},
            "created_at": tx.now,
        },
    )
    inside = tx.of(space.id)
    owner = {"id": new_id("per"), "email": f"owner@{space.slug}.people.example", "name": ""}
    tx.insert(t.people, {**owner, "created_at": tx.now})
    inside.insert(t.memberships, {"person_id": owner["id"], "role": "owner"})
    for handle, local_parts in (("hello", ("hello", "hi")), ("desk", ("desk",))):
        agent_id = new_id("agt")
        inside.insert(
            t.agents,
            {
                "id": agent_id,
                "handle": handle,
                "name": handle,
                "processor": "played",
                "instructions": "",
                "email_enabled": True,
                "settings": {},
                "created_at": tx.now,
            },
        )
        inside.insert(
            t.addresses,
            *(
                {
                    "id": new_id("adr"),
                    "agent_id": agent_id,
                    "local_part": local_part,
                    "domain": space.domain,
                    "alias": local_part != handle,
                    "created_at": tx.now,
                }
                for local_part in local_parts
            ),
        )
    directory.changed(inside)


def _all_but_sending(tx: Transaction) -> list[Sequence[AnyRow]]:
    tables = (t.deliveries, t.messages, t.threads, t.turns, t.turn_steps, t.outbound_mails)
    return [tx.rows(select(table).order_by(*table.primary_key)) for table in tables]


def _kept(tx: Transaction) -> Sequence[AnyRow]:
    return tx.rows(
        select(t.deliveries.c.id, t.raw_messages.c.content).join(
            t.raw_messages, t.raw_messages.c.id == t.deliveries.c.raw_id
        )
    )
