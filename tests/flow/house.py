"""A small running installation for tests of the story: real store, sandbox, workers, DNS and SMTP.

Only what stands outside is played: the senders, the agents' minds (`Mind`), the DNS zone and the
relay's far side (`Sink`). Each test works in a workspace of its own (`House.workspace`). Time is
real, and `House.later` lets some of it pass at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as modern
from typing import Any

from psycopg.errors import DeadlockDetected
from sqlalchemy import Interval, Table, literal, select, update
from sqlalchemy.exc import OperationalError

from mailagent.agents import Turn
from mailagent.egress import Egress
from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.flow import FlowSettings, Services, directory, outbox
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import StoreDirectory
from mailagent.flow.states import FINAL
from mailagent.flow.workers import workers
from mailagent.inbound import Accepted, Envelope, Inbound, Origin, Outcome
from mailagent.mail import Address
from mailagent.outbound import CAPTURE, LOCAL, AccountState
from mailagent.outgoing import Handoff, Outgoing, Reply, Silence
from mailagent.providers import (
    Account,
    Recovers,
    SigningKey,
    Surroundings,
    close_accounts,
    open_account,
)
from mailagent.providers.raw_store import RawStore
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.screening import Screens
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.store.types import Moment
from mailagent.tokens import Secrets, new_id
from mailagent.work import Wakeups, Worker
from tests.dns_server import DnsServer, Zone
from tests.smtp_sink import Sink, Taken

__all__ = ["ANN", "DOMAIN", "House", "Mind", "Space", "keep_house", "longer_ago", "mail"]

DOMAIN = "aexy.example"
ANN = "ann@customer.example"
"""Writes from 192.0.2.1, for which SPF and DMARC of her domain vouch."""
THERE = "192.0.2.1"
_DEADLINE = 8.0
_ZONE: Zone = {
    "customer.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.customer.example": {"TXT": ["v=DMARC1; p=reject"]},
    "quarantined.example": {"TXT": ["v=spf1 -all"]},
    "_dmarc.quarantined.example": {"TXT": ["v=DMARC1; p=quarantine"]},
    "spf-only.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
}

Outcomes = Reply | Silence | Handoff
Mind = Callable[[Turn], Outcomes | Awaitable[Outcomes]]
"""What an agent of a test thinks."""


def polite(turn: Turn) -> Reply:
    """Answers everything."""
    return Reply(f"Thank you for {len(turn.mails)} mail(s).\n")


def mail(
    body: str = "When are you open?",
    *,
    sender: str = ANN,
    to: str = "hello@shop.example",
    subject: str = "A question",
    message_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A mail as a person's program writes it; `headers` add to or replace the usual ones."""
    written = EmailMessage()
    named = {
        "From": sender,
        "To": to,
        "Subject": subject,
        "Message-ID": message_id or f"<{new_id('m')}@customer.example>",
        "Date": "Sat, 21 Nov 2026 09:30:00 +0000",
        **(headers or {}),
    }
    for name, value in named.items():
        written[name] = value
    written.set_content(body)
    return written.as_bytes().replace(b"\n", b"\r\n")


@dataclass
class _Clock:
    """Real time, and what a test let pass beyond it."""

    passed: timedelta = timedelta()
    turned: timedelta = timedelta()
    """By how much the store's clock was turned on."""

    def now(self) -> datetime:
        return datetime.now(UTC) + self.turned

    def monotonic(self) -> float:
        return time.monotonic() + self.passed.total_seconds()


@dataclass
class _Scripted:
    """The agents' processor: each agent has the mind that its test gave it."""

    minds: dict[str, Mind] = field(default_factory=dict)
    """By the agent's address, or by the domain of its workspace."""
    turns: list[Turn] = field(default_factory=list)

    async def think(self, turn: Turn, *, deadline: datetime) -> Outcomes:
        self.turns.append(turn)
        address = turn.profile.address
        mind = self.minds.get(address) or self.minds[address.partition("@")[2]]
        outcome = mind(turn)
        return await outcome if isinstance(outcome, Awaitable) else outcome


@dataclass
class House:
    """One installation that runs."""

    services: Services
    acceptor: GroupAcceptor
    dns: DnsServer
    sink: Sink
    script: dict[str, Any]
    """What the relay says at which point; a test may change it, it is emptied before the next."""
    workers: Mapping[str, Worker]
    stored: dict[str, bytes]
    """What a provider keeps for us, by its place; a test may add to it at any time."""
    recovers: dict[str, Recovers]
    """Providers that have what an outage left behind; a test may add one."""
    _clock: _Clock
    _agents: _Scripted
    _wakeups: Wakeups
    _spaces: int = 0

    @property
    def store(self) -> Store:
        return self.services.store

    async def workspace(self, mind: Mind = polite, *, owner: bool = True, **settings: Any) -> Space:
        """A new workspace with one agent, `hello`, and (unless told) one owner."""
        self._spaces += 1
        slug = f"shop{self._spaces}"
        space = Space(self, new_id("wsp"), slug, new_id("agt"))
        self._agents.minds[space.domain] = mind
        await self.store.write_unscoped(_found, space, settings, owner)
        await self.services.directory.refresh()
        return space

    async def accept(
        self,
        raw: bytes,
        *to: str,
        mail_from: str | None = ANN,
        ip: str | None = THERE,
        source: str = "smtp",
        source_id: str | None = None,
        replay_token: str | None = None,
        **origin: Any,
    ) -> Outcome:
        """Hand a mail over as a door does."""
        inbound = Inbound(
            envelope=Envelope(mail_from, to),
            raw=raw,
            source=source,
            source_id=source_id or new_id("src"),
            origin=Origin(self.store.now(), client_ip=ip, helo="mx.customer.example", **origin),
            replay_token=replay_token,
        )
        (outcome,) = await self.acceptor.accept([inbound])
        return outcome

    async def later(self, by: timedelta) -> None:
        """Let time pass: what was to wait is due."""
        self._clock.passed += by
        if self.store.on_sqlite:
            self._clock.turned += by
        else:
            # Claims go by the database's clock, which nobody can turn: all that was is longer ago.
            await self._set_back(by)
        self._wakeups.wake(self.workers)

    async def _set_back(self, by: timedelta) -> None:
        while True:
            try:
                await self.store.write_unscoped(longer_ago, by)
            except OperationalError as error:
                # It touches every row, in another order than the steps that run beside it.
                if not isinstance(error.orig, DeadlockDetected):
                    raise
            else:
                return

    def taken(self, recipient: str) -> list[Taken]:
        """What the relay took for an address."""
        return [one for one in self.sink.taken if recipient in one.rcpt_to]

    async def until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        """Wait until a look finds something, and return it."""
        async with asyncio.timeout(_DEADLINE):
            while not (found := await look()):
                await asyncio.sleep(0.01)
        return found


def longer_ago(tx: Transaction, by: timedelta) -> None:
    """Set every moment in the database back."""
    for table in t.metadata.sorted_tables:
        moments = [one for one in table.c if isinstance(one.type, Moment)]
        if moments:
            tx.execute(
                update(table).values({one: one - literal(by, Interval()) for one in moments})
            )


def _found(tx: Transaction, space: Space, settings: dict[str, Any], owner: bool) -> None:
    tx.insert(
        t.workspaces,
        {
            "id": space.id,
            "slug": space.slug,
            "name": space.slug.title(),
            "settings": settings,
            "created_at": tx.now,
        },
    )
    inside = tx.of(space.id)
    if owner:
        person = {"id": new_id("per"), "email": space.owner, "name": "", "created_at": tx.now}
        tx.insert(t.people, person)
        inside.insert(t.memberships, {"person_id": person["id"], "role": "owner"})
    space.add_agent(inside, space.agent_id, "hello")


@dataclass(frozen=True)
class Space:
    """One workspace, and what a test does and sees there."""

    house: House
    id: str
    slug: str
    agent_id: str

    @property
    def domain(self) -> str:
        return f"{self.slug}.{DOMAIN}"

    @property
    def address(self) -> str:
        return f"hello@{self.domain}"

    @property
    def owner(self) -> str:
        return f"owner@{self.slug}.people.example"

    @property
    def turns(self) -> list[Turn]:
        """What this workspace's agents were asked."""
        turns = self.house._agents.turns
        return [one for one in turns if one.profile.address.endswith(f"@{self.domain}")]

    def add_agent(self, tx: Transaction, agent_id: str, handle: str, **more: Any) -> None:
        """An agent with one address in the workspace's own domain."""
        tx.insert(
            t.agents,
            {
                "id": agent_id,
                "handle": handle,
                "name": handle.title(),
                "processor": "scripted",
                "instructions": "",
                "email_enabled": True,
                "settings": {},
                "created_at": tx.now,
                **more,
            },
        )
        self.add_address(tx, agent_id, handle, self.domain, alias=False)

    def add_address(
        self, tx: Transaction, agent_id: str, local_part: str, domain: str, *, alias: bool = True
    ) -> None:
        minds = self.house._agents.minds
        minds.setdefault(domain, minds[self.domain])
        tx.insert(
            t.addresses,
            {
                "id": new_id("adr"),
                "agent_id": agent_id,
                "local_part": local_part,
                "domain": domain,
                "alias": alias,
                "created_at": tx.now,
            },
        )
        directory.changed(tx)

    async def another_agent(self, handle: str, mind: Mind = polite, **more: Any) -> str:
        """A second agent of the workspace; returns its id."""
        agent_id = new_id("agt")
        self.house._agents.minds[f"{handle}@{self.domain}"] = mind
        await self.write(lambda tx: self.add_agent(tx, agent_id, handle, **more))
        await self.house.services.directory.refresh()
        return agent_id

    async def write(self, work: Callable[[Transaction], Any]) -> Any:
        return await self.house.store.write(self.id, work)

    async def rows(self, table: Table, *conditions: Any, order: Any = None) -> Sequence[AnyRow]:
        """The workspace's rows of a table."""
        statement = select(table).where(*conditions)
        if order is not None:
            statement = statement.order_by(order)
        return await self.house.store.read(self.id, lambda tx: tx.rows(statement))

    async def receive(self, raw: bytes | None = None, *to: str, **more: Any) -> str:
        """Take a mail in for the agent (or for `to`); returns the first delivery's id."""
        raw = mail(to=self.address) if raw is None else raw
        outcome = await self.house.accept(raw, *(to or (self.address,)), **more)
        assert isinstance(outcome, Accepted), outcome
        return outcome.delivery_ids[0]

    async def delivery(self, id_: str, *states: str) -> AnyRow:
        """The delivery, once it is in one of these states and in nobody's hands."""

        async def look() -> AnyRow | None:
            (row,) = await self.rows(t.deliveries, t.deliveries.c.id == id_)
            return row if row.state in states and row.claimed_by is None else None

        row: AnyRow = await self.house.until(look)
        return row

    async def at_rest(self) -> None:
        """Until nothing of the workspace goes on by itself."""

        async def look() -> bool:
            # Mail is queued with the end of a turn, so it is looked for after turns.
            going = [
                *await self.rows(t.deliveries, t.deliveries.c.state.not_in(FINAL)),
                *await self.rows(t.threads, t.threads.c.ready),
                *await self.outbound(t.outbound_mails.c.state.in_(["queued", "sending"])),
                *await self.rows(t.deliveries, t.deliveries.c.state.not_in(FINAL)),
            ]
            return not going

        await self.house.until(look)

    async def outbound(self, *conditions: Any) -> Sequence[AnyRow]:
        """The mails that go out, oldest first."""
        return await self.rows(t.outbound_mails, *conditions, order=t.outbound_mails.c.id)

    async def sent_off(self, outbound_id: str, *states: str) -> AnyRow:
        """The outbound mail, once it is in one of these states and in nobody's hands."""

        async def look() -> AnyRow | None:
            (row,) = await self.outbound(t.outbound_mails.c.id == outbound_id)
            return row if row.state in states and row.claimed_by is None else None

        row: AnyRow = await self.house.until(look)
        return row

    async def recipients(self, outbound_id: str) -> Mapping[str, AnyRow]:
        """The envelope recipients of an outbound mail by address."""
        table = t.outbound_recipients
        rows = await self.rows(table, table.c.outbound_id == outbound_id)
        return {row.address: row for row in rows}

    async def answer_to(self, delivery_id: str) -> AnyRow:
        """The agent's answer to a delivery, once it has left."""

        async def look() -> AnyRow | None:
            rows = await self.outbound(
                t.outbound_mails.c.answers_delivery_id == delivery_id,
                t.outbound_mails.c.purpose == "reply",
            )
            return rows[0] if rows and rows[0].state == "sent" else None

        row: AnyRow = await self.house.until(look)
        return row

    async def answered(self, raw: bytes | None = None, *to: str, **more: Any) -> EmailMessage:
        """Take a mail in and return the answer as its writer gets it."""
        row = await self.answer_to(await self.receive(raw, *to, **more))
        return self.as_sent(row.message_id)

    def as_sent(self, message_id: str) -> EmailMessage:
        """A mail that the relay took, by its Message-ID."""
        parsed = [
            BytesParser(EmailMessage, policy=modern).parsebytes(one.content)
            for one in self.house.sink.taken
        ]
        return next(one for one in parsed if one["Message-ID"] == message_id)

    async def notices(self, to: str | None = None) -> list[EmailMessage]:
        """The notices to a person (the owner) that have left."""
        rows = await self.outbound(t.outbound_mails.c.purpose == "notice")
        for row in rows:
            await self.sent_off(row.id, "sent")
        wanted = to or self.owner
        made = [self.as_sent(row.message_id) for row in rows]
        return [one for one in made if wanted in str(one["To"])]

    async def send(
        self, *to: str, cc: Sequence[str] = (), bcc: Sequence[str] = (), **changes: Any
    ) -> str:
        """Queue a new mail of the agent, as a person's wish would; returns the outbound id."""
        made: str = await self.write(self.queued(*to, cc=cc, bcc=bcc, **changes))
        return made

    def queued(
        self, *to: str, cc: Sequence[str] = (), bcc: Sequence[str] = (), **changes: Any
    ) -> Callable[[Transaction], str]:
        """What queues such a mail, for a test that does more in the same transaction."""
        values: dict[str, Any] = {
            "message_id": f"<{new_id('new')}@{self.domain}>",
            "date": self.house.store.now(),
            "from_": Address(self.address, "Hello"),
            "to": tuple(map(Address, to)),
            "cc": tuple(map(Address, cc)),
            "bcc": tuple(map(Address, bcc)),
            "subject": "News",
            "text": "We have moved.\n",
        }
        expiry = changes.pop("expiry", timedelta(hours=72))
        envelope = outbox.Envelope("new", "person:owner", self.agent_id)
        outgoing = Outgoing(**{**values, **changes})
        return lambda tx: outbox.queue(tx, outgoing, envelope, expiry=expiry)

    async def story(self, delivery_id: str) -> str:
        """All ledger lines of a delivery as one text."""
        rows = await self.rows(t.ledger, t.ledger.c.delivery_id == delivery_id, order=t.ledger.c.id)
        return "\n".join(f"{row.step}: {row.what} ({row.why})" for row in rows)


async def _unsigned(_: str) -> SigningKey | None:
    return None


@asynccontextmanager
async def keep_house(
    url: str,
    *,
    screener: Screens | None = None,
    raw_store: RawStore | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    """Start everything on a migrated database, and stop it; `settings` are `FlowSettings`'."""
    script: dict[str, Any] = {}
    clock, agents, secrets = _Clock(), _Scripted(), Secrets(["test-key-" * 5])
    store = Store(url, now=clock.now)
    wakeups, sandbox = Wakeups(store), Sandbox(allowed=("mailagent.reading",), workers=1)
    addresses = StoreDirectory(store, secrets, default_domain=DOMAIN)
    acceptor = GroupAcceptor(store, addresses, secrets, on_accepted=lambda: wakeups.wake(["read"]))
    around = Surroundings(f"mx.{DOMAIN}", acceptor, _unsigned)
    stored: dict[str, bytes] = {}
    recovers: dict[str, Recovers] = {}

    async def fetch(stored_at: str) -> bytes:
        if stored_at.startswith("forbidden:"):
            raise PermanentFailure("it may not be asked", about="message")
        if stored_at not in stored:
            raise TransientFailure("there is nothing there")
        return stored[stored_at]

    with DnsServer(_ZONE) as dns:
        async with Sink(script=script) as sink:
            relay = {"SMTP_RELAY_URL": f"smtp://127.0.0.1:{sink.port}?tls=none"}
            accounts = [
                Account(CAPTURE, CAPTURE),
                Account(LOCAL, LOCAL),
                Account("smtp", "smtp", relay),
            ]
            services = Services(
                store=store,
                sandbox=sandbox,
                resolver=Resolver(dns.address, clock=clock.monotonic),
                directory=addresses,
                acceptor=acceptor,
                secrets=secrets,
                settings=FlowSettings(
                    default_domain=DOMAIN,
                    hostname=f"mx.{DOMAIN}",
                    ui_url="https://mail.example",
                    replies_per_thread_an_hour=3,
                    default_processor="scripted",
                    **settings,
                ),
                accounts={one.name: open_account(one, around) for one in accounts},
                account_states=(AccountState("smtp"),),
                processor=lambda _: agents,
                fetch_stored=fetch,
                recovers=recovers,
                raw_store=raw_store or RawStore({}),
                screener=screener,
                egress=Egress(frozenset({"127.0.0.1"})),
            )
            running, stop = workers(services), asyncio.Event()
            tasks = [
                asyncio.create_task(worker.run(wakeups.event(name), stop))
                for name, worker in running.items()
            ]
            try:
                yield House(
                    *(services, acceptor, dns, sink, script, running, stored, recovers),
                    *(clock, agents, wakeups),
                )
            finally:
                stop.set()
                await asyncio.wait_for(asyncio.gather(*tasks), _DEADLINE)
                await close_accounts(services.accounts.values())
                await sandbox.close()
                wakeups.close()
                await acceptor.close()
                store.close()
