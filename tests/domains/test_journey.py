"""From typed to working, and what happens when it breaks: a custom domain's whole life.

`pytest -s tests/domains/test_journey.py` prints the transcript.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from backend.domains.stored import Domain
from backend.domains.workers import workers
from backend.domains.zone_servers import ZoneServers
from backend.installation import _signing_key
from mailagent.resolver import Resolver
from mailagent.store import tables as t
from mailagent.work import Wakeups
from tests.dns_server import DnsServer
from tests.domains.town import HOST, NAME, Town


class Transcript:
    """What the owner does and what the product says to it."""

    def __init__(self, town: Town) -> None:
        self._town = town

    def does(self, what: str) -> None:
        print(f"\n> {what}")

    async def sees(self) -> Domain:
        domain = await self._town.domain()
        failure = (domain.verdict or {}).get("failure")
        print(f"  {domain.name}: {domain.life.state}")
        if failure:
            print(f"  {failure['code']}: {failure['message']}")
        return domain


async def test_a_custom_domain_from_typed_to_verified_to_broken_and_back(town: Town) -> None:
    told = Transcript(town)
    told.does("mailagent domain add acme.example")
    await town.add()
    await town.work()
    domain = await told.sees()
    assert domain.life.state == "pending"
    assert domain.verdict is not None
    assert domain.verdict["failure"]["code"] == "ownership_missing"

    told.does("publishes everything, and the MX at another service")
    await town.publish()
    town.dns.add({NAME: {"MX": ["1 aspmx.l.google.com."]}})
    await town.next_look()
    domain = await told.sees()
    assert domain.verdict is not None
    failure = domain.verdict["failure"]
    assert failure["code"] == "mx_foreign"
    assert "Google Workspace" in failure["message"]
    assert HOST in failure["message"], "the mend says what to type"
    assert (domain.life.state, domain.life.sending) == ("pending", "active"), "it sends already"

    told.does("sets the MX right, and waits")
    town.dns.add({NAME: {"MX": [f"10 {HOST}."]}})
    await town.next_look()
    domain = await told.sees()
    assert domain.life.state == "verified", "nobody had to ask"
    assert domain.life.receiving_since is not None
    assert await town.notices() == []

    told.does("deletes the SPF record")
    spf = town.without(NAME, "TXT")
    await town.cycles()
    domain = await told.sees()
    assert (domain.life.state, domain.life.sending) == ("pending", "waiting")
    assert domain.life.receiving_since is not None
    assert await town.notices() == [], "one failure may be an accident"

    told.does("does nothing for six hours")
    await town.cycles()
    domain = await told.sees()
    assert domain.life.state == "failed"
    (notice,) = await town.notices()
    print(f"  a mail to the owners: {notice.subject}\n    from {notice.from_address}")
    print("    " + notice.outgoing["text"].replace("\n", "\n    "))
    assert notice.from_address == "postmaster@agents.example"
    assert notice.outgoing["to"][0]["address"] == "owner@acme.people.example"
    assert f"no SPF record at {NAME}" in notice.outgoing["text"]

    told.does("puts it back, and asks for a look")
    town.dns.add({NAME: {"TXT": spf}})
    await town.later(timedelta(days=1))
    assert await town.work() == 0, "what failed is not looked at by itself"
    domain = await town.look()
    await told.sees()
    assert (domain.life.state, domain.life.sending) == ("verified", "active")
    assert len(await town.notices()) == 1
    ledger = await town.ledger()
    print("\n  ledger:\n    " + "\n    ".join(ledger))
    assert [one.removeprefix(f"{NAME} ") for one in ledger] == [
        "added",
        "may send mail",
        "receives mail",
        "is verified",
        "is pending again: a record that was right is wrong",
        "has failed: it was wrong at two regular looks in a row",
        "may send mail",
        "is verified",
    ]


async def test_every_look_is_in_the_history_and_the_history_is_bounded(town: Town) -> None:
    domain = await town.add()
    old = [
        {
            "id": f"chk_{number:03}",
            "domain_id": domain.id,
            "at": domain.created_at - timedelta(hours=200 - number),
            "regular": False,
            "before": "pending",
            "after": "pending",
            "verdict": {},
        }
        for number in range(120)
    ]
    await town.store.write(town.acme, lambda tx: tx.insert(t.domain_checks, *old))
    await town.look()
    rows = await town.rows(select(t.domain_checks).order_by(t.domain_checks.c.at))
    assert len(rows) == 100
    assert rows[0].id == "chk_021", "the oldest go"
    assert rows[-1].verdict["failure"]["code"] == "ownership_missing"


def _servfail(dns: DnsServer) -> None:
    dns.failing(*dns.zone)


def _silence(dns: DnsServer) -> None:
    dns.silent(*dns.zone)


def _delay(dns: DnsServer) -> None:
    for name in dns.zone:
        dns.slow(name, 0.4)


def _half(dns: DnsServer) -> None:
    """What proves the domain answers, and what it needs does not."""
    dns.failing(NAME, f"mailagent1._domainkey.{NAME}")
    dns.silent(f"_dmarc.{NAME}")


@pytest.mark.parametrize("trouble", [_servfail, _silence, _delay, _half])
async def test_dns_in_trouble_for_a_day_takes_no_verified_domain_down(
    town: Town, trouble: Callable[[DnsServer], None]
) -> None:
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    assert (await town.domain()).life.state == "verified"

    hurried = Resolver(
        town.dns.address,
        attempt=timedelta(seconds=0.1),
        lifetime=timedelta(seconds=0.2),
        remembered=0,
    )
    servers = ZoneServers(hurried, town.desk.addresses_of, attempt=timedelta(seconds=0.1))
    vars(town.desk).update(resolver=hurried, zone_servers=servers)
    trouble(town.dns)
    await town.cycles(4)
    domain = await town.domain()
    assert (domain.life.state, domain.life.sending, domain.life.failures) == (
        "verified",
        "active",
        0,
    )
    assert domain.verdict is not None
    assert domain.verdict["failure"]["code"] == "dns_unknown", "the probe is shown all the same"
    assert await town.notices() == []


async def test_a_lame_delegation_takes_no_verified_domain_down(town: Town) -> None:
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    with DnsServer() as lame:  # it serves other zones: no answer of its has authority over this

        async def elsewhere(host: str) -> list[tuple[str, int]]:
            return [("127.0.0.1", lame.port)]

        lame.failing(*town.dns.zone)
        servers = ZoneServers(town.desk.resolver, elsewhere)
        vars(town.desk).update(zone_servers=servers)
        town.without(NAME, "MX")
        await town.cycles(2)
    assert (await town.domain()).life.state == "verified"


async def test_a_record_that_is_asked_for_later_takes_no_healthy_domain_down(town: Town) -> None:
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    # Since then the installation has another address, so its SPF term is new.
    object.__setattr__(town.desk.settings, "mailagent_public_ips", "192.0.2.25, 192.0.2.26")
    await town.cycles(3)
    domain = await town.domain()
    assert domain.life.state == "verified"
    assert domain.verdict is not None
    assert domain.verdict["failure"]["code"] == "spf_missing_include"
    assert await town.notices() == []


async def test_the_owners_of_a_domain_that_waits_for_three_days_are_told_once(town: Town) -> None:
    await town.add()
    await town.work()
    await town.later(timedelta(hours=73))
    await town.work()
    await town.next_look()
    (notice,) = await town.notices()
    assert notice.subject == f"{NAME} still waits for its DNS"
    assert f"_aexy-verification.{NAME}" in notice.outgoing["text"]
    assert (await town.domain()).life.state == "pending"


async def test_a_signed_mail_of_the_domain_has_both_keys(town: Town) -> None:
    await town.add()
    key = await town.store.read_unscoped(_signing_key, town.desk.secrets, NAME)
    assert key is not None
    assert key.beside is not None
    assert [key.selector, key.beside.selector] == ["mailagent1", "mailagent2"]
    names = {each.name for each in await town.records()}
    assert {f"{one}._domainkey.{NAME}" for one in ("mailagent1", "mailagent2")} <= names


async def test_a_network_that_hides_the_zones_servers_leaves_the_resolvers_word(
    town: Town,
) -> None:
    async def nowhere(host: str) -> list[tuple[str, int]]:
        return []

    object.__setattr__(town.desk, "addresses_of", nowhere)
    await town.add()
    await town.work()
    domain = await town.domain()
    assert domain.verdict is not None
    assert domain.verdict["failure"]["code"] == "ownership_missing"
    await town.publish()
    await town.next_look()
    assert (await town.domain()).life.state == "verified"

    town.without(NAME, "MX")
    await town.cycles(2)
    assert (await town.domain()).life.state == "verified", "one side alone takes nothing down"


async def test_workers_verify_a_domain_that_nobody_asks_about(town: Town) -> None:
    """The queues as a process runs them; time is let pass only between two looks."""
    wakeups, stop = Wakeups(town.store), asyncio.Event()
    running = [
        asyncio.create_task(worker.run(wakeups.event(name), stop))
        for name, worker in workers(town.desk).items()
    ]
    try:
        await town.add()
        await _until(town, lambda domain: domain.checked_at is not None)
        await town.publish()
        await town.later(timedelta(minutes=2))
        await _until(town, lambda domain: domain.life.state == "verified")
    finally:
        stop.set()
        await asyncio.gather(*running)
        wakeups.close()


async def _until(town: Town, true: Callable[[Domain], bool]) -> None:
    async with asyncio.timeout(30):
        while not true(await town.domain()):
            await asyncio.sleep(0.02)
