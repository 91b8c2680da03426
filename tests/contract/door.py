"""The real door on a real store, for the sentences of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import select, text

from backend.simulating import Post
from mailagent.doors.webhook_door import WebhookDoor
from mailagent.doors.webhooks import HealthReport, webhook_app
from mailagent.flow import directory, events, unrouted
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import StoreDirectory
from mailagent.inbound import Inbound
from mailagent.mail import Event
from mailagent.providers import receivers, reporters
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets
from mailagent.webhook import WebhookSettings
from tests.contract.cases import NOW, Webhook

__all__ = ["HELLO", "SECRET", "TEAM", "WORKSPACE", "Said", "TheDoor", "open_door"]

_DOMAIN = "aexy.example"
HELLO, TEAM = f"hello@shop.{_DOMAIN}", f"team@shop.{_DOMAIN}"
WORKSPACE = "wsp_shop"
SECRET = "an-inbound-secret-of-the-contract-0000000000000000"


@dataclass(frozen=True, slots=True)
class Said:
    """The door's answer."""

    status: int
    words: str


@dataclass
class TheDoor:
    """One process's webhooks, as a provider and an operator see them."""

    store: Store
    acceptor: GroupAcceptor
    door: WebhookDoor
    http: httpx.AsyncClient
    told: list[Event] = field(default_factory=list)
    """What reporters said, in order."""

    async def post(self, post: Post) -> Said:
        headers = [(name.encode(), value.encode()) for name, value in post.headers.items()]
        answer = await self.http.post(post.path, content=post.body, headers=headers)
        return Said(answer.status_code, answer.json()["detail"])

    async def all(self, posts: Sequence[Post]) -> set[int]:
        """The statuses of several requests."""
        return {(await self.post(one)).status for one in posts}

    async def deliveries(self) -> Sequence[AnyRow]:
        """What was accepted, with its octets, by recipient."""
        return await self.store.read_unscoped(lambda tx: tx.rows(_DELIVERIES))

    async def break_storage(self) -> None:
        """Take from the database what every mail and every event needs."""
        for name in _NEEDED:
            await self.store.write_unscoped(_rename, name, f"lost_{name}")

    async def mend_storage(self) -> None:
        """Give it back."""
        for name in _NEEDED:
            await self.store.write_unscoped(_rename, f"lost_{name}", name)


_NEEDED = ("waiting_events", "deliveries")
_DELIVERIES = (
    select(t.deliveries, t.raw_messages.c.content)
    .join(t.raw_messages, t.raw_messages.c.id == t.deliveries.c.raw_id)
    .order_by(t.deliveries.c.recipient, t.deliveries.c.source)
)


def _rename(tx: Transaction, name: str, to: str) -> None:
    tx.execute(text(f"ALTER TABLE {name} RENAME TO {to}"))


def _found(tx: Transaction) -> None:
    space = {"id": WORKSPACE, "slug": "shop", "name": "Shop", "settings": {}, "created_at": tx.now}
    tx.insert(t.workspaces, space)
    inside = tx.of(WORKSPACE)
    for address in (HELLO, TEAM):
        handle, _, domain = address.partition("@")
        agent: Mapping[str, Any] = {
            "id": f"agt_{handle}",
            "handle": handle,
            "name": handle.title(),
            "processor": "none",
            "instructions": "",
            "email_enabled": True,
            "settings": {},
            "created_at": tx.now,
        }
        inside.insert(t.agents, agent)
        inside.insert(
            t.addresses,
            {
                "id": f"adr_{handle}",
                "agent_id": agent["id"],
                "local_part": handle,
                "domain": domain,
                "alias": False,
                "created_at": tx.now,
            },
        )
    directory.changed(inside)


@asynccontextmanager
async def open_door(
    url: str, webhook: Webhook, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[TheDoor]:
    """A door with the settings of a provider's cases, or with others."""
    set_ = webhook.settings if settings is None else settings
    given = WebhookSettings({name: value for name, value in set_.items() if value})
    store, secrets = Store(url, now=lambda: NOW), Secrets(["contract-" * 5])
    places = StoreDirectory(store, secrets, default_domain=_DOMAIN)
    acceptor = GroupAcceptor(store, places, secrets, on_accepted=lambda: None)
    told: list[Event] = []

    async def remember(mail: Inbound) -> None:
        await store.write_unscoped(unrouted.remember, mail)

    async def record(said: Sequence[Event]) -> None:
        await store.write_unscoped(events.take, said)
        told.extend(said)

    async def health() -> HealthReport:
        return HealthReport(True, {"webhooks": dict(door.state())})

    async def nothing() -> bytes:
        return b""

    async def nobody(_: str) -> bool:
        return False

    door = WebhookDoor(
        receivers=receivers(given, webhook.fetch),
        reporters=reporters(given, webhook.fetch),
        acceptor=acceptor,
        record=record,
        remember=remember,
        now=store.now,
        secret=given.value("INBOUND_WEBHOOK_SECRET"),
    )
    app = webhook_app(health, nothing, trusts=nobody, door=door)
    try:
        await store.write_unscoped(_found)
        await places.refresh()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as http:
            yield TheDoor(store, acceptor, door, http, told)
    finally:
        await acceptor.close()
        store.close()
