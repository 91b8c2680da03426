"""What is made and undone at a provider: killed at every commit, raced for, refused, repeated."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from backend.domains import adding, checking, removing, steps
from backend.domains.adding import Wanted
from backend.domains.stored import CHECKS, STEPS
from mailagent.authentication.dkim import new_key
from mailagent.errors import Conflict
from mailagent.store import tables as t
from mailagent.work import Claim
from tests.api_server import Fault, Reply
from tests.dns_server import DnsServer
from tests.domains.town import NAME, Town, open_town
from tests.mailgun_control import MailgunControlServer
from tests.mailgun_server import KEY
from tests.properties.fate import Fate, MortalStore, start

_LEASE_ENDS = timedelta(seconds=9)
_MOST_COMMITS = 12


_KEY = new_key("rsa1024").public_record


class Mailgun(MailgunControlServer):
    """Gives a DKIM key that can be read, and fails when a test says so."""

    def fails(self, *faults: Reply | Fault | None) -> None:
        self._script += faults

    def _told(self, name: str) -> dict[str, Any]:
        told = super()._told(name)
        for record in told["sending_dns_records"]:
            record["value"] = record["value"].replace("k=rsa; p=MIGfMA0G", _KEY)
        return told


@pytest.fixture
async def mailgun() -> AsyncIterator[Mailgun]:
    async with Mailgun() as server:
        yield server


@pytest.fixture
async def town(database_url: str, dns: DnsServer, mailgun: Mailgun) -> AsyncIterator[Town]:
    dns.add({"mailgun.org": {"TXT": ["v=spf1 ip4:192.0.2.9 ~all"]}})
    with open_town(
        database_url,
        dns,
        make_store=MortalStore,
        mailgun_api_key=KEY,
        mailgun_base_url=mailgun.url,
        public_url="https://mail.agents.example",
    ) as opened:
        yield opened


async def later_and_work(town: Town) -> None:
    await town.later(_LEASE_ENDS)
    await town.work()


async def counts(town: Town) -> dict[str, int]:
    """How many rows there are of what a domain has."""
    tables = (t.domains, t.domain_steps, t.domain_identities, t.signing_keys)
    return {one.name: len(await town.rows(select(one))) for one in tables}


_NOTHING = {"domains": 0, "domain_steps": 0, "domain_identities": 0, "signing_keys": 0}


async def test_a_domain_is_made_known_to_its_provider_and_asks_for_what_that_says(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add()
    await town.work()
    assert list(mailgun.known) == [NAME]
    assert len(mailgun.routes) == 1
    found = {(each.record.type, each.name): each.record.value for each in await town.records()}
    assert found[("TXT", f"mx._domainkey.{NAME}")] == _KEY, "as Mailgun gave it"
    assert "include:mailgun.org" in found[("TXT", NAME)]
    assert found[("MX", NAME)].endswith("mailgun.org")


async def test_it_is_verified_when_dns_and_the_provider_say_so(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    waits = await town.domain()
    assert waits.life.state == "verifying"
    assert waits.life.receiving_since is None, "Mailgun looks at the sender first"
    assert waits.verdict is not None
    assert waits.verdict["failure"]["code"] == "provider_pending"
    assert waits.verdict["words"]["Mailgun"], "its own words are shown"

    mailgun.dns[NAME] = "all"
    await town.next_look()
    assert (await town.domain()).life.state == "verified"
    assert not [one for one in mailgun.changes if "verify" in one], "a look resubmits nothing"


async def test_a_provider_that_is_away_changes_nothing_of_a_verified_domain(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add()
    await town.work()
    await town.publish()
    mailgun.dns[NAME] = "all"
    await town.next_look()
    mailgun.fails(*[Reply(503, {"message": "away"})] * 20)
    await town.cycles(2)
    domain = await town.domain()
    assert (domain.life.state, domain.life.sending) == ("verified", "active")


async def test_what_somebody_took_away_at_the_provider_is_made_again(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add()
    await town.work()
    mailgun.known.clear()
    await town.look()
    await town.work()
    assert list(mailgun.known) == [NAME]


async def test_a_refusal_is_shown_and_tried_again_in_hours(town: Town, mailgun: Mailgun) -> None:
    mailgun.refused.add("POST /v4/domains")
    await town.add()
    await town.work()
    (row,) = [one for one in await town.rows(select(t.domain_steps)) if one.kind == "identify"]
    assert (row.state, row.begun_at) == ("due", None)
    assert row.reason
    mailgun.refused.clear()
    await town.later(timedelta(hours=7))
    await town.work()
    assert list(mailgun.known) == [NAME]


async def test_the_domain_goes_when_everything_at_the_provider_is_undone(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add()
    await town.work()
    told = await town.remove()
    assert not told.gone
    assert told.domain.removing_at is not None
    assert {each.name for each in told.records} >= {NAME, f"_dmarc.{NAME}"}
    await town.work()
    assert (mailgun.known, mailgun.routes) == ({}, {})
    assert await counts(town) == _NOTHING


async def test_a_domain_that_is_used_is_refused_with_the_list_and_goes_by_force(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add(f"sales@{NAME}", agent="hello")
    await town.work()
    await town.publish()
    mailgun.dns[NAME] = "all"
    await town.next_look()
    with pytest.raises(Conflict, match=f"sales@{NAME} of hello"):
        await town.remove()
    told = await town.remove(force=True)
    assert f"sales@{NAME} of hello is gone" in told.consequences
    await town.work()
    assert await counts(town) == _NOTHING
    (agent,) = await town.rows(select(t.agents).where(t.agents.c.workspace_id == town.acme))
    assert "sends_as" not in agent.settings


@pytest.mark.parametrize("stops_at", range(4))
async def test_adding_that_is_killed_leaves_nothing_or_all(town: Town, stops_at: int) -> None:
    frozen = await start(
        _dropped(adding.add(town.desk, town.acme, Wanted(NAME), actor="person:test")),
        Fate(stops_at=stops_at),
    )
    if frozen is not None:
        await frozen.die()
    found = await counts(town)
    if found["domains"] == 0:
        assert found == _NOTHING
        await town.add()
    await later_and_work(town)
    found = await counts(town)
    assert found == {"domains": 1, "domain_steps": 2, "domain_identities": 2, "signing_keys": 2}


async def test_a_step_that_is_killed_anywhere_comes_to_the_same_end(
    town: Town, mailgun: Mailgun
) -> None:
    for stops_at in range(_MOST_COMMITS):
        name = f"n{stops_at}.example"
        await town.add(name)
        killed = 0
        for one in await town.claimed(STEPS):
            frozen = await start(steps.do(town.desk, one), Fate(stops_at=stops_at))
            if frozen is not None:
                killed += 1
                await frozen.die()
        await later_and_work(town)
        rows = await town.rows(select(t.domain_steps).where(t.domain_steps.c.name == name))
        assert [(row.state, row.begun_at) for row in rows] == [("done", None)] * 2
        assert name in mailgun.known
        if not killed:
            return
    raise AssertionError("a step has more commits than were tried")


async def test_a_removal_that_is_killed_anywhere_comes_to_the_same_end(
    town: Town, mailgun: Mailgun
) -> None:
    for stops_at in range(_MOST_COMMITS):
        await town.add()
        await town.work()
        begun = await start(_dropped(town.remove()), Fate(stops_at=stops_at))
        if begun is not None:
            await begun.die()
            if (await town.domain()).removing_at is None:
                await town.remove()
        killed = 0
        for one in await town.claimed(STEPS):
            frozen = await start(steps.do(town.desk, one), Fate(stops_at=stops_at))
            if frozen is not None:
                killed += 1
                await frozen.die()
        await later_and_work(town)
        assert await counts(town) == _NOTHING
        assert (mailgun.known, mailgun.routes) == ({}, {})
        if not killed:
            return
    raise AssertionError("a step has more commits than were tried")


async def test_a_look_that_is_killed_anywhere_is_done_again_once(town: Town) -> None:
    await town.add()
    for one in await town.claimed(STEPS):
        await steps.do(town.desk, one)
    for stops_at in range(_MOST_COMMITS):
        await town.store.write(town.acme, checking.ask, NAME)
        await town.later(timedelta(minutes=3))  # who asked has died
        before = len(await town.rows(select(t.domain_checks)))
        (one,) = await town.claimed(CHECKS)
        frozen = await start(checking.check(town.desk, one), Fate(stops_at=stops_at))
        if frozen is None:
            return
        await frozen.die()
        await town.later(_LEASE_ENDS)
        await town.work()
        assert len(await town.rows(select(t.domain_checks))) == before + 1
    raise AssertionError("a look has more commits than were tried")


async def test_the_loser_of_a_race_does_not_take_the_winners_identity_away(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add(workspace=town.other)
    await town.add()
    await town.work()
    await town.publish()
    mailgun.dns[NAME] = "all"
    await town.look()
    assert (await town.domain()).life.state == "verified"
    await town.remove(workspace=town.other)
    await town.work()
    assert list(mailgun.known) == [NAME]
    assert len(mailgun.routes) == 1
    assert (await town.look()).life.state == "verified"
    keys = await town.rows(select(t.signing_keys).where(t.signing_keys.c.domain == NAME))
    assert len(keys) == 2, "its keys are the winner's too"


async def test_who_comes_while_an_identity_is_taken_away_has_one_in_the_end(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add(workspace=town.other)
    await town.work()
    await town.remove(workspace=town.other)
    claims = {await kind_of(town, one): one for one in await town.claimed(STEPS)}
    await steps.do(town.desk, claims["stop_collecting"])
    # Begun and committed, and not called yet: the other one's wish comes just then.
    frozen = await start(steps.do(town.desk, claims["forget"]), Fate(stops_at=1))
    assert frozen is not None
    await town.add()
    await town.work()
    assert NAME in mailgun.known, "nothing was taken away yet"
    await frozen.thaw()
    assert NAME not in mailgun.known
    await town.later(timedelta(seconds=5))
    await town.work()
    assert list(mailgun.known) == [NAME]
    assert len(mailgun.routes) == 1


async def test_an_answer_that_never_came_keeps_others_away_until_it_is_known(
    town: Town, mailgun: Mailgun
) -> None:
    await town.add()
    mailgun.fails(None, Fault.RESET)
    claims = {await kind_of(town, one): one for one in await town.claimed(STEPS)}
    await steps.do(town.desk, claims["identify"])
    await town.add(workspace=town.other)
    for one in await town.claimed(STEPS):
        await steps.do(town.desk, one)
    begun = [row.begun_at is not None for row in await town.rows(select(t.domain_steps))]
    assert sorted(begun) == [False, False, False, True]
    assert mailgun.known == {}

    await town.later(timedelta(minutes=5))
    await town.work()
    await town.later(timedelta(minutes=5))
    await town.work()
    assert list(mailgun.known) == [NAME]
    assert {row.state for row in await town.rows(select(t.domain_steps))} == {"done"}


async def kind_of(town: Town, one: Claim) -> str:
    (row,) = await town.rows(select(t.domain_steps.c.kind).where(t.domain_steps.c.id == one.id))
    return str(row.kind)


async def _dropped(work: Any) -> None:
    await work


async def test_a_repeated_removal_goes_on_where_it_is(town: Town, mailgun: Mailgun) -> None:
    await town.add()
    await town.work()
    await town.remove()
    mailgun.refused.add(f"DELETE /v3/domains/{NAME}")
    await town.work()
    mailgun.refused.clear()
    assert (await town.domain()).removing_at is not None
    with pytest.raises(Conflict, match="already"):
        await town.add()
    await town.store.write_unscoped(
        removing.remove, town.desk, town.acme, NAME, force=False, actor="person:test"
    )
    await town.work()
    assert await counts(town) == _NOTHING


@pytest.mark.parametrize(("more", "bits"), [({}, 2048), ({"agent": "hello"}, 1024)])
async def test_the_provider_makes_a_key_of_the_length_that_is_set(
    town: Town, mailgun: Mailgun, more: dict[str, str], bits: int
) -> None:
    await town.add(f"mail.{NAME}", **more)
    await town.work()
    (made,) = [one for one in mailgun.requests if b"dkim_key_size" in one.body]
    assert re.search(rb"dkim_key_size\D+(\d+)", made.body)[1] == str(bits).encode()  # type: ignore[index]
