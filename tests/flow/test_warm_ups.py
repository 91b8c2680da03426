"""A new domain's mail grows day by day, and stops where bounces, complaints or silence say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from backend.outbound import accounts as wishes
from backend.outbound import warm_ups as warming
from backend.outbound.accounts import Limits
from backend.outbound.warm_ups import Progress
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import quotas, track, warm_ups
from mailagent.mail import Address, Event, EventKind
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from tests.backend.mailroom import DOMAIN
from tests.flow.test_accounts import Office, open_office

pytestmark = pytest.mark.asyncio

_DAY = timedelta(days=1)


@pytest_asyncio.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    """Its relay `a` is warming up for the default domain, as on the first of seven days."""
    async with open_office(database_url) as opened:
        await opened.wish(lambda tx: begin(tx))
        yield opened


def begin(tx: Transaction) -> Progress:
    return warming.start(tx, "a", f"shop.{DOMAIN}", 7, default_domain=DOMAIN)


async def progress(office: Office) -> Progress:
    (found,) = await office.room.store.read_unscoped(warming.overview, "a")
    return found


async def change(office: Office, **values: Any) -> None:
    await office.room.store.write_unscoped(
        lambda tx: tx.execute(update(t.warm_ups).values(**values)).rowcount
    )


async def judge(office: Office) -> None:
    with capture_logs():
        await warm_ups.judge_all(office.room.services)
    await office.accounts.refresh()


async def plant(office: Office, states: dict[str, int], *, ago: timedelta = timedelta()) -> None:
    """As many more recipients of `a` in each state, sent to so long ago."""
    await office.room.do(_plant, states, ago)


def _plant(tx: Transaction, states: dict[str, int], ago: timedelta) -> None:
    outbound_id = tx.value(select(t.outbound_mails.c.id).order_by(t.outbound_mails.c.id).limit(1))
    for state, number in states.items():
        for _ in range(number):
            row = {
                "id": new_id("rcp"),
                "outbound_id": outbound_id,
                "address": f"{new_id('x')}@customer.example",
                "field": "to",
                "state": state,
                "not_before": tx.now,
                "account": "a",
                "sent_at": tx.now - ago,
                "warming": DOMAIN,
            }
            tx.insert(t.outbound_recipients, row)


async def notices(office: Office) -> list[str]:
    told = select(t.outbound_mails.c.subject).where(t.outbound_mails.c.purpose == "notice")
    return [row.subject for row in await office.room.store.read_unscoped(lambda tx: tx.rows(told))]


async def test_what_is_over_the_days_cap_goes_to_the_next_account_or_waits_for_the_next_day(
    office: Office,
) -> None:
    await change(office, used=49)
    assert [(await office.send()).account for _ in range(2)] == ["a", "b"]
    assert (await progress(office)).used == 50
    hand_over = select(t.hand_overs.c.why_account).order_by(t.hand_overs.c.id.desc()).limit(1)
    (said,) = await office.room.rows(hand_over)
    assert said.why_account == (f"a is warming up for {DOMAIN}: day 1 of 7, 50 recipients a day")

    await office.wish(wishes.pause, "b", "")
    waiting = await office.send()
    assert (waiting.state, waiting.reason) == ("queued", said.why_account)
    now = datetime.now(UTC)
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
    assert waiting.not_before == tomorrow
    # On the next day there is room for twice as many.
    await change(office, started_at=now - _DAY, counted_at=tomorrow - 2 * _DAY)
    assert (await office.send()).account == "a"
    found = await progress(office)
    assert (found.day, found.cap, found.used) == (2, 100, 1)


async def test_a_quota_is_not_used_up_by_what_the_warm_up_puts_off(office: Office) -> None:
    await office.wish(wishes.limit, "a", Limits(quotas={"day": 1}))
    await change(office, used=50)
    assert (await office.send()).account == "b"
    await change(office, used=0)
    assert (await office.send()).account == "a"
    assert (await office.send()).account == "b"
    assert (await progress(office)).used == 1


async def test_another_domain_is_not_held_back_and_not_counted(office: Office) -> None:
    await office.wish(warming.stop, "a", DOMAIN)
    await office.wish(
        lambda tx: warming.start(tx, "a", "Other.example.", 21, default_domain=DOMAIN)
    )
    await change(office, used=50)
    row = await office.send()
    assert (row.account, row.warming) == ("a", None)
    found = await progress(office)
    assert (found.domain, found.used, found.rates.sent) == ("other.example", 50, 0)


async def test_bounces_stop_it_the_operator_is_told_once_and_it_goes_on_when_they_are_past(
    office: Office,
) -> None:
    first = await office.send()
    assert (first.account, first.warming) == ("a", DOMAIN)
    await plant(office, {"sent": 50, "bounced": 2})
    await judge(office)
    assert (await progress(office)).state == "warming"

    await plant(office, {"sent": 7})
    told = Event("x", "e1", EventKind.BOUNCED_HARD, datetime.now(UTC), first.address, (), "5.1.1")
    await office.room.do(track.record, first.outbound_id, first, told)
    await judge(office)
    found = await progress(office)
    assert (found.state, found.rates.bounced, found.rates.sent) == ("warming", 3, 60)
    await plant(office, {"bounced": 1})
    for _ in range(2):
        await judge(office)
    found = await progress(office)
    assert (found.state, found.reason) == ("paused", "4 of 61 bounced, over 5%")
    assert found.health.word == "fair"
    told_of = f"The warm-up of {DOMAIN} at a has stopped"
    assert await notices(office) == [told_of]
    assert (await office.send(to=(Address("bob@customer.example"),))).account == "b"


async def test_it_goes_on_where_it_stopped_once_its_rates_are_good_again(office: Office) -> None:
    await office.send()
    await plant(office, {"sent": 50, "complained": 2})
    await judge(office)
    assert (await progress(office)).reason == "2 of 53 complained, over 0.1%"

    now = datetime.now(UTC)
    await change(office, started_at=now - 6 * _DAY, paused_at=now - 4 * _DAY)
    await judge(office)
    assert (await progress(office)).state == "paused"
    longer_ago = update(t.outbound_recipients).values(sent_at=now - 4 * _DAY)
    await office.room.do(lambda tx: tx.execute(longer_ago).rowcount)
    await judge(office)
    found = await progress(office)
    assert (found.state, found.day, found.cap) == ("warming", 3, 250)
    assert (await office.send()).account == "a"


async def test_what_is_not_delivered_in_an_hour_counts_where_deliveries_are_reported(
    office: Office,
) -> None:
    await office.send()
    hours = timedelta(hours=2)
    await change(office, judged_from=datetime.now(UTC) - _DAY)
    await plant(office, {"sent": 100}, ago=hours)
    await judge(office)
    assert (await progress(office)).state == "warming"
    await plant(office, {"delivered": 700, "delayed": 4}, ago=hours)
    await plant(office, {"sent": 50})
    await judge(office)
    found = await progress(office)
    assert (found.rates.due, found.rates.delivered) == (804, 700)
    assert found.reason == "700 of 804 delivered, under 90%"


async def test_what_a_person_paused_only_a_person_lets_go_on(office: Office) -> None:
    await office.send()
    await office.wish(warming.pause, "a", DOMAIN, "we move")
    await judge(office)
    assert (await progress(office)).reason == "we move"
    waiting = await office.send()
    assert waiting.account == "b"
    await office.wish(warming.resume, "a", DOMAIN)
    assert (await office.send()).account == "a"

    # And what was before, they have looked at.
    await plant(office, {"sent": 40, "bounced": 20})
    await judge(office)
    assert (await progress(office)).state == "paused"
    await office.wish(warming.resume, "a", DOMAIN)
    await judge(office)
    found = await progress(office)
    assert (found.state, found.rates.sent, found.health.word) == ("warming", 0, "new")


@pytest.mark.parametrize("way", ["resume", "stop", "rates"])
async def test_the_mail_of_a_paused_warm_up_comes_back_when_it_goes_on(
    office: Office, way: str
) -> None:
    await office.wish(wishes.pause, "b", "")
    await office.wish(warming.pause, "a", DOMAIN, "we move")
    waiting = await office.send()
    assert (waiting.state, "warming up" in waiting.reason) == ("queued", True)
    far = datetime.now(UTC) + _DAY
    for table in (t.outbound_mails, t.outbound_recipients):
        await office.room.do(Transaction.execute, update(table).values(not_before=far))

    if way == "rates":
        await change(office, paused_by=warm_ups.BY_RATES)
        await judge(office)
    else:
        await office.wish(getattr(warming, way), "a", DOMAIN)
    for table in (t.outbound_mails, t.outbound_recipients):
        (row,) = await office.room.rows(select(table))
        assert row.not_before < far - timedelta(hours=1)


async def test_after_its_last_day_it_is_active_and_nothing_of_it_holds(office: Office) -> None:
    await change(office, started_at=datetime.now(UTC) - 7 * _DAY, used=10_000)
    assert (await office.send()).account == "a"
    await judge(office)
    found = await progress(office)
    assert (found.state, found.cap, found.ended_at is not None) == ("active", None, True)
    row = await office.send()
    assert (row.account, row.warming) == ("a", None)
    with pytest.raises(Conflict, match="is over"):
        await office.wish(warming.pause, "a", DOMAIN, "")
    await office.wish(begin)
    assert (await progress(office)).day == 1


async def test_wishes_that_make_no_sense_say_why(office: Office) -> None:
    with pytest.raises(Conflict, match="stop it first"):
        await office.wish(begin)
    with pytest.raises(Conflict, match="is not paused"):
        await office.wish(warming.resume, "a", DOMAIN)
    with pytest.raises(NotFound):
        await office.wish(warming.stop, "b", DOMAIN)
    for domain, days in (("b\u00fccher.example", 7), ("x", 7), ("new.example", 10)):
        with pytest.raises(Malformed):
            await office.wish(
                lambda tx, domain=domain, days=days: warming.start(
                    tx, "b", domain, days, default_domain=DOMAIN
                )
            )


async def test_the_day_is_counted_over_all_processes_at_once(office: Office) -> None:
    async def take() -> bool:
        full = await office.room.store.write_unscoped(quotas.take, "a", (), 1, warming=DOMAIN)
        return full is None

    assert sum(await asyncio.gather(*(take() for _ in range(60)))) == 50
    counted = select(func.sum(t.warm_ups.c.put_off))
    put_off: list[AnyRow] = list(await office.room.store.read_unscoped(lambda tx: tx.rows(counted)))
    assert put_off[0][0] == 10
