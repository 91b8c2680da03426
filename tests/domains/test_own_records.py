"""What stands in our zone beside what we publish: the operator's own records, and providers'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import update

from backend.domains import infrastructure, zone_editing
from backend.domains.name_service import name_service
from backend.domains.served_zone import ServedZone, current_zone
from backend.domains.zone_checks import zone_checks
from backend.domains.zone_editing import OwnRecord
from backend.domains.zone_watch import Standing, standing
from backend.workspaces import service as workspaces
from mailagent.errors import Conflict, Malformed, Misconfigured, NotFound
from mailagent.identity import DnsRecord
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.dns_server import DnsServer
from tests.domains.test_name_service import ask
from tests.domains.test_steps import Mailgun
from tests.domains.test_zone_records import ZONE
from tests.domains.town import DEFAULT, HOST, Town, open_town
from tests.mailgun_server import KEY


@pytest.fixture
async def mailgun() -> AsyncIterator[Mailgun]:
    """An account that knows the default domain."""
    async with Mailgun() as server:
        known = {"name": DEFAULT, "wildcard": True, "spam_action": "disabled", "web_prefix": "x"}
        server.known[DEFAULT] = known
        yield server


@pytest.fixture
def town(database_url: str, dns: DnsServer) -> Iterator[Town]:
    with open_town(database_url, dns, **ZONE) as opened:
        yield opened


def text(town: Town) -> str:
    return current_zone(town.store, town.desk.settings, town.desk.installed).to_text()


def edit(town: Town, name: str, type_: str, value: str) -> OwnRecord:
    record = DnsRecord(cast("Any", type_), name, value)
    return town.store.write_now(
        None,
        lambda tx: zone_editing.add(tx, town.desk.settings, town.desk.installed(tx), record),
    )


def listed(town: Town) -> list[tuple[str, str]]:
    found = town.store.read_now(
        None, lambda tx: zone_editing.listed(tx, town.desk.settings, town.desk.installed(tx))
    )
    return [(f"{one.name} {one.type} {one.value}", one.left_out) for one in found]


async def test_records_of_a_web_site_are_served_until_they_are_removed(town: Town) -> None:
    served = ServedZone(town.store, town.desk.settings, town.desk.installed)
    await served.refresh()
    for name, type_, value in (
        ("@", "A", "192.0.2.80"),
        ("@", "AAAA", "2001:db8::80"),
        ("@", "TXT", "google-site-verification=abc"),
        ("www", "A", "192.0.2.80"),
        ("www", "A", "192.0.2.81"),
        (f"Shop.{DEFAULT}.", "CNAME", "Shops.Example."),
    ):
        edit(town, name, type_, value)
    assert await served.refresh(), "the name server sees that something has changed"
    lines = served.zone.to_text().splitlines()
    for line in (
        f"{DEFAULT}. 300 IN A 192.0.2.80",
        f"{DEFAULT}. 300 IN AAAA 2001:db8::80",
        f'{DEFAULT}. 300 IN TXT "google-site-verification=abc"',
        f"www.{DEFAULT}. 300 IN A 192.0.2.81",
        f"shop.{DEFAULT}. 300 IN CNAME shops.example.",
    ):
        assert line in lines
    assert all(reason == "" for _, reason in listed(town))
    assert len(listed(town)) == 6

    (first, *_) = town.store.read_now(
        None, lambda tx: zone_editing.listed(tx, town.desk.settings, town.desk.installed(tx))
    )
    town.store.write_now(None, zone_editing.remove, first.id)
    with pytest.raises(NotFound):
        town.store.write_now(None, zone_editing.remove, first.id)
    assert len(listed(town)) == 5


@pytest.mark.parametrize(
    ("name", "type_", "value", "says"),
    [
        ("@", "CNAME", "site.example", "takes mail, and a CNAME would take the place of its MX"),
        ("*", "CNAME", "site.example", "takes mail"),
        ("acme", "CNAME", "site.example", "takes mail"),
        ("@", "TXT", "v=spf1 include:site.example -all", "the SPF record that mailagent keeps"),
        ("*", "TXT", "v=SPF1 -all", "the SPF record that mailagent keeps"),
        ("acme", "TXT", "v=spf1 -all", "the SPF record that mailagent keeps"),
        ("_dmarc", "TXT", "v=DMARC1; p=none", "has such a record, which mailagent keeps"),
        ("_dmarc", "CNAME", "dmarc.example", "and a CNAME stands alone there"),
        ("ns1", "A", "192.0.2.99", "has A 192.0.2.53, which mailagent keeps"),
        ("mx", "CNAME", "other.example", "has A 192.0.2.25"),
        ("a.return", "TXT", "x", "managed domains and return paths"),
        ("two", "CNAME", "other.example", "has A 192.0.2.2"),
        ("one", "A", "192.0.2.2", "has CNAME one.example"),
        ("two", "A", "192.0.2.2", "has this A record already"),
    ],
)
async def test_what_would_take_the_place_of_another_record_is_refused(
    town: Town, name: str, type_: str, value: str, says: str
) -> None:
    edit(town, "one", "CNAME", "one.example")
    edit(town, "two", "A", "192.0.2.2")
    before = text(town)
    with pytest.raises(Conflict) as refused:
        edit(town, name, type_, value)
    assert says in str(refused.value)
    assert text(town) == before


@pytest.mark.parametrize(
    ("name", "type_", "value", "field"),
    [
        ("www", "MX", "mail.example", "type"),
        ("sub", "NS", "ns.example", "type"),
        ("www", "A", "not an address", f"A www.{DEFAULT}"),
        ("www", "AAAA", "192.0.2.1", f"AAAA www.{DEFAULT}"),
        ("a..b", "A", "192.0.2.1", f"a..b.{DEFAULT}"),
        ("_x._tcp", "SRV", "1 587 mx.example", f"SRV _x._tcp.{DEFAULT}"),
    ],
)
async def test_what_is_no_record_names_what_is_wrong(
    town: Town, name: str, type_: str, value: str, field: str
) -> None:
    with pytest.raises(Malformed) as refused:
        edit(town, name, type_, value)
    assert refused.value.field == field


async def test_a_workspace_that_comes_later_keeps_its_mail(town: Town) -> None:
    edit(town, "shop", "CNAME", "shops.example")
    edit(town, "blog", "A", "192.0.2.80")
    assert f"shop.{DEFAULT}. 300 IN CNAME" in text(town)
    for slug in ("shop", "blog"):
        await town.store.write_unscoped(workspaces.create, slug, slug)
    zone = text(town)
    assert f"shop.{DEFAULT}." not in zone, "by the wildcard it has its MX"
    assert f"blog.{DEFAULT}. 300 IN MX 10 {HOST}." in zone, "the address hides the wildcard"
    assert f"blog.{DEFAULT}. 300 IN A 192.0.2.80" in zone
    reasons = dict(listed(town))
    assert "takes mail" in reasons[f"shop.{DEFAULT} CNAME shops.example"]
    assert reasons[f"blog.{DEFAULT} A 192.0.2.80"] == ""


# --- what only a provider knows ---


@asynccontextmanager
async def with_mailgun(
    database_url: str, dns: DnsServer, mailgun: Mailgun, **more: Any
) -> AsyncIterator[Town]:
    account: dict[str, Any] = {"mailgun_api_key": KEY, "mailgun_base_url": mailgun.url}
    account["public_url"] = "https://mail.agents.example"
    with open_town(database_url, dns, **ZONE, **account, **more) as town:
        yield town


async def test_the_dkim_records_of_a_provider_are_in_the_zone_once_it_was_asked(
    database_url: str, dns: DnsServer, mailgun: Mailgun
) -> None:
    async with with_mailgun(database_url, dns, mailgun) as town:
        served = ServedZone(town.store, town.desk.settings, town.desk.installed)
        await served.refresh()
        key = f"mx._domainkey.{DEFAULT}. 300 IN TXT"
        assert key not in served.zone.to_text()
        await infrastructure.ask(town.desk)
        assert await served.refresh()
        zone = served.zone.to_text()
        assert key in zone
        assert f"{DEFAULT}. 300 IN MX 10 {HOST}." in zone, "mail comes in by our own server"
        assert "mxa.mailgun.org" not in zone

        await infrastructure.ask(town.desk)
        assert not await served.refresh(), "the same answer is the same zone"
        mailgun.known.clear()
        await infrastructure.ask(town.desk)
        await served.refresh()
        assert key not in served.zone.to_text(), "the provider has forgotten the domain"


async def test_an_answer_that_did_not_come_leaves_what_was_said_before(
    database_url: str, dns: DnsServer, mailgun: Mailgun
) -> None:
    async with with_mailgun(database_url, dns, mailgun) as town:
        await infrastructure.ask(town.desk)
        before = text(town)
        mailgun.refused.add(f"GET /v4/domains/{DEFAULT}")
        told = await infrastructure.ask(town.desk)
        assert told["mailgun"].sending == "unknown"
        assert text(town) == before


async def test_a_record_of_a_provider_that_would_take_a_workspaces_mail_is_left_out(
    database_url: str, dns: DnsServer, mailgun: Mailgun
) -> None:
    """Mailgun's tracking host is a CNAME at `email`, which is a name that a workspace may have."""
    async with with_mailgun(database_url, dns, mailgun) as town:
        await infrastructure.ask(town.desk)
        assert f"email.{DEFAULT}. 300 IN CNAME mailgun.org." in text(town)
        await town.store.write_unscoped(workspaces.create, "email", "Email")
        assert f"email.{DEFAULT}." not in text(town)


async def test_mail_comes_in_by_the_account_that_the_operator_chose(
    database_url: str, dns: DnsServer, mailgun: Mailgun
) -> None:
    async with with_mailgun(database_url, dns, mailgun, mailagent_dns_mx="mailgun") as town:
        zone = text(town)
        for name in (DEFAULT, f"*.{DEFAULT}"):
            assert f"{name}. 300 IN MX 10 mxa.mailgun.org." in zone
            assert f"\n{name}. 300 IN MX 10 {HOST}." not in zone
        assert f"return.{DEFAULT}. 300 IN MX 10 {HOST}." in zone, "bounces of our own server"
        wanted = await infrastructure.records_now(town.desk)
        exchanges = {each.record.value for each in wanted if each.kind == "mx"}
        assert exchanges == {"mxa.mailgun.org", "mxb.mailgun.org"}, "doctor asks for the same"


async def test_an_account_that_brings_no_mail_cannot_be_chosen(
    database_url: str, dns: DnsServer
) -> None:
    with (
        open_town(database_url, dns, **ZONE, mailagent_dns_mx="mailgun") as town,
        pytest.raises(Misconfigured, match="MAILAGENT_DNS_MX: is mailgun, which is no account"),
    ):
        text(town)


# --- whether it is served ---


async def standing_now(town: Town) -> Standing:
    return await town.store.read_unscoped(standing)


async def until(town: Town, seen: Any) -> Standing:
    async with asyncio.timeout(30):
        while not seen(found := await standing_now(town)):
            await asyncio.sleep(0.02)
    return found


async def test_a_name_server_and_its_secondaries_are_watched(
    database_url: str, dns: DnsServer
) -> None:
    old = f"ns1.{DEFAULT}. hostmaster.{DEFAULT}. 7 300 60 1209600 60"
    with DnsServer({DEFAULT: {"SOA": [old]}}) as behind, DnsServer() as empty:
        places = f"127.0.0.1:{behind.port} 127.0.0.1:{empty.port}"
        more = {**ZONE, "mailagent_dns_secondaries": places}
        more["mailagent_dns_name_servers"] = "ns1.elsewhere.example"
        with open_town(database_url, dns, **more) as town:
            assert (await standing_now(town)).counts == {}
            edit(town, "shop", "CNAME", "shops.example")
            await town.store.write_unscoped(workspaces.create, "shop", "Shop")
            before = {one.name: one.verdict async for one in zone_checks(town.desk)}
            assert (before["zone"], before["name server"]) == ("ok", "wrong")
            assert before[f"record shop.{DEFAULT}"] == "wrong", "it had to be left out"
            desk = town.desk
            async with name_service(
                town.store, desk.settings, desk.installed, host="127.0.0.1", port=0
            ) as port:
                assert (await ask(port, DEFAULT, "SOA")).answer
                found = await until(town, lambda one: one.serving)
                assert found.away == (f"127.0.0.1:{empty.port}",)
                assert found.behind == (), "it has a minute to follow"
                checks = {one.name: one async for one in zone_checks(desk)}
                assert checks["name server"].verdict == "ok"
                late = checks[f"zone at 127.0.0.1:{behind.port}"]
                assert (late.verdict, late.found) == (
                    "wrong",
                    f"has serial 7, behind {found.serial}",
                )
                gone = checks[f"zone at 127.0.0.1:{empty.port}"]
                assert (gone.verdict, gone.found) == ("wrong", "answers NXDOMAIN")
            ago = town.store.now() - timedelta(minutes=5)
            await town.store.write_unscoped(
                Transaction.execute, update(t.zone_serials).values(changed_at=ago)
            )
            assert (await standing_now(town)).counts == {
                "serving": 1,
                "secondaries_behind": 1,
                "secondaries_away": 1,
            }
            await town.store.write_unscoped(
                Transaction.execute, update(t.zone_servers).values(asked_at=ago)
            )
            assert not (await standing_now(town)).serving, "nobody has written for too long"
