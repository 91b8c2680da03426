"""A domain is an agent's, or a group's, from the moment it is added, or it is not added."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from backend.agent_groups import service as groups
from backend.agents import service as agents
from backend.domain_options import service as options
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.domains.town import DEFAULT, NAME, Town

SUB = f"mail.{NAME}"


@pytest.fixture
async def desks(town: Town) -> Town:
    """A group of the agents hello and sales; the agent alone is in none."""
    await town.store.write(town.acme, _group)
    return town


def _group(tx: Transaction) -> None:
    for handle in ("sales", "alone"):
        agents.create(tx, DEFAULT, handle=handle)
    groups.create(tx, "Desk", ["hello", "sales"])


async def owner(town: Town, name: str = SUB) -> str:
    found = (await town.store.read(town.acme, options.get, name)).owner
    return f"{found.kind} {found.name}" if found else ""


async def test_an_agents_domain_is_its_own_with_the_options_of_this_way_of_working(
    town: Town,
) -> None:
    await town.add(SUB, agent="hello")
    assert await owner(town) == "agent hello"
    set_ = await town.store.read(town.acme, options.get, SUB)
    assert (set_.region, set_.dkim_bits, set_.retention_days) == ("US", 1024, 3)


async def test_the_second_agent_of_a_group_finds_the_set_up(desks: Town) -> None:
    made = await desks.add(SUB, group="Desk")
    assert await owner(desks) == "group Desk"
    keys = await desks.rows(select(t.signing_keys.c.public_record))
    found = await desks.add(SUB, agent="sales", mode="send_only")
    assert (found.id, found.mode) == (made.id, "send_receive")
    assert await desks.rows(select(t.signing_keys.c.public_record)) == keys
    with pytest.raises(Conflict, match="belongs to the group Desk"):
        await desks.add(SUB, agent="alone")


async def test_a_group_that_has_a_domain_is_not_asked_again_where_its_mail_goes(
    desks: Town,
) -> None:
    desks.dns.add({SUB: {"MX": ["1 aspmx.l.google.com."]}})
    with pytest.raises(Conflict, match="replace_mx"):
        await desks.add(SUB, group="Desk")
    made = await desks.add(SUB, group="Desk", replace_mx=True)
    asked = len(desks.dns.asked)
    assert (await desks.add(SUB, agent="sales")).id == made.id
    assert len(desks.dns.asked) == asked
    with pytest.raises(Conflict, match="belongs to the group Desk"):
        await desks.add(SUB, agent="alone")


async def test_what_cannot_be_given_is_not_added(desks: Town) -> None:
    for more, error, says in (
        ({"agent": "nobody"}, NotFound, "nobody"),
        ({"group": "Nobody"}, NotFound, "Nobody"),
        ({"agent": "hello", "group": "Desk"}, Malformed, "not both"),
    ):
        with pytest.raises(error, match=says):
            await desks.add(SUB, **more)
    with pytest.raises(Conflict, match="confirm_apex"):
        await desks.add(NAME, group="Desk")
    for table in (t.domains, t.signing_keys, t.domain_steps):
        assert await desks.rows(select(table)) == []
    await desks.add(NAME, group="Desk", confirm_apex=True)
    assert await owner(desks, NAME) == "group Desk"


async def test_a_group_takes_no_sixth_domain(desks: Town) -> None:
    for number in range(5):
        await desks.add(f"m{number}.{NAME}", group="Desk")
    with pytest.raises(Conflict, match="has 5 domains, 5 are the most"):
        await desks.add(f"m5.{NAME}", group="Desk")
    assert len(await desks.rows(select(t.domains))) == 5


async def test_an_address_of_a_groups_agent_comes_with_the_groups_domain(desks: Town) -> None:
    made = await desks.add(f"orders@{SUB}", agent="sales", group="Desk")
    assert await owner(desks) == "group Desk"
    assert [one.local_part for one in made.choices.wanted] == ["orders"]
