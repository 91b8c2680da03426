"""What a day may see of an agent, by whom and in which thread; spent, mail waits and says so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from mailagent.agents import Turn, Usage
from mailagent.flow import chores
from mailagent.outgoing import Reply
from mailagent.store import tables as t
from mailagent.tokens import new_id
from tests.flow.house import ANN, House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")

BEN = "ben@customer.example"


async def costly(turn: Turn) -> Reply:
    """Each turn takes 1,000 tokens and half a dollar."""
    await turn.steps.record(Usage(900, 100, "claude-next-9", Decimal("0.50")).as_step())
    return Reply("Done.\n")


async def unpriced(turn: Turn) -> Reply:
    await turn.steps.record(Usage(900, 100, "claude-next-9", None).as_step())
    return Reply("Done.\n")


def in_thread(space: Space, number: int, sender: str = ANN) -> bytes:
    first = f"<t1@{space.slug}.example>"
    own = first if number == 1 else f"<t{number}@{space.slug}.example>"
    headers = {} if number == 1 else {"In-Reply-To": first}
    return mail(f"N{number}", sender=sender, to=space.address, message_id=own, headers=headers)


async def come(space: Space, raw: bytes, sender: str, *states: str) -> Any:
    return await space.delivery(await space.receive(raw, mail_from=sender), *states)


@pytest.mark.parametrize(
    ("limit", "most", "of_whom"),
    [
        ("replies_per_thread_a_day", 2, "replies a day for this thread"),
        ("replies_per_correspondent_a_day", 2, f"replies a day for {ANN}"),
        ("replies_per_agent_a_day", 2, "replies a day for agent hello"),
        ("replies_per_workspace_a_day", 2, "replies a day for the workspace"),
        ("turns_per_thread_a_day", 2, "turns a day for this thread"),
        ("turns_per_agent_a_day", 2, "turns a day for agent hello"),
        ("tokens_per_thread_a_day", 2000, "tokens a day for this thread"),
        ("tokens_per_correspondent_a_day", 1500, f"tokens a day for {ANN}"),
        ("tokens_per_agent_a_day", 2000, "tokens a day for agent hello"),
        ("tokens_per_workspace_a_day", 2000, "tokens a day for the workspace"),
        ("usd_per_correspondent_a_day", "1.00", f"US dollars a day for {ANN}"),
        ("usd_per_thread_a_day", "0.75", "US dollars a day for this thread"),
    ],
)
async def test_a_spent_limit_holds_the_next_mail_says_which_and_lets_go_a_day_later(
    house: House, limit: str, most: Any, of_whom: str
) -> None:
    space = await house.workspace(costly, limits={limit: most})
    for number in (1, 2):
        await come(space, in_thread(space, number), ANN, "answered")
    row = await come(space, in_thread(space, 3), ANN, "held")
    assert row.reason == f"{most} {of_whom} are spent"
    assert timedelta(hours=23) < row.held_until - house.store.now() <= timedelta(days=1)
    assert len(space.turns) == 2
    assert [str(one["Subject"]).partition(":")[0] for one in await space.notices()] == ["Needs you"]

    await house.later(timedelta(days=1, minutes=2))
    await house.store.write_unscoped(chores.release_held)
    await space.delivery(row.id, "answered")


@pytest.mark.parametrize(
    "limit",
    ["replies_per_correspondent_a_day", "tokens_per_thread_a_day", "turns_per_thread_a_day"],
)
async def test_what_one_has_spent_is_not_anothers(house: House, limit: str) -> None:
    space = await house.workspace(costly, limits={limit: 1})
    await come(space, in_thread(space, 1), ANN, "answered")
    await come(space, in_thread(space, 2), ANN, "held")
    await come(space, mail("Me too", sender=BEN, to=space.address), BEN, "answered")


async def test_an_agents_limit_lies_over_its_workspaces(house: House) -> None:
    space = await house.workspace(limits={"replies_per_agent_a_day": 0})
    await come(space, in_thread(space, 1), ANN, "held")
    own = {"limits": {"replies_per_agent_a_day": 5}}
    mine = update(t.agents).where(t.agents.c.id == space.agent_id).values(settings=own)
    await space.write(lambda tx: tx.execute(mine))
    await come(space, mail("Again", to=space.address, subject="B"), ANN, "answered")


async def test_a_cost_that_nobody_knows_counts_as_the_whole_limit(house: House) -> None:
    space = await house.workspace(unpriced, limits={"usd_per_thread_a_day": "50"})
    await come(space, in_thread(space, 1), ANN, "answered")
    await come(space, in_thread(space, 2), ANN, "held")


async def test_by_default_an_agent_answers_a_hundred_times_a_day(house: House) -> None:
    space = await house.workspace()
    await come(space, in_thread(space, 1), ANN, "answered")
    (row,) = await space.outbound()
    copies = [
        {**row._mapping, "id": new_id("out"), "message_id": f"<c{number}@x>",
         "turn_id": None, "state": "sent"}
        for number in range(99)
    ]  # fmt: skip
    await space.write(lambda tx: tx.insert(t.outbound_mails, *copies))
    held = await come(space, in_thread(space, 2), ANN, "held", "looped")
    assert held.state == "looped"  # so many in one thread are two machines
    other = await come(space, mail("B", to=space.address, subject="B"), ANN, "held")
    assert other.reason == "100 replies a day for agent hello are spent"


async def test_what_comes_at_once_gets_no_more_replies_than_a_day_has(house: House) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Turn) -> Reply:
        asked.set()
        await go.wait()
        return Reply("Yes.")

    space = await house.workspace(slow, limits={"replies_per_agent_a_day": 1})
    first = await space.receive(mail("A", to=space.address, subject="A"))
    await asyncio.wait_for(asked.wait(), 8)
    second = await space.receive(mail("B", to=space.address, subject="B"))

    async def waits() -> bool:
        rows = await space.rows(t.threads, t.threads.c.ready, t.threads.c.attempts == 1)
        return any(row.claimed_by is None for row in rows)

    await house.until(waits)
    assert len(space.turns) == 1
    go.set()
    await space.delivery(first, "answered")
    await house.later(timedelta(minutes=1))
    assert "replies a day" in (await space.delivery(second, "held")).reason
    assert len(space.turns) == 1


async def test_outside_working_hours_an_answer_waits_for_the_next_opening(house: House) -> None:
    now = house.store.now()
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    closed_today = [day for number, day in enumerate(days) if number != now.weekday()]
    hours = {"zone": "UTC", "days": closed_today, "opens": "00:00", "closes": "23:59"}
    space = await house.workspace(limits={"working_hours": hours})
    id_ = await space.receive()
    await space.delivery(id_, "answered")
    (row,) = await space.outbound()
    assert row.state == "queued"
    assert row.not_before.hour == row.not_before.minute == 0
    assert timedelta() < row.not_before - now <= timedelta(days=1)
    assert row.expires_at - row.not_before == timedelta(hours=72)


async def test_the_languages_are_the_agents(house: House) -> None:
    space = await house.workspace(limits={"languages": ["de-AT", "en"]})
    await space.delivery(await space.receive(), "answered")
    assert space.turns[0].profile.languages == ("de-AT", "en")
