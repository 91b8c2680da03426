"""A domain whose records we keep: three CNAMEs once, and keys that rotate behind them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from backend.domains import rotation
from mailagent.errors import Conflict
from mailagent.store import signing_keys
from mailagent.store import tables as t
from mailagent.store.signing_keys import StoredKey
from tests.dns_server import DnsServer
from tests.domains.town import DEFAULT, NAME, Town, open_town


async def keys(town: Town) -> dict[str, str]:
    """What each selector's key is for."""
    rows = await town.rows(select(t.signing_keys).where(t.signing_keys.c.domain == NAME))
    return {row.selector: row.status for row in rows}


async def signs(town: Town) -> str:
    found = await town.store.read_unscoped(signing_keys.newest, town.desk.secrets, NAME)
    assert isinstance(found, StoredKey)
    return found.selector


async def verified(town: Town) -> None:
    await town.add(delegation="cname")
    await town.work()
    await town.publish()
    await town.next_look()
    assert (await town.domain()).life.state == "verified"


async def test_its_owner_publishes_three_cnames_and_the_mx_and_we_the_rest(town: Town) -> None:
    await verified(town)
    records = await town.records()
    required = [(each.record.type, each.name) for each in records if each.required]
    assert sorted(required) == [
        ("CNAME", f"aexy.{NAME}"),
        ("CNAME", f"mailagent1._domainkey.{NAME}"),
        ("CNAME", f"mailagent2._domainkey.{NAME}"),
        ("MX", NAME),
    ]
    targets = {each.record.value for each in records if each.record.type == "CNAME"}
    assert all(target.endswith(f".return.{DEFAULT}") for target in targets)


async def test_what_we_do_not_publish_is_no_fault_of_the_owners(town: Town) -> None:
    await verified(town)
    base = next(each for each in await town.records() if each.kind == "verification").record.value
    town.dns.remove(base)
    looked = await town.look()
    assert looked.verdict is not None
    assert looked.verdict["failure"]["code"] == "chain_broken"
    assert "nothing to do at your DNS host" in looked.verdict["failure"]["message"]


async def test_a_key_is_rotated_by_publish_wait_switch_and_retire(town: Town) -> None:
    await verified(town)
    assert await signs(town) == "mailagent1"
    await rotation.rotate(town.desk, town.acme, NAME, actor="person:test")
    assert await signs(town) == "mailagent1", "it is published first"
    with pytest.raises(Conflict, match="under way"):
        await rotation.rotate(town.desk, town.acme, NAME, actor="person:test")

    # Our zone has it, and the look after the TTL finds it.
    await town.publish_zone()
    await town.later(timedelta(minutes=11))
    await town.work()
    assert await signs(town) == "mailagent2"
    assert await keys(town) == {"mailagent1": "published", "mailagent2": "signing"}
    assert (await town.domain()).life.state == "verified"

    await town.later(timedelta(days=7, minutes=1))
    await town.work()
    assert await keys(town) == {"mailagent1": "retired", "mailagent2": "signing"}
    await town.publish_zone()
    assert town.dns.zone[f"mailagent1._domainkey.{await base(town)}"]["TXT"] == ["v=DKIM1; p="]
    assert (await town.look()).life.state == "verified"
    await town.cycles(2)
    assert (await town.domain()).life.state == "verified", "a revoked key is as it should be"

    await rotation.rotate(town.desk, town.acme, NAME, actor="person:test")
    await town.publish_zone()
    await town.later(timedelta(minutes=11))
    await town.work()
    assert await signs(town) == "mailagent1", "and back"


async def test_a_key_that_dns_does_not_show_does_not_sign(town: Town) -> None:
    await verified(town)
    await rotation.rotate(town.desk, town.acme, NAME, actor="person:test")
    for _ in range(40):  # more than a day: over several regular looks
        await town.next_look()
    assert await signs(town) == "mailagent1"
    assert (await town.domain()).life.state == "verified", "the key that signs is right"

    await town.publish_zone()
    await town.next_look()
    assert await signs(town) == "mailagent2"


async def base(town: Town) -> str:
    verification = next(each for each in await town.records() if each.kind == "verification")
    return verification.record.value


async def test_it_is_offered_only_where_we_hold_the_key(database_url: str, dns: DnsServer) -> None:
    with open_town(database_url, dns, postmark_server_token="token-of-the-tests") as town:
        with pytest.raises(Conflict, match="Postmark signs with a DKIM key of its own"):
            await town.add(delegation="cname")
        assert await town.rows(select(t.domains)) == []
        assert (await town.add(delegation="cname", carried_by=["own"])).delegation == "cname"
