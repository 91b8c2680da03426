"""SendGrid knows no wildcard: each workspace's domain is collected when it is made, and no longer
when it is retired, whatever dies in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from backend.installation import installation
from backend.outbound import accounts
from backend.workspaces import lifecycle
from backend.workspaces import service as workspaces_service
from backend.workspaces.lifecycle import KeptFor
from mailagent.errors import TransientFailure
from mailagent.flow import chores
from mailagent.flow.collecting import CHORE, collect_all
from mailagent.flow.services import Services
from mailagent.identity import Collects
from mailagent.providers import Account, House, collector
from mailagent.sandbox import Sandbox
from mailagent.settings import load
from mailagent.store.engine import Store
from mailagent.store.tables import schedules, slug_reservations, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets
from mailagent.webhook import WebhookSettings
from tests.api_server import Reply
from tests.backend.mailroom import DOMAIN, Mailroom, open_mailroom
from tests.mailgun_server import KEY as MAILGUN_KEY
from tests.sendgrid_control import SendGridControlServer
from tests.sendgrid_server import KEY

pytestmark = pytest.mark.asyncio

SECRET = "a-secret-of-the-path-0001"
HOUSE_KEY = "a-key-of-the-tests-that-is-long-enough"
URL = "https://mail.example"
MAIL = f"{URL}/webhook/sendgrid/{SECRET}"


@dataclass(frozen=True)
class Place:
    """An installation, and a SendGrid that collects the default domain."""

    room: Mailroom
    services: Services
    server: SendGridControlServer

    @property
    def hosts(self) -> list[str]:
        return sorted(self.server.parse)

    async def make(self, slug: str) -> None:
        await self.room.store.write_unscoped(workspaces_service.create, slug, slug)

    async def retire(self, slug: str) -> None:
        gone = (
            update(workspaces)
            .where(workspaces.c.slug == slug)
            .values(retired_at=self.room.store.now())
        )
        await self.room.store.write_unscoped(lambda tx: tx.execute(gone).rowcount)


def parse_setting(host: str, url: str = MAIL) -> dict[str, object]:
    return {"hostname": host, "url": url, "send_raw": True}


@asynccontextmanager
async def opened(
    url: str, sandbox: Sandbox, account: Account | None = None
) -> AsyncIterator[Place]:
    async with SendGridControlServer() as server, open_mailroom(url, sandbox) as room:
        settings = {"SENDGRID_API_KEY": KEY, "SENDGRID_BASE_URL": server.url}
        used = account or Account("main", "sendgrid", settings)
        here = House(DOMAIN, URL, WebhookSettings({"INBOUND_WEBHOOK_SECRET": SECRET}))

        def collectors() -> list[tuple[str, AbstractAsyncContextManager[Collects]]]:
            one = collector(used, here)
            assert one is not None
            return [(used.name, one)]

        server.parse[DOMAIN] = parse_setting(DOMAIN)
        yield Place(room, replace(room.services, collectors=collectors), server)


@pytest.fixture
async def place(database_url: str, sandbox: Sandbox) -> AsyncIterator[Place]:
    async with opened(database_url, sandbox) as one:
        yield one


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(allowed=("mailagent.reading",), workers=1)


async def test_every_workspaces_domain_is_collected_and_a_retired_ones_is_not(
    place: Place,
) -> None:
    await collect_all(place.services)
    assert place.hosts == sorted([DOMAIN, f"shop.{DOMAIN}", f"other.{DOMAIN}"])
    assert place.server.parse[f"shop.{DOMAIN}"]["url"] == MAIL

    await place.make("third")
    await place.retire("third")
    await place.make("fourth")
    await collect_all(place.services)
    assert f"fourth.{DOMAIN}" in place.hosts
    await place.retire("fourth")
    await collect_all(place.services)
    assert place.hosts == sorted([DOMAIN, f"shop.{DOMAIN}", f"other.{DOMAIN}"])

    asked = place.server.changes
    await collect_all(place.services)
    assert place.server.changes == asked


async def test_a_former_name_keeps_its_host_for_its_time_and_no_longer(place: Place) -> None:
    kept = KeptFor(alias=timedelta(days=90), blocked=timedelta(days=365))
    await collect_all(place.services)
    await place.room.store.write_unscoped(lifecycle.change_slug, DOMAIN, "shop", "store", kept)
    await collect_all(place.services)
    both = [f"shop.{DOMAIN}", f"store.{DOMAIN}"]
    assert place.hosts == sorted([DOMAIN, f"other.{DOMAIN}", *both])

    def over(tx: Transaction) -> int:
        ended = update(slug_reservations).where(slug_reservations.c.slug == "shop")
        return tx.execute(ended.values(alias_until=tx.now)).rowcount

    assert await place.room.store.write_unscoped(over) == 1
    await collect_all(place.services)
    assert place.hosts == sorted([DOMAIN, f"other.{DOMAIN}", f"store.{DOMAIN}"])


async def test_hosts_of_customers_and_of_other_programs_stay(place: Place) -> None:
    kept = {
        "shop.example": parse_setting("shop.example"),
        f"a.b.{DOMAIN}": parse_setting(f"a.b.{DOMAIN}"),
        f"wiki.{DOMAIN}": parse_setting(f"wiki.{DOMAIN}", "https://wiki.example/in"),
    }
    place.server.parse |= {host: dict(one) for host, one in kept.items()}
    await collect_all(place.services)
    assert {host: place.server.parse[host] for host in kept} == kept


async def test_an_account_that_does_not_collect_the_default_domain_is_left_alone(
    place: Place,
) -> None:
    place.server.parse.clear()
    await collect_all(place.services)
    assert place.server.changes == []


async def test_what_failed_is_the_next_runs_work_and_keeps_nothing_else_from_being_done(
    place: Place,
) -> None:
    place.server.now_does(None, Reply(500))
    with pytest.raises(TransientFailure):
        await collect_all(place.services)
    assert len(place.hosts) == 2
    await collect_all(place.services)
    assert place.hosts == sorted([DOMAIN, f"shop.{DOMAIN}", f"other.{DOMAIN}"])


async def test_a_key_that_may_only_send_is_no_failure(database_url: str, sandbox: Sandbox) -> None:
    async with SendGridControlServer() as server:
        only = Account(
            "main", "sendgrid", {"SENDGRID_API_KEY": "SG.x", "SENDGRID_BASE_URL": server.url}
        )
        async with opened(database_url, sandbox, only) as place:
            await collect_all(place.services)


async def test_an_account_with_a_wildcard_has_nothing_to_be_told(
    database_url: str, sandbox: Sandbox
) -> None:
    account = Account("main", "mailgun", {"MAILGUN_API_KEY": MAILGUN_KEY})
    async with opened(database_url, sandbox, account) as place:
        await collect_all(place.services)
        assert place.server.requests == []


@pytest.mark.parametrize("what", ["made", "renamed", "retired", "reopened"])
async def test_a_workspace_that_comes_changes_or_goes_makes_the_chore_due_at_once(
    place: Place, what: str
) -> None:
    store = place.room.store
    kept = KeptFor(alias=timedelta(days=90), blocked=timedelta(days=365))
    change: dict[str, Callable[[Transaction], object]] = {
        "made": lambda tx: workspaces_service.create(tx, "new", "New"),
        "renamed": lambda tx: lifecycle.change_slug(tx, DOMAIN, "shop", "store", kept),
        "retired": lambda tx: lifecycle.retire(tx, "shop", kept),
        "reopened": lambda tx: lifecycle.reopen(tx, "shop"),
    }
    if what == "reopened":
        await store.write_unscoped(change["retired"])
    await store.write_unscoped(chores.plan)
    await store.write_unscoped(
        lambda tx: (
            tx.execute(update(schedules).values(not_before=tx.now + timedelta(minutes=4))).rowcount
        )
    )
    await store.write_unscoped(change[what])
    due = await store.read_unscoped(
        lambda tx: [
            row.id
            for row in tx.rows(select(schedules.c.id).where(schedules.c.not_before <= tx.now))
        ]
    )
    assert due == [CHORE]


async def test_a_process_asks_the_accounts_that_an_operator_added(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with SendGridControlServer() as server:
        server.parse["agents.example"] = parse_setting("agents.example")
        store, secrets = Store(sqlite_url), Secrets([HOUSE_KEY])
        settings = {"SENDGRID_API_KEY": KEY, "SENDGRID_BASE_URL": server.url}
        await store.write_unscoped(accounts.add, secrets, "sendgrid", settings)
        await store.write_unscoped(workspaces_service.create, "acme", "Acme")
        store.close()
        environ = {
            "DATABASE_URL": sqlite_url,
            "MAILAGENT_DATA": str(tmp_path),
            "MAILAGENT_SECRET_KEY": HOUSE_KEY,
            "DEFAULT_EMAIL_DOMAIN": "agents.example",
            "WEBHOOK_PUBLIC_URL": URL,
            "INBOUND_WEBHOOK_SECRET": SECRET,
        }
        async with installation(load(environ)) as shared:
            await collect_all(shared.services)
        assert server.parse["acme.agents.example"]["url"] == MAIL
