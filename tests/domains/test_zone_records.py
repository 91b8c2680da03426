"""What stands in our zone: it follows the domains we keep records for, and the accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from backend.domains import rotation
from backend.domains.name_service import name_service
from backend.domains.served_zone import ServedZone
from mailagent.store import tables as t
from tests.dns_server import DnsServer
from tests.domains.test_name_service import ask, secondary
from tests.domains.town import DEFAULT, HOST, NAME, Town, open_town
from tests.domains.zones import TSIG

ZONE: dict[str, Any] = {
    "mailagent_dns_name_servers": f"ns1.{DEFAULT}=192.0.2.53",
    "mailagent_dns_tsig": TSIG,
}


async def targets(town: Town) -> dict[str, str]:
    """What the CNAMEs lead to, by the first label of each."""
    records = await town.records()
    return {
        each.name.partition(".")[0]: each.record.value
        for each in records
        if each.record.type == "CNAME"
    }


async def answered(port: int, name: str, type_: str = "TXT") -> list[str]:
    """The values that the name service has."""
    response = await ask(port, name, type_)
    return [rdata.to_text() for rrset in response.answer for rdata in rrset]


async def test_what_stands_behind_cnames_is_served_rotated_and_gone_with_the_domain(
    database_url: str, dns: DnsServer
) -> None:
    async with secondary() as told:
        more = {**ZONE, "mailagent_dns_secondaries": f"127.0.0.1:{told.port}"}
        with open_town(database_url, dns, **more) as town:
            desk = town.desk
            async with name_service(
                town.store, desk.settings, desk.installed, host="127.0.0.1", port=0
            ) as port:
                await told.serial()
                await town.add(delegation="cname")
                await told.serial()
                behind = await targets(town)
                assert await answered(port, behind["aexy"], "MX") == [f"10 {HOST}."]
                assert await answered(port, behind["aexy"]) == ['"v=spf1 ip4:192.0.2.25 ~all"']
                first, second = await keys(port, behind)
                assert first != second

                await rotation.rotate(desk, town.acme, NAME, actor="person:test")
                await told.serial()
                assert (await keys(port, behind))[0] == first, "it signs still"
                assert (await keys(port, behind))[1] not in (second, ["v=DKIM1; p="])

                assert (await town.remove()).gone
                await told.serial()
                assert [await answered(port, one, "ANY") for one in behind.values()] == [[]] * 3


async def keys(port: int, behind: dict[str, str]) -> tuple[list[str], list[str]]:
    found = [await answered(port, behind[f"mailagent{number}"]) for number in (1, 2)]
    assert all(len(one) == 1 for one in found)
    return found[0], found[1]


async def test_a_revoked_key_is_served_as_revoked(database_url: str, dns: DnsServer) -> None:
    with open_town(database_url, dns, **ZONE) as town:
        served = ServedZone(town.store, town.desk.settings, town.desk.installed)
        await town.add(delegation="cname")
        await town.work()
        await town.publish()
        await town.next_look()
        await rotation.rotate(town.desk, town.acme, NAME, actor="person:test")
        await town.publish_zone()
        for wait in (timedelta(minutes=11), timedelta(days=7, minutes=1)):
            await served.refresh()
            await town.later(wait)
            await town.work()
        assert await served.refresh(), "the name server sees that something has changed"
        name = (await targets(town))["mailagent1"]
        assert f'{name}. 300 IN TXT "v=DKIM1; p="\n' in served.zone.to_text()


async def test_one_domain_that_makes_no_set_keeps_the_zone_from_nobody(
    database_url: str, dns: DnsServer
) -> None:
    with open_town(database_url, dns, **ZONE) as town:
        served = ServedZone(town.store, town.desk.settings, town.desk.installed)
        await town.add(delegation="cname")
        await town.store.write_unscoped(
            lambda tx: tx.execute(t.signing_keys.delete().where(t.signing_keys.c.domain == NAME))
        )
        await town.add("other.example", delegation="cname")
        await served.refresh()
        assert served.zone.to_text().count(".return.agents.example.") == 4, "the other's four"


async def test_accounts_that_send_for_the_default_domain_have_their_records_there(
    database_url: str, dns: DnsServer
) -> None:
    with open_town(database_url, dns, **ZONE, postmark_server_token="of the tests") as town:
        served = ServedZone(town.store, town.desk.settings, town.desk.installed)
        await served.refresh()
        text = served.zone.to_text()
    assert f"\npm-bounces.{DEFAULT}. 300 IN CNAME pm.mtasv.net.\n" in text
    spf = "v=spf1 include:spf.mtasv.net ip4:192.0.2.25 ~all"
    for name in (DEFAULT, f"*.{DEFAULT}"):
        assert f"\n{name}. 300 IN MX 10 {HOST}.\n" in text, "we take the mail in, whoever sends"
        assert f'\n{name}. 300 IN TXT "{spf}"\n' in text
