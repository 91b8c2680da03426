"""A cap in money stops an agent before it costs more, and lets it go on when time has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from mailagent.agents import Step, Turn, Usage
from mailagent.flow import budgets, chores
from mailagent.flow.budgets import Spending
from mailagent.outgoing import Reply
from mailagent.store import tables as t
from tests.flow.house import House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


def costing(dollars: str | None) -> Callable[[Turn], Awaitable[Reply]]:
    """A mind whose every turn costs that much."""

    async def think(turn: Turn) -> Reply:
        await turn.steps.record(usage(dollars))
        return Reply("Done.\n")

    return think


def usage(dollars: str | None) -> Step:
    cost = None if dollars is None else Decimal(dollars)
    return Usage(1_000, 100, "claude-next-9", cost).as_step()


async def cap_agent(space: Space, **caps: str) -> None:
    statement = update(t.agents).where(t.agents.c.id == space.agent_id).values(settings=caps)
    await space.write(lambda tx: tx.execute(statement))


async def a_hold_ends(house: House, by: timedelta) -> None:
    await house.later(by)
    await house.store.write_unscoped(chores.release_held)


async def another(space: Space, number: int) -> str:
    """A mail that opens a thread of its own."""
    return await space.receive(mail(f"Number {number}", to=space.address, subject=f"N{number}"))


async def test_a_spent_cap_holds_mail_until_the_day_has_passed_and_tells_once(house: House) -> None:
    space = await house.workspace(costing("0.60"), usd_a_day="1.00")
    for number in range(2):
        await space.delivery(await another(space, number), "answered")
    held = [await another(space, number) for number in (2, 3)]
    for one in held:
        row = await space.delivery(one, "held")
        assert row.reason == "1.00 US dollars a day for the workspace are spent"
        assert timedelta(hours=23) < row.held_until - house.store.now() <= timedelta(days=1)
    assert len(space.turns) == 2
    assert len(await space.notices()) == 1

    await a_hold_ends(house, timedelta(days=1, minutes=2))
    for one in held:
        await space.delivery(one, "answered")
    assert len(space.turns) == 4


async def test_the_mail_waits_for_the_turn_that_reached_the_cap_and_no_longer(house: House) -> None:
    space = await house.workspace(costing("0.50"), usd_a_day="1.00")
    await space.delivery(await another(space, 0), "answered")
    await house.later(timedelta(hours=10))
    await space.delivery(await another(space, 1), "answered")
    row = await space.delivery(await another(space, 2), "held")
    assert timedelta(hours=13) < row.held_until - house.store.now() < timedelta(hours=14, minutes=1)


async def test_a_month_is_thirty_days(house: House) -> None:
    space = await house.workspace(costing("2"), usd_a_month="2")
    await space.delivery(await another(space, 0), "answered")
    await house.later(timedelta(days=29))
    row = await space.delivery(await another(space, 1), "held")
    assert row.reason == "2 US dollars in 30 days for the workspace are spent"
    await a_hold_ends(house, timedelta(days=1, minutes=2))
    await space.delivery(row.id, "answered")


async def test_an_agents_cap_stops_that_agent_alone(house: House) -> None:
    space = await house.workspace(costing("0.30"))
    await space.another_agent("sales", costing("0.30"))
    await cap_agent(space, usd_a_day="0.30")
    await space.delivery(await another(space, 0), "answered")
    row = await space.delivery(await another(space, 1), "held")
    assert row.reason == "0.30 US dollars a day for agent hello are spent"
    sales = f"sales@{space.domain}"
    await space.delivery(await space.receive(mail(to=sales), sales), "answered")
    await space.delivery(await space.receive(mail(to=sales, subject="2"), sales), "answered")


async def test_another_workspaces_spending_is_not_counted(house: House) -> None:
    spender = await house.workspace(costing("5"))
    await spender.delivery(await another(spender, 0), "answered")
    space = await house.workspace(costing("0.10"), usd_a_day="1")
    await space.delivery(await another(space, 0), "answered")


async def test_nothing_may_be_spent_under_a_cap_of_nothing(house: House) -> None:
    space = await house.workspace(costing("0.01"), usd_a_day="0")
    await space.delivery(await another(space, 0), "held")
    assert space.turns == []


async def test_a_running_turn_counts_with_what_it_has_cost_so_far(house: House) -> None:
    go_on = asyncio.Event()

    async def long(turn: Turn) -> Reply:
        await turn.steps.record(usage("1.00"))
        await go_on.wait()
        return Reply("Done.\n")

    space = await house.workspace(long, usd_a_day="1.00")
    first = await another(space, 0)

    async def has_cost() -> bool:
        return any(row.cost_usd for row in await space.rows(t.turns))

    await house.until(has_cost)
    await space.delivery(await another(space, 1), "held")
    go_on.set()
    await space.delivery(first, "answered")


async def test_a_cap_that_cannot_be_kept_stops_and_says_what_to_set(house: House) -> None:
    space = await house.workspace(costing(None), usd_a_day="100")
    await space.delivery(await another(space, 0), "answered")
    row = await space.delivery(await another(space, 1), "held")
    assert row.reason.startswith("the cap of 100 US dollars a day for the workspace cannot be kept")
    assert "ANTHROPIC_PRICE" in row.reason


async def test_without_a_cap_a_turn_of_unknown_cost_stops_nothing(house: House) -> None:
    space = await house.workspace(costing(None))
    for number in range(2):
        await space.delivery(await another(space, number), "answered")


async def test_spending_is_summed_from_the_turns(house: House) -> None:
    space = await house.workspace(costing("0.25"))
    for number in range(2):
        await space.delivery(await another(space, number), "answered")
    house._agents.minds[space.domain] = costing(None)
    await space.delivery(await another(space, 2), "answered")
    since = house.store.now() - timedelta(days=1)

    assert await space.write(lambda tx: budgets.spending(tx, since)) == Spending(Decimal("0.5"), 1)
    assert await space.write(lambda tx: budgets.spending(tx, since, "agt_none")) == Spending(
        Decimal(0), 0
    )
