"""The keys of a domain whose owner keeps the records: shown, waited for, switched, forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from backend.domains import checking, rotation
from backend.domains.stored import CHECKS
from mailagent.errors import Conflict
from mailagent.store import signing_keys
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.dns_server import DnsServer
from tests.domains.town import NAME, Town, open_town
from tests.properties.fate import Fate, MortalStore, start

_MOST_COMMITS = 12


@pytest.fixture
def town(database_url: str, dns: DnsServer) -> Iterator[Town]:
    with open_town(database_url, dns, make_store=MortalStore) as opened:
        yield opened


async def verified(town: Town) -> None:
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    assert (await town.domain()).life.state == "verified"


async def rotate(town: Town) -> None:
    await rotation.rotate(town.desk, town.acme, NAME, actor="person:test")


async def signs(town: Town) -> tuple[str, str]:
    """The selectors that sign, of the RSA and of the Ed25519 key."""
    read, secrets = town.store.read_unscoped, town.desk.secrets
    rsa = await read(signing_keys.newest, secrets, NAME)
    beside = await read(signing_keys.beside, secrets, NAME)
    assert rsa is not None
    assert beside is not None
    return rsa.selector, beside.selector


async def selectors(town: Town) -> list[str]:
    """Those whose records are asked for."""
    return [each.name.partition(".")[0] for each in await town.records() if each.kind == "dkim"]


async def test_new_keys_are_shown_waited_for_and_sign_when_dns_has_them(town: Town) -> None:
    await verified(town)
    assert await signs(town) == ("mailagent1", "mailagent2")
    await rotate(town)
    assert await selectors(town) == ["mailagent1", "mailagent2", "mailagent3", "mailagent4"]
    await town.cycles(3)
    domain = await town.domain()
    assert (domain.life.state, domain.life.sending) == ("verified", "active"), "it takes its time"
    assert await signs(town) == ("mailagent1", "mailagent2"), "nobody has published them"

    await town.publish()
    await town.next_look()
    assert await signs(town) == ("mailagent3", "mailagent4")
    assert (await town.domain()).life.state == "verified"

    # The owner may not wait for the end of the week, in which nothing is due for old mail.
    for selector in ("mailagent1", "mailagent2"):
        town.dns.remove(f"{selector}._domainkey.{NAME}")
    await town.cycles(3)
    assert (await town.domain()).life.state == "verified"
    await town.later(timedelta(days=7))
    await town.work()
    assert await selectors(town) == ["mailagent3", "mailagent4"]
    assert f"{NAME}: the DKIM key at mailagent1 is gone" in await town.ledger()
    await town.cycles(2)
    assert (await town.domain()).life.state == "verified"

    await rotate(town)
    assert await selectors(town) == ["mailagent3", "mailagent4", "mailagent5", "mailagent6"]


async def test_each_key_signs_as_soon_as_it_is_there(town: Town) -> None:
    await verified(town)
    await rotate(town)
    town.put(each for each in await town.records() if each.name.startswith("mailagent4."))
    await town.next_look()
    assert await signs(town) == ("mailagent1", "mailagent4")
    await town.publish()
    await town.next_look()
    assert await signs(town) == ("mailagent3", "mailagent4")


async def test_a_wrong_record_signs_nothing_and_is_named(town: Town) -> None:
    await verified(town)
    await rotate(town)
    name = f"mailagent3._domainkey.{NAME}"
    town.dns.add({name: {"TXT": ["v=DKIM1; k=rsa; p=MIIBIjANBgkq"]}})
    looked = await town.look()
    assert await signs(town) == ("mailagent1", "mailagent2")
    assert looked.verdict is not None
    told = {one["name"]: one["status"] for one in looked.verdict["records"]}
    assert told[name] == "mismatch"
    assert looked.life.state == "verified"


async def test_what_waits_for_its_owner_can_be_dropped_and_what_signs_cannot(town: Town) -> None:
    await verified(town)
    with pytest.raises(Conflict, match="no new key"):
        await town.store.write(town.acme, rotation.cancel, NAME, actor="person:test")
    await rotate(town)
    with pytest.raises(Conflict, match="publish the records of its new keys, or drop them"):
        await rotate(town)
    await town.store.write(town.acme, rotation.cancel, NAME, actor="person:test")
    assert await selectors(town) == ["mailagent1", "mailagent2"]
    await rotate(town)
    await town.publish()
    await town.next_look()
    with pytest.raises(Conflict, match="no new key"):
        await town.store.write(town.acme, rotation.cancel, NAME, actor="person:test")
    with pytest.raises(Conflict, match="its next step is at"):
        await rotate(town)


async def test_a_domain_that_may_not_send_yet_has_no_keys_to_rotate(town: Town) -> None:
    await town.add()
    with pytest.raises(Conflict, match="not verified for sending yet"):
        await rotate(town)


async def test_keys_that_a_provider_holds_are_not_rotated_here(
    database_url: str, dns: DnsServer
) -> None:
    with open_town(database_url, dns, postmark_server_token="token-of-the-tests") as town:
        await town.add(carried_by=["postmark"])
        may_send = t.domains.update().values(
            sending_verified_at=town.store.now(), sending_state="active"
        )
        await town.store.write_unscoped(Transaction.execute, may_send)
        with pytest.raises(Conflict, match="its providers sign"):
            await rotate(town)


async def test_a_look_that_is_killed_anywhere_switches_once(town: Town) -> None:
    await verified(town)
    for stops_at in range(_MOST_COMMITS):
        await town.later(timedelta(days=8))
        await town.work()
        before = await signs(town)
        await rotate(town)
        await town.publish()
        (one,) = await town.claimed(CHECKS)
        frozen = await start(checking.check(town.desk, one), Fate(stops_at=stops_at))
        if frozen is None:
            return
        await frozen.die()
        await town.later(timedelta(minutes=2))
        await town.work()
        after = await signs(town)
        assert after != before
        rows = await town.rows(
            select(t.signing_keys.c.status).where(t.signing_keys.c.domain == NAME)
        )
        assert sorted(row.status for row in rows) == ["published"] * 3 + ["signing"]
    raise AssertionError("a look has more commits than were tried")
