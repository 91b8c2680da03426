"""Rules, catch-all and switched-off agents, seen from a mail that comes in."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from mailagent.store import tables as t
from mailagent.tokens import new_id
from tests.flow.house import House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def add_rule(space: Space, name: str, condition: dict[str, Any], **more: Any) -> None:
    row = {
        "id": new_id("rul"),
        "position": 0,
        "name": name,
        "condition": condition,
        "action": "agent",
        "overrides": False,
        "enabled": True,
        "created_at": space.house.store.now(),
        **more,
    }
    await space.write(lambda tx: tx.insert(t.rules, row))


async def test_a_rule_that_overrides_takes_a_mail_from_the_address(house: House) -> None:
    space = await house.workspace()
    money = await space.another_agent("money")
    await add_rule(space, "refunds", {"subject_contains": "refund"}, agent_id=money, overrides=True)
    got = await space.receive(mail(subject="My refund"))
    assert (await space.delivery(got, "answered")).agent_id == money
    assert "rule 'refunds' matched" in await space.story(got)
    other = await space.receive(mail(subject="Hours"))
    assert (await space.delivery(other, "answered")).agent_id == space.agent_id


async def test_what_no_address_matches_goes_by_rules_and_then_to_the_catch_all(
    house: House,
) -> None:
    space = await house.workspace()
    money = await space.another_agent("money")

    def set_catch_all(tx: Any) -> None:
        settings = {"catch_all_agent_id": space.agent_id}
        tx.execute(
            update(t.workspaces).where(t.workspaces.c.id == space.id).values(settings=settings)
        )
        space.add_address(tx, money, "unused", space.domain)

    await space.write(set_catch_all)
    await house.services.directory.refresh()
    await add_rule(space, "refunds", {"subject_contains": "refund"}, agent_id=money)
    first = await space.receive(mail(subject="My refund"), f"whoever@{space.domain}")
    second = await space.receive(mail(subject="Hours"), f"whoever@{space.domain}")
    assert (await space.delivery(first, "answered")).agent_id == money
    assert (await space.delivery(second, "answered")).agent_id == space.agent_id


@pytest.mark.parametrize(("action", "state"), [("reject", "rejected"), ("hold", "held")])
async def test_a_rule_may_end_a_mails_way(house: House, action: str, state: str) -> None:
    space = await house.workspace()
    await add_rule(space, "no", {"keyword": "casino"}, action=action, overrides=True)
    got = await space.receive(mail("win at the casino"))
    assert "rule 'no' matched" in (await space.delivery(got, state)).reason
    assert space.turns == []


async def test_a_rule_that_is_off_or_another_workspaces_does_nothing(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    condition = {"automatic": False}
    await add_rule(space, "off", condition, action="reject", overrides=True, enabled=False)
    await add_rule(other, "theirs", condition, action="reject", overrides=True)
    await space.delivery(await space.receive(), "answered")


async def test_a_rule_to_an_agent_that_is_off_holds_the_mail(house: House) -> None:
    space = await house.workspace()
    off = await space.another_agent("off", email_enabled=False)
    await add_rule(space, "all", {"automatic": False}, agent_id=off, overrides=True)
    row = await space.delivery(await space.receive(), "held")
    assert row.reason.endswith("but the agent's e-mail is off")


async def test_a_rule_to_another_workspaces_agent_holds_the_mail(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    await add_rule(space, "all", {"automatic": False}, agent_id=other.agent_id, overrides=True)
    await space.delivery(await space.receive(), "held")
    assert await other.rows(t.threads) == []
