"""A small installation for tests: one workspace, one agent, and every step run when asked.

The steps are the real ones on a real store, driven one claim at a time, so that a test says when a
mail is read, thought about or sent.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from typing import Any

from sqlalchemy import Select, select

from mailagent.agents import Agent, Turn
from mailagent.flow import FlowSettings, Services, read, send, think
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import StoreDirectory, changed
from mailagent.flow.outbox import SENDING
from mailagent.flow.tools import agreed
from mailagent.flow.workers import workers
from mailagent.inbound import Accepted, Envelope, Inbound, Origin
from mailagent.outbound import AccountState
from mailagent.outgoing import Handoff, Reply, Sends, Silence
from mailagent.providers import fetch_stored
from mailagent.providers.capture import Capture
from mailagent.providers.local import Local
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.store.engine import Store
from mailagent.store.tables import addresses, agents, memberships, people, workspaces
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id
from mailagent.webhook import WebhookSettings
from mailagent.work import Claim, Wakeups, claim

__all__ = ["DOMAIN", "HELLO", "OWNER", "Mailroom", "mail", "open_mailroom"]

DOMAIN = "aexy.example"
HELLO = f"hello@shop.{DOMAIN}"
OWNER = "eva@shop.example"
_numbers = itertools.count(1)


def mail(
    *,
    author: str = "ann@customer.example",
    subject: str = "A question",
    text: str = "Where is my order?",
    message_id: str | None = None,
    headers: Sequence[str] = (),
    attachment: tuple[str, str] | None = None,
) -> bytes:
    """A mail to the agent, CRLF; `attachment` is a file's name and its text."""
    lines = [
        f"From: {author}",
        f"To: {HELLO}",
        f"Subject: {subject}",
        f"Message-ID: {message_id or f'<m{next(_numbers)}@customer.example>'}",
        "Date: Mon, 02 Mar 2026 09:00:00 +0000",
        "MIME-Version: 1.0",
        *headers,
    ]
    if attachment is None:
        lines += ["Content-Type: text/plain; charset=utf-8", "", text, ""]
    else:
        name, content = attachment
        lines += [
            'Content-Type: multipart/mixed; boundary="b"',
            "",
            "--b",
            "Content-Type: text/plain; charset=utf-8",
            "",
            text,
            "--b",
            "Content-Type: text/html",
            f'Content-Disposition: attachment; filename="{name}"',
            "",
            content,
            "--b--",
            "",
        ]
    return "\r\n".join(lines).encode()


class _Scripted:
    """An agent processor that says what the test has set."""

    def __init__(self) -> None:
        self.says: Reply | Silence | Handoff = Reply("It is on its way.")
        self.uses: tuple[str, Mapping[str, Any]] | None = None

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        if self.uses is not None and not turn.reminders:
            await turn.tools.use("call_1", *self.uses)
        return self.says


class Mailroom:
    """Services of one installation with the workspace `shop` and its agent `hello`."""

    def __init__(
        self, services: Services, acceptor: GroupAcceptor, agent: _Scripted, workspace_id: str
    ) -> None:
        self.services, self.store = services, services.store
        self.workspace_id = workspace_id
        self.agent_id = "agt_hello"
        self.acceptor, self._agent = acceptor, agent

    def agent_says(self, outcome: Reply | Silence | Handoff) -> None:
        """What the agent answers from now on."""
        self._agent.says = outcome

    def agent_uses(self, tool: str, **wish: Any) -> None:
        """Which tool the agent uses before it says that."""
        self._agent.uses = tool, wish

    async def deliver(
        self,
        raw: bytes,
        *to: str,
        mail_from: str | None = "ann@customer.example",
        client_ip: str = "127.0.0.1",
    ) -> str:
        """Accept a mail as the SMTP door would; returns the first delivery's id."""
        origin = Origin(datetime.now(UTC), client_ip=client_ip, helo="mx.customer.example")
        inbound = Inbound(Envelope(mail_from, to or (HELLO,)), raw, "smtp", new_id("smtp"), origin)
        (outcome,) = await self.acceptor.accept([inbound])
        assert isinstance(outcome, Accepted)
        return outcome.delivery_ids[0]

    async def work(self, *, sending: bool = True) -> None:
        """Run every step (or all but the sending) until nothing is due."""
        steps = (
            (read.READING_QUEUE, read.read),
            (think.THINKING, think.think),
            (agreed.AGREED, agreed.do_agreed),
            *([(SENDING, send.send)] if sending else []),
        )
        busy = True
        while busy:
            busy = False
            for queue, step in steps:
                for one in await self.store.write_unscoped(_claim, queue):
                    await step(self.services, one)
                    busy = True

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Have the workers run beside the block, as they do in a process of ours."""
        wakeups, stop = Wakeups(self.store), asyncio.Event()
        running = [
            asyncio.create_task(worker.run(wakeups.event(name), stop))
            for name, worker in workers(self.services).items()
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*running)
            wakeups.close()

    async def do(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a service function in the workspace and commit."""
        return await self.store.write(self.workspace_id, function, *args, **kwargs)

    async def ask(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a service function that only reads."""
        return await self.store.read(self.workspace_id, function, *args, **kwargs)

    async def rows(self, statement: Select[Any]) -> Sequence[AnyRow]:
        """Rows of the workspace."""
        return await self.store.read(self.workspace_id, _rows, statement)

    async def answered(self, raw: bytes | None = None) -> str:
        """Deliver a mail and have it answered; returns the delivery's id."""
        delivery_id = await self.deliver(raw or mail())
        await self.work()
        return delivery_id


def _claim(tx: Transaction, queue: Any) -> list[Claim]:
    return claim(tx, queue, 10)


def _rows(tx: Transaction, statement: Select[Any]) -> Sequence[AnyRow]:
    return tx.rows(statement)


@asynccontextmanager
async def open_mailroom(
    url: str,
    sandbox: Sandbox,
    *,
    accounts: Sequence[Sends] = (),
    states: Sequence[AccountState] = (),
) -> AsyncIterator[Mailroom]:
    """The installation on a migrated database, planted when that is fresh.

    Mail from loopback is a trusted local test.
    The sandbox is given, so that the tests of a file share its worker's start.
    """
    store = Store(url)
    secrets = Secrets(["a secret of the tests that is long enough"])
    directory = StoreDirectory(store, secrets, default_domain=DOMAIN)
    acceptor = GroupAcceptor(store, directory, secrets, on_accepted=lambda: None)
    scripted = _Scripted()

    def processor(name: str) -> Agent:
        return scripted

    services = Services(
        store=store,
        sandbox=sandbox,
        resolver=Resolver("127.0.0.1:9"),
        directory=directory,
        acceptor=acceptor,
        secrets=secrets,
        settings=FlowSettings(
            default_domain=DOMAIN,
            hostname=f"mx.{DOMAIN}",
            ui_url="http://127.0.0.1:8000",
            trusted_networks=(ip_network("127.0.0.0/8"),),
        ),
        accounts={
            "capture": Capture(),
            "local": Local(acceptor),
            **{one.name: one for one in accounts},
        },
        account_states=tuple(states),
        processor=processor,
        fetch_stored=partial(fetch_stored, WebhookSettings()),
    )
    try:
        workspace_id = "wsp_shop"
        if not await store.read_unscoped(_rows, select(workspaces.c.id)):
            await store.write_unscoped(_plant, workspace_id)
        await directory.refresh()
        yield Mailroom(services, acceptor, scripted, workspace_id)
    finally:
        await acceptor.close()
        store.close()


def _plant(tx: Transaction, workspace_id: str) -> None:
    """The workspace `shop` of Eva with the agent `hello`, and a stranger's workspace beside it."""
    for id_, slug in ((workspace_id, "shop"), ("wsp_other", "other")):
        tx.insert(
            workspaces,
            {"id": id_, "slug": slug, "name": slug.title(), "settings": {}, "created_at": tx.now},
        )
    tx.insert(people, {"id": "prs_eva", "email": OWNER, "name": "Eva", "created_at": tx.now})
    tx.insert(memberships, {"workspace_id": workspace_id, "person_id": "prs_eva", "role": "owner"})
    tx.insert(
        agents,
        {
            "id": "agt_hello",
            "workspace_id": workspace_id,
            "handle": "hello",
            "name": "Hello",
            "processor": "scripted",
            "instructions": "",
            "email_enabled": True,
            "settings": {},
            "created_at": tx.now,
        },
    )
    for id_, local, alias in (("adr_1", "hello", False), ("adr_2", "help", True)):
        tx.insert(
            addresses,
            {
                "id": id_,
                "workspace_id": workspace_id,
                "agent_id": "agt_hello",
                "local_part": local,
                "domain": f"shop.{DOMAIN}",
                "alias": alias,
                "created_at": tx.now,
            },
        )
    changed(tx)
