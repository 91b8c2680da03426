"""Agents, their addresses and switches, as the doors see them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from backend.agents import aliases, service
from backend.naming import checked_local_part
from backend.paging import EVERYTHING
from backend.rules import service as rules
from backend.workspaces import service as workspaces
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.directory import StoreDirectory
from mailagent.inbound import Known
from mailagent.store.tables import agents as agent_rows
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets, new_id
from tests.backend.conftest import DEFAULT_DOMAIN, House


async def knows(house: House, address: str) -> Known:
    directory = StoreDirectory(house.store, Secrets(["s" * 40]), default_domain=DEFAULT_DOMAIN)
    await directory.refresh()
    return await directory.knows(address)


async def test_a_new_agent_has_its_primary_address(house: House) -> None:
    agent = await house.store.write(
        house.acme.id, service.create, DEFAULT_DOMAIN, handle="support", name="Support"
    )

    assert agent.address == "support@acme.agents.example"
    assert await knows(house, "Support+tag@acme.agents.example") is Known.YES


def test_an_agent_is_found_by_id_and_by_handle(house: House) -> None:
    read = house.store.read_now

    assert read(house.acme.id, service.get, "hello") == house.agent
    assert read(house.acme.id, service.get, house.agent.id) == house.agent


def test_an_agent_of_another_workspace_is_not_found(house: House) -> None:
    for reference in ("hello", house.agent.id):
        with pytest.raises(NotFound):
            house.store.read_now(house.other.id, service.get, reference)


def test_the_same_handle_twice_is_a_conflict(house: House) -> None:
    with pytest.raises(Conflict, match=r"hello@acme\.agents\.example"):
        house.store.write_now(house.acme.id, service.create, DEFAULT_DOMAIN, handle="hello")


def test_the_same_handle_in_another_workspace_is_another_address(house: House) -> None:
    twin = house.store.write_now(house.other.id, service.create, DEFAULT_DOMAIN, handle="hello")

    assert twin.address == "hello@other.agents.example"


@pytest.mark.parametrize(
    ("handle", "rule"),
    [
        ("", "1 to 32"),
        ("a" * 33, "1 to 32"),
        ("Hello", "lower-case"),
        ("a+b", "plus sign"),
        ("a..b", "two dots"),
        (".a", "first and last"),
        ("a-", "first and last"),
        ("ä", "letters"),
        ("postmaster", "reserved"),
        ("abuse", "reserved"),
        ("mailer-daemon", "reserved"),
        ("b.anything", "reserved"),
    ],
)
def test_a_bad_handle_is_refused_with_its_rule(handle: str, rule: str) -> None:
    with pytest.raises(Malformed, match=rule):
        checked_local_part("handle", handle)


def test_what_is_changed_is_changed_and_nothing_else(house: House) -> None:
    changed = house.store.write_now(
        house.acme.id,
        service.update_agent,
        "hello",
        {
            "name": "Hello",
            "processor": "builtin",
            "instructions": "Be brief.\nBe kind.",
            "escalation_address": "boss@acme.example",
        },
    )

    assert (changed.name, changed.processor, changed.instructions) == (
        "Hello",
        "builtin",
        "Be brief.\nBe kind.",
    )
    assert changed.escalation_address == "boss@acme.example"
    assert changed.email_enabled
    assert changed.addresses == house.agent.addresses


@pytest.mark.parametrize(
    "changes",
    [
        {"processor": "oracle"},
        {"email_enabled": "yes"},
        {"instructions": "a\x00b"},
        {"name": " "},
        {"handle": "other"},
        {"escalation_address": "a@b@c"},
    ],
)
def test_a_change_that_cannot_be_is_refused_by_its_field(
    house: House, changes: dict[str, object]
) -> None:
    with pytest.raises(Malformed) as refused:
        house.store.write_now(house.acme.id, service.update_agent, "hello", changes)
    assert refused.value.field == next(iter(changes))


async def test_mail_to_an_agent_that_is_off_is_refused_until_it_is_on_again(house: House) -> None:
    write, acme = house.store.write, house.acme.id

    await write(acme, service.update_agent, "hello", {"email_enabled": False})
    off = await knows(house, house.agent.address)
    await write(acme, service.update_agent, "hello", {"email_enabled": True})

    assert off is Known.OFF
    assert await knows(house, house.agent.address) is Known.YES


async def test_a_removed_agent_frees_its_addresses_and_leaves_its_row(house: House) -> None:
    await house.store.write(house.acme.id, service.remove, "hello")
    row = await house.store.read(
        house.acme.id, Transaction.row, select(agent_rows).where(agent_rows.c.id == house.agent.id)
    )

    assert await knows(house, house.agent.address) is Known.NO_SUCH_ADDRESS
    assert house.store.read_now(house.acme.id, service.list_agents, EVERYTHING).items == ()
    assert row is not None
    assert row.removed_at is not None
    again = house.store.write_now(house.acme.id, service.create, DEFAULT_DOMAIN, handle="hello")
    assert again.id != house.agent.id


def test_an_agent_that_mail_is_led_to_is_not_removed(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, workspaces.update_settings, {"catch_all_agent_id": "hello"})
    with pytest.raises(Conflict, match="catch-all"):
        write(acme, service.remove, "hello")

    write(acme, workspaces.update_settings, {"catch_all_agent_id": None})
    write(acme, rules.add, name="All", condition={"automatic": False}, agent="hello")
    with pytest.raises(Conflict, match="the rule 'All'"):
        write(acme, service.remove, "hello")


async def test_an_alias_is_an_address_like_the_primary_one(house: House) -> None:
    agent = await house.store.write(
        house.acme.id, aliases.add_alias, DEFAULT_DOMAIN, "hello", "Info"
    )

    assert [one.address for one in agent.addresses] == [
        "hello@acme.agents.example",
        "info@acme.agents.example",
    ]
    assert await knows(house, "info@acme.agents.example") is Known.YES


def test_an_alias_may_stand_on_a_verified_domain_of_the_workspace_only(house: House) -> None:
    write = house.store.write_now
    for workspace, name, verified in (
        (house.acme.id, "acme.example", True),
        (house.acme.id, "pending.example", False),
        (house.other.id, "other.example", True),
    ):
        at = datetime(2026, 1, 1, tzinfo=UTC)
        row = {
            "id": new_id("dom"),
            "name": name,
            "state": "verified" if verified else "pending",
            "created_at": at,
            "verified_at": at if verified else None,
        }
        write(workspace, Transaction.insert, domains, row)

    agent = write(house.acme.id, aliases.add_alias, DEFAULT_DOMAIN, "hello", "hello@ACME.example")

    assert agent.addresses[1].address == "hello@acme.example"
    for foreign in ("pending.example", "other.example", "other.agents.example", "gmail.com"):
        with pytest.raises(Malformed, match=r"acme\.agents\.example, acme\.example"):
            write(house.acme.id, aliases.add_alias, DEFAULT_DOMAIN, "hello", f"hello@{foreign}")


def test_an_alias_that_is_taken_is_a_conflict(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, service.create, DEFAULT_DOMAIN, handle="info")

    with pytest.raises(Conflict, match="already"):
        write(acme, aliases.add_alias, DEFAULT_DOMAIN, "hello", "info")


def test_an_alias_goes_and_the_primary_address_stays(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, aliases.add_alias, DEFAULT_DOMAIN, "hello", "info")

    left = write(acme, aliases.remove_alias, "hello", "INFO@acme.agents.example")

    assert left == house.agent
    with pytest.raises(Conflict, match="primary"):
        write(acme, aliases.remove_alias, "hello", house.agent.address)
    with pytest.raises(NotFound):
        write(acme, aliases.remove_alias, "hello", "info@acme.agents.example")
