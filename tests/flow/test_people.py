"""A person hears of what waits for them: whom the agent names, else the workspace, else owners."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from mailagent.agents import Turn
from mailagent.errors import Misconfigured
from mailagent.outgoing import Handoff, Reply
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.flow.house import House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


def hand_over(_: Turn) -> Handoff:
    return Handoff("too hard for me")


async def set_escalation(space: Space, address: str) -> None:
    def write(tx: Transaction) -> None:
        tx.execute(
            update(t.agents)
            .where(t.agents.c.id == space.agent_id)
            .values(settings={"escalation_address": address})
        )

    await space.write(write)


async def test_the_agents_escalation_address_hears_before_the_owners(house: House) -> None:
    space = await house.workspace(hand_over, escalation_address="space@people.example")
    await set_escalation(space, "agent@people.example")
    await space.delivery(await space.receive(), "handed to a person")
    assert len(await space.notices("agent@people.example")) == 1
    assert await space.notices("space@people.example") == []
    assert await space.notices() == []


async def test_the_workspaces_escalation_address_hears_before_the_owners(house: House) -> None:
    space = await house.workspace(hand_over, escalation_address="space@people.example")
    await space.delivery(await space.receive(), "handed to a person")
    assert len(await space.notices("space@people.example")) == 1
    assert await space.notices() == []


async def test_where_nobody_can_be_reached_the_mail_stays(house: House) -> None:
    space = await house.workspace(hand_over, owner=False)
    got = await space.receive()
    await space.delivery(got, "handed to a person")
    assert "nobody was told" in await space.story(got)
    assert await space.outbound() == []


async def test_an_escalation_address_that_is_none_stops_nothing(house: House) -> None:
    space = await house.workspace(hand_over)
    await set_escalation(space, "not an address\r\nBcc: x@y")
    got = await space.receive()
    await space.delivery(got, "handed to a person")
    assert "the notice could not be made" in await space.story(got)


@pytest.mark.parametrize("role", ["postmaster", "abuse"])
async def test_mail_for_a_role_reaches_the_owners_and_no_agent(house: House, role: str) -> None:
    space = await house.workspace()
    got = await space.receive(mail("Your users send spam"), f"{role}@{space.domain}")
    await space.delivery(got, "handed to a person")
    (notice,) = await space.notices()
    assert "> Your users send spam" in notice.get_content()
    assert space.turns == []


async def test_a_machines_mail_to_a_role_is_recorded(house: House) -> None:
    space = await house.workspace()
    raw = mail(headers={"Auto-Submitted": "auto-generated"})
    got = await space.receive(raw, f"postmaster@{space.domain}")
    await space.delivery(got, "recorded")
    assert await space.outbound() == []


async def test_an_agent_that_is_not_set_up_hands_over(house: House) -> None:
    def mind(_: Turn) -> Reply:
        raise Misconfigured("ANTHROPIC_API_KEY", "was rejected: make a new one")

    space = await house.workspace(mind)
    row = await space.delivery(await space.receive(), "handed to a person")
    assert "ANTHROPIC_API_KEY" in row.reason
    assert len(await space.notices()) == 1


async def test_an_answer_that_cannot_be_sent_goes_to_a_person(house: House) -> None:
    space = await house.workspace(lambda _: Reply("unpaired \ud800"))
    row = await space.delivery(await space.receive(), "handed to a person")
    assert row.reason.startswith("the answer cannot be sent: ")
    assert len(await space.notices()) == 1
