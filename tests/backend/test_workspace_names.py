"""A workspace works at once, changes its name without losing mail, and ends without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, update

from backend.agents import aliases
from backend.agents import service as agents
from backend.paging import EVERYTHING
from backend.rules import service as rules
from backend.rules.explanation import workspace_of
from backend.workspaces import lifecycle, members, service
from backend.workspaces.lifecycle import KeptFor
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.directory import Place, StoreDirectory, forget_former_names
from mailagent.flow.reply import sender_of
from mailagent.inbound import Known
from mailagent.sandbox import Sandbox
from mailagent.store.tables import addresses, outbound_mails, workspaces
from mailagent.tokens import Secrets
from tests.backend.conftest import DEFAULT_DOMAIN, House
from tests.backend.mailroom import DOMAIN as MAILROOM_DOMAIN
from tests.backend.mailroom import mail, open_mailroom

DAY = timedelta(days=1)
KEPT = KeptFor(alias=90 * DAY, blocked=30 * DAY)


@pytest_asyncio.fixture
async def directory(house: House) -> AsyncIterator[StoreDirectory]:
    made = StoreDirectory(house.store, Secrets(["s" * 40]), default_domain=DEFAULT_DOMAIN)
    await made.refresh()
    yield made


async def located(directory: StoreDirectory, address: str) -> Place | Known:
    await directory.refresh()
    return directory.locate(f"{address}.{DEFAULT_DOMAIN}")


def change(house: House, slug: str, *, of: str | None = None) -> service.Workspace:
    return house.store.write_now(
        None, lifecycle.change_slug, DEFAULT_DOMAIN, of or house.acme.id, slug, KEPT
    )


async def test_a_new_workspaces_address_is_taken_at_once(
    house: House, directory: StoreDirectory
) -> None:
    made = house.store.write_now(None, service.create, "fresh", "Fresh")
    agent = house.store.write_now(made.id, agents.create, DEFAULT_DOMAIN, handle="hello")
    async with asyncio.timeout(5):
        while await directory.knows(agent.address) is not Known.YES:
            await asyncio.sleep(0.01)


async def test_names_below_a_workspaces_own_have_no_mail(directory: StoreDirectory) -> None:
    assert await located(directory, "hello@a.acme") is Known.NO_SUCH_DOMAIN
    assert await located(directory, "postmaster@a.acme") is Known.NO_SUCH_DOMAIN
    assert await located(directory, "hello@nobody") is Known.NO_SUCH_DOMAIN
    assert await located(directory, "nobody@acme") is Known.NO_SUCH_ADDRESS


# --- another name -----------------------------------------------------------------------------


async def test_the_old_name_takes_mail_until_its_time_is_over(
    house: House, directory: StoreDirectory
) -> None:
    changed = change(house, "acme-inc")
    (former,) = changed.former_slugs
    assert (changed.slug, former.slug) == ("acme-inc", "acme")
    assert (former.alias_until - house.clock(), former.free_at - former.alias_until) == (
        KEPT.alias,
        KEPT.blocked,
    )
    place = Place("agent", house.acme.id, house.agent.id)
    assert await located(directory, "hello@acme-inc") == place
    assert await located(directory, "hello+tag@acme") == place
    assert await located(directory, "abuse@acme") == Place("role", house.acme.id)
    assert f"acme.{DEFAULT_DOMAIN}" in directory.served_domains

    house.clock.move(90 * DAY)
    # By the clock alone: no chore and no other node need tell the door.
    assert directory.locate(f"hello@acme.{DEFAULT_DOMAIN}") is Known.NO_SUCH_DOMAIN
    assert await located(directory, "hello@acme-inc") == place


async def test_nothing_new_leaves_from_the_old_name(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, aliases.add_alias, DEFAULT_DOMAIN, "hello", "sales")
    change(house, "acme-inc")
    for written_to, leaves_from in (
        (None, "hello@acme-inc"),
        ("hello+t.abc@acme", "hello@acme-inc"),
        ("sales@acme", "sales@acme-inc"),
        ("sales@acme-inc", "sales@acme-inc"),
    ):
        to = None if written_to is None else f"{written_to}.{DEFAULT_DOMAIN}"
        sender = house.store.read_now(acme, sender_of, house.agent.id, written_to=to)
        assert sender.mailbox.address == f"{leaves_from}.{DEFAULT_DOMAIN}"
    shown = house.store.read_now(acme, agents.get, "hello")
    assert shown.address == f"hello@acme-inc.{DEFAULT_DOMAIN}"
    assert {one.address.partition(".")[0]: one.until is not None for one in shown.addresses} == {
        "hello@acme-inc": False,
        "sales@acme-inc": False,
        "hello@acme": True,
        "sales@acme": True,
    }
    made = write(acme, agents.create, DEFAULT_DOMAIN, handle="new")
    assert made.address == f"new@acme-inc.{DEFAULT_DOMAIN}"
    with pytest.raises(Malformed, match="must end in a domain of this workspace"):
        write(acme, aliases.add_alias, DEFAULT_DOMAIN, "hello", f"x@acme.{DEFAULT_DOMAIN}")


async def test_the_old_name_is_kept_from_others_and_then_free(
    house: House, directory: StoreDirectory
) -> None:
    change(house, "acme-inc")
    for wait in (timedelta(), 90 * DAY, 30 * DAY - timedelta(seconds=1)):
        house.clock.move(wait)
        with pytest.raises(Conflict, match="kept from others until 2026-06-29"):
            house.store.write_now(None, service.create, "acme", "Thief")
        with pytest.raises(Conflict, match="kept from others"):
            change(house, "acme", of=house.other.id)
    house.clock.move(timedelta(seconds=1))
    thief = house.store.write_now(None, service.create, "acme", "Namesake")
    theirs = house.store.write_now(thief.id, agents.create, DEFAULT_DOMAIN, handle="hello")
    assert await located(directory, "hello@acme") == Place("agent", thief.id, theirs.id)
    assert house.store.read_now(None, service.find, house.acme.id).former_slugs == ()
    assert len(house.store.read_now(house.acme.id, agents.get, "hello").addresses) == 1


async def test_a_workspace_may_go_back_to_its_old_name(
    house: House, directory: StoreDirectory
) -> None:
    change(house, "acme-inc")
    back = change(house, "acme")
    assert [one.slug for one in back.former_slugs] == ["acme-inc"]
    place = Place("agent", house.acme.id, house.agent.id)
    assert await located(directory, "hello@acme") == place
    assert await located(directory, "hello@acme-inc") == place
    shown = house.store.read_now(house.acme.id, agents.get, "hello")
    assert [one.until for one in shown.addresses] == [None, house.clock() + KEPT.alias]


async def test_what_names_the_old_domain_follows(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    condition = {"all": [{"recipient": f"*@acme.{DEFAULT_DOMAIN}"}, {"keyword": "order"}]}
    rule = write(acme, rules.add, name="orders", condition=condition, agent="hello")
    routed = {"send_by": {f"acme.{DEFAULT_DOMAIN}": ["ses"], "acme.example": ["smtp"]}}
    write(None, _set, acme, routed)
    change(house, "acme-inc")
    now = house.store.read_now(acme, rules.get, rule.id).condition
    assert now["all"][0]["any"] == [
        {"recipient": f"*@acme.{DEFAULT_DOMAIN}"},
        {"recipient": f"*@acme-inc.{DEFAULT_DOMAIN}"},
    ]
    kept = house.store.read_now(acme, _settings)
    assert kept["send_by"] == {f"acme-inc.{DEFAULT_DOMAIN}": ["ses"], "acme.example": ["smtp"]}
    for name in ("acme", "acme-inc"):
        to = f"hello@{name}.{DEFAULT_DOMAIN}"
        assert house.store.read_now(None, workspace_of, DEFAULT_DOMAIN, to) == acme


def _set(tx: Any, workspace_id: str, settings: dict[str, Any]) -> None:
    tx.execute(update(workspaces).where(workspaces.c.id == workspace_id).values(settings=settings))


def _settings(tx: Any) -> Any:
    return tx.value(select(workspaces.c.settings))


@pytest.mark.parametrize(
    ("slug", "error", "reason"),
    [
        ("other", Conflict, "taken"),
        ("postmaster", Malformed, "RFC 5321"),
        ("_acme", Malformed, "underscore"),
        ("Acme", Malformed, "lower-case"),
    ],
)
def test_a_name_that_is_not_to_be_had_changes_nothing(
    house: House, slug: str, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        change(house, slug)
    assert house.store.read_now(None, service.find, "acme") == house.acme


def test_the_same_name_again_changes_nothing(house: House) -> None:
    assert change(house, "acme") == house.acme


def test_a_workspace_does_not_collect_names(house: House) -> None:
    for number in range(10):
        change(house, f"name{number}")
    with pytest.raises(Conflict, match="10 former names"):
        change(house, "one-more")


def test_a_name_goes_to_one_of_those_who_want_it_at_the_same_moment(house: House) -> None:
    """Whoever wins, nobody gets the name that its owner just leaves."""
    together, outcomes = Barrier(9), list[str]()

    def want(work: Any, *args: Any) -> None:
        together.wait()
        try:
            house.store.write_now(None, work, *args)
        except Conflict:
            outcomes.append("no")
        else:
            outcomes.append("yes")

    wanting = [
        Thread(target=want, args=(lifecycle.change_slug, DEFAULT_DOMAIN, "acme", "fresh", KEPT)),
        *(Thread(target=want, args=(service.create, "fresh", "F")) for _ in range(4)),
        *(Thread(target=want, args=(service.create, "acme", "A")) for _ in range(4)),
    ]
    for one in wanting:
        one.start()
    for one in wanting:
        one.join()
    assert sorted(outcomes) == ["no"] * 8 + ["yes"]
    named = house.store.read_now(None, lambda tx: tx.rows(select(workspaces.c.slug)))
    assert sorted(row.slug for row in named) in (
        ["acme", "fresh", "other"],  # somebody new was first
        ["fresh", "other"],
    )


def test_the_chore_drops_what_is_over_and_no_more(house: House) -> None:
    change(house, "acme-inc")

    def standing() -> list[str]:
        found = house.store.read_now(None, lambda tx: tx.rows(select(addresses.c.domain)))
        return sorted(row.domain.partition(".")[0] for row in found)

    house.store.write_now(None, forget_former_names)
    assert standing() == ["acme", "acme-inc"]
    house.clock.move(91 * DAY)
    house.store.write_now(None, forget_former_names)
    assert standing() == ["acme-inc"]
    with pytest.raises(Conflict, match="kept from others"):
        house.store.write_now(None, service.create, "acme", "Thief")


def test_an_agent_that_is_made_while_the_name_changes_stands_at_the_new_one(house: House) -> None:
    together = Barrier(6)

    def at_once(work: Any, *args: Any, **kwargs: Any) -> None:
        together.wait()
        house.store.write_now(*args[:1], work, *args[1:], **kwargs)

    changing = (lifecycle.change_slug, None, DEFAULT_DOMAIN, "acme", "acme-inc", KEPT)
    threads = [
        Thread(target=at_once, args=changing),
        *(
            Thread(
                target=at_once,
                args=(agents.create, house.acme.id, DEFAULT_DOMAIN),
                kwargs={"handle": f"agent{number}"},
            )
            for number in range(5)
        ),
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = house.store.read_now(house.acme.id, agents.list_agents, EVERYTHING).items
    assert len(found) == 6
    assert {one.address.partition("@")[2] for one in found} == {f"acme-inc.{DEFAULT_DOMAIN}"}


async def test_the_story_goes_on_under_the_new_name(database_url: str) -> None:
    """A thread begun under the old name: its answer comes to the old address and is answered."""
    async with open_mailroom(database_url, Sandbox(workers=1)) as room:
        try:
            await room.deliver(mail(message_id="<q1@customer.example>"))
            await room.work()
            (first,) = await room.rows(select(outbound_mails))
            reply_to = first.outgoing["reply_to"][0]["address"]
            assert reply_to.endswith(f"@shop.{MAILROOM_DOMAIN}")
            change_to = (MAILROOM_DOMAIN, "shop", "store", KEPT)
            await room.store.write_unscoped(lifecycle.change_slug, *change_to)
            await room.services.directory.refresh()

            again = mail(message_id="<q2@customer.example>", subject="Re: A question")
            await room.deliver(again, reply_to)
            await room.work()
            answers = select(outbound_mails).order_by(outbound_mails.c.created_at)
            _, second = await room.rows(answers)
        finally:
            await room.services.sandbox.close()
    assert (second.thread_id, second.state) == (first.thread_id, "sent")
    assert second.from_address == f"hello@store.{MAILROOM_DOMAIN}"


async def test_a_workspace_receives_and_sends_from_the_moment_it_is_made(
    database_url: str,
) -> None:
    async with open_mailroom(database_url, Sandbox(workers=1)) as room:
        try:
            made = await room.store.write_unscoped(service.create, "fresh", "Fresh")
            handle = {"handle": "hello"}
            await room.store.write(made.id, agents.create, MAILROOM_DOMAIN, **handle)
            await room.services.directory.refresh()
            address = f"hello@fresh.{MAILROOM_DOMAIN}"
            await room.deliver(mail(), address)
            await room.work()
            sent = await room.store.read(made.id, lambda tx: tx.rows(select(outbound_mails)))
        finally:
            await room.services.sandbox.close()
    assert [(one.from_address, one.state, one.purpose) for one in sent] == [
        (address, "sent", "reply")
    ]


# --- the end ----------------------------------------------------------------------------------


async def test_a_retired_workspace_takes_no_mail_and_its_people_are_the_operators(
    house: House, directory: StoreDirectory
) -> None:
    write = house.store.write_now
    write(house.other.id, agents.create, DEFAULT_DOMAIN, handle="hello")
    change(house, "other-inc", of="other")
    retired = write(None, lifecycle.retire, "other-inc", KEPT)
    assert retired.retired_at == house.clock()
    for name in ("other", "other-inc"):
        assert await located(directory, f"hello@{name}") is Known.OFF
        assert await located(directory, f"nobody@{name}") is Known.OFF
        assert await located(directory, f"abuse@{name}") == Place("role", house.acme.id)
    assert house.store.read_now(house.other.id, agents.get, "hello").handle == "hello"

    write(None, lifecycle.reopen, "other-inc")
    found = await located(directory, "hello@other-inc")
    assert isinstance(found, Place)
    assert found.workspace_id == house.other.id


async def test_a_retired_workspaces_name_is_kept_and_then_anothers(
    house: House, directory: StoreDirectory
) -> None:
    write = house.store.write_now
    write(house.other.id, agents.create, DEFAULT_DOMAIN, handle="hello")
    write(None, lifecycle.retire, "other", KEPT)
    house.clock.move(30 * DAY - timedelta(seconds=1))
    with pytest.raises(Conflict, match="kept from others until 2026-03-31"):
        write(None, service.create, "other", "Thief")
    house.clock.move(timedelta(seconds=1))
    made = write(None, service.create, "other", "Namesake")
    agent = write(made.id, agents.create, DEFAULT_DOMAIN, handle="hello")
    assert await located(directory, "hello@other") == Place("agent", made.id, agent.id)

    # The old one is there by its id, with all its rows, and cannot come back under the name.
    old = house.store.read_now(None, service.find, house.other.id)
    assert (old.slug, old.retired_at is not None) == (house.other.id, True)
    assert len(house.store.read_now(old.id, agents.get, "hello").addresses) == 1
    with pytest.raises(Conflict, match="lost its name"):
        write(None, lifecycle.reopen, old.id)


def test_the_operators_workspace_stays(house: House) -> None:
    with pytest.raises(Conflict, match="operator's workspace"):
        house.store.write_now(None, lifecycle.retire, "acme", KEPT)
    with pytest.raises(NotFound):
        house.store.write_now(None, lifecycle.retire, "nobody", KEPT)


def test_a_retired_workspace_keeps_its_name(house: House) -> None:
    house.store.write_now(None, lifecycle.retire, "other", KEPT)
    with pytest.raises(Conflict, match="is retired"):
        change(house, "another", of="other")
    again = house.store.write_now(None, lifecycle.retire, "other", KEPT)
    assert again.retired_at == house.clock()


# --- people -----------------------------------------------------------------------------------


async def test_mail_to_postmaster_reaches_the_operator_where_a_workspace_has_nobody(
    house: House, directory: StoreDirectory
) -> None:
    write = house.store.write_now
    made = write(None, service.create, "empty", "Empty")
    assert await located(directory, "postmaster@empty") == Place("role", house.acme.id)
    write(made.id, service.update_settings, {"escalation_address": "eva@empty.example"})
    assert await located(directory, "postmaster@empty") == Place("role", made.id)
    write(made.id, service.update_settings, {"escalation_address": None})
    # An answer to a notice is the workspace's own, whoever its owners are.
    assert await located(directory, "postmaster+h.x@empty") == Place("role", made.id)
    write(made.id, members.add_member, "olga@empty.example", "owner")
    assert await located(directory, "abuse+x@empty") == Place("role", made.id)
