"""What a sealer vouches for is answered, and the story says whose word it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mailagent.authentication import dkim
from tests.authentication.seals import sealed
from tests.databases import SqliteDatabases
from tests.flow.house import ANN, House, keep_house, mail

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEALER = "lists.example"
KEY = dkim.new_key("rsa2048")
SAW_PASS = "dmarc=pass header.from=customer.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """An installation that believes one sealer."""
    url = sqlite_databases.create(tmp_path_factory.mktemp("forwarded"))
    async with keep_house(url, arc_sealers=(SEALER,)) as running:
        yield running


async def test_a_forwarded_mail_is_answered_by_the_word_of_a_listed_sealer(house: House) -> None:
    space = await house.workspace()
    house.dns.add({f"s1._domainkey.{SEALER}": {"TXT": [KEY.public_record]}})
    raw = sealed(mail(), SEALER, SAW_PASS, KEY, at=house.store.now())
    got = await space.receive(raw, mail_from=ANN, ip="198.51.100.9")
    assert (await space.answer_to(got)).state == "sent"
    story = await space.story(got)
    assert f"ARC pass ({SEALER}), DMARC pass for customer.example (by ARC of {SEALER}" in story
    assert f"DMARC passed for customer.example, aligned by ARC of {SEALER}" in story
    assert house.taken(ANN) != []


async def test_the_seal_of_anybody_else_saves_no_forged_mail(house: House) -> None:
    space = await house.workspace()
    house.dns.add({"s1._domainkey.evil.example": {"TXT": [KEY.public_record]}})
    raw = sealed(mail(), "evil.example", SAW_PASS, KEY, at=house.store.now())
    got = await space.receive(raw, mail_from="x@evil.example", ip="198.51.100.9")
    assert "asks to reject" in (await space.delivery(got, "quarantined")).reason
    assert "ARC pass (evil.example), DMARC fail" in await space.story(got)


async def test_a_sealers_key_that_dns_does_not_tell_is_waited_for(house: House) -> None:
    space = await house.workspace()
    house.dns.add({f"s1._domainkey.{SEALER}": {"TXT": [KEY.public_record]}})
    raw = sealed(mail(), SEALER, SAW_PASS, KEY, at=house.store.now())
    raw = raw.replace(b"s=s1", b"s=s2")
    house.dns.failing(f"s2._domainkey.{SEALER}")
    got = await space.receive(raw, mail_from=ANN, ip="198.51.100.9")

    async def waits() -> bool:
        return "waits for DNS" in await space.story(got)

    await house.until(waits)
