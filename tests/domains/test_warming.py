"""A domain that is verified for sending warms up by itself, where the operator wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import select, update

from backend.outbound import warm_ups as warming
from mailagent.flow import warm_ups
from mailagent.flow.services import Services
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.dns_server import DnsServer
from tests.domains.test_steps import Mailgun
from tests.domains.town import DEFAULT, NAME, Town, open_town
from tests.mailgun_server import KEY


@pytest.fixture
async def mailgun() -> AsyncIterator[Mailgun]:
    async with Mailgun() as server:
        yield server


@pytest.fixture
def town(database_url: str, dns: DnsServer, mailgun: Mailgun) -> Iterator[Town]:
    """With an account at Mailgun and a relay; a domain is warmed up for seven days."""
    dns.add({"mailgun.org": {"TXT": ["v=spf1 ip4:192.0.2.9 ~all"]}})
    with open_town(
        database_url,
        dns,
        mailgun_api_key=KEY,
        mailgun_base_url=mailgun.url,
        smtp_relay_url="smtp://relay.example:587",
        public_url="https://mail.agents.example",
        mailagent_warm_up_days="7",
    ) as opened:
        yield opened


async def verified(town: Town, mailgun: Mailgun, **more: Any) -> None:
    await town.add(**more)
    await town.work()
    await town.publish()
    mailgun.dns[NAME] = "all"
    await town.look()
    assert (await town.domain()).life.state == "verified"


async def under_way(town: Town) -> dict[str, tuple[str, int]]:
    found = await town.store.read_unscoped(warming.overview)
    return {one.account: (one.domain, one.days) for one in found if one.state != "active"}


async def judge(town: Town) -> None:
    """As the schedule does every minute."""
    await warm_ups.judge_all(cast("Services", SimpleNamespace(store=town.store, settings=None)))


async def sending(town: Town) -> str:
    return (await town.domain()).life.sending


async def test_it_begins_at_the_accounts_that_carry_the_domain_and_ends_as_active(
    town: Town, mailgun: Mailgun
) -> None:
    await verified(town, mailgun, carried_by=["mailgun"])
    assert await under_way(town) == {"mailgun": (NAME, 7)}
    assert await sending(town) == "warming"
    assert f"{NAME} warms up at mailgun" in await town.ledger()
    await town.cycles(1)
    assert await sending(town) == "warming", "a look changes nothing of it"

    over = update(t.warm_ups).values(started_at=town.store.now() - timedelta(days=8))
    await town.store.write_unscoped(Transaction.execute, over)
    await judge(town)
    assert (await under_way(town), await sending(town)) == ({}, "active")


async def test_a_domain_of_our_own_server_warms_up_at_the_relay(
    town: Town, mailgun: Mailgun
) -> None:
    await verified(town, mailgun, carried_by=["own"])
    assert await under_way(town) == {"smtp": (NAME, 7)}


async def test_a_domain_that_was_broken_is_not_warmed_up_anew(town: Town, mailgun: Mailgun) -> None:
    await verified(town, mailgun, carried_by=["mailgun"])
    kept = town.without(NAME, "TXT")
    await town.cycles(2)
    assert (await town.domain()).life.sending_since is None
    town.dns.add({NAME: {"TXT": kept}})
    await town.store.write_unscoped(
        Transaction.execute, update(t.warm_ups).values(ended_at=town.store.now())
    )
    await town.look()
    assert (await under_way(town), await sending(town)) == ({}, "active")
    assert len(await town.rows(select(t.warm_ups))) == 1


async def test_one_that_a_person_starts_or_stops_shows_in_the_domain(
    town: Town, mailgun: Mailgun
) -> None:
    await verified(town, mailgun, carried_by=["mailgun"])
    await town.store.write_unscoped(warming.stop, "mailgun", NAME)
    assert await sending(town) == "active"
    await town.store.write_unscoped(warming.start, "smtp", NAME, 14, default_domain=DEFAULT)
    assert await sending(town) == "warming"
