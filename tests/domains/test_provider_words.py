"""A provider's own word: shown as it is, read at each look, and asked for anew only by a person."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from backend.domains import changing
from backend.domains.overview import Overview, overview
from mailagent.errors import Conflict
from tests.dns_server import DnsServer
from tests.domains.town import NAME, Town, open_town
from tests.ses_identities import SesControlServer

_SIGNING = f"PUT /v2/email/identities/{NAME}/dkim/signing"


@pytest.fixture
async def ses() -> AsyncIterator[SesControlServer]:
    async with SesControlServer() as server:
        yield server


@pytest.fixture
async def town(database_url: str, dns: DnsServer, ses: SesControlServer) -> AsyncIterator[Town]:
    dns.add({"amazonses.com": {"TXT": ["v=spf1 ip4:192.0.2.10 ~all"]}})
    with open_town(
        database_url,
        dns,
        aws_ses_region="eu-west-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SecretStr("a-secret-of-the-tests"),
        ses_base_url=ses.url,
    ) as opened:
        yield opened


async def shown(town: Town) -> Overview:
    return await town.store.read(town.acme, overview, town.desk, NAME)


async def added(town: Town) -> None:
    await town.add(mode="send_only")
    await town.work()
    await town.publish()


async def test_ses_asks_for_its_three_cnames_and_its_word_is_shown(
    town: Town, ses: SesControlServer
) -> None:
    await added(town)
    records = await town.records()
    tokens = [each for each in records if each.record.value.endswith(".dkim.amazonses.com")]
    assert len(tokens) == 3
    await town.look()
    one = await shown(town)
    assert (one.verification_status, one.ses_dkim_status) == ("verifying", "pending")

    ses.publish(NAME, dkim="SUCCESS", mail_from="SUCCESS")
    await town.next_look()
    one = await shown(town)
    assert (one.verification_status, one.ses_dkim_status) == ("verified", "success")
    assert one.words["cms"] == "success"


async def test_what_a_provider_gave_up_is_resubmitted_once_and_only_then(
    town: Town, ses: SesControlServer
) -> None:
    await added(town)
    with pytest.raises(Conflict, match="no provider has given up"):
        await changing.resubmit(town.desk, town.acme, NAME, actor="person:test")
    ses.publish(NAME, dkim="FAILED", mail_from="FAILED")
    await town.look()
    one = await shown(town)
    assert one.may_resubmit
    assert one.verification_failure is not None
    assert one.verification_failure["code"] == "provider_failed"
    before = ses.changes.count(_SIGNING)

    # A record is wrong again by now: it is said, and not refused.
    town.without(f"_dmarc.{NAME}", "TXT")
    done = await changing.resubmit(town.desk, town.acme, NAME, actor="person:test")
    assert done.asked == ("ses",)
    assert any("still wrong" in one and "_dmarc" in one for one in done.warnings)
    assert any("at most 72" in one for one in done.warnings)
    assert ses.changes.count(_SIGNING) == before + 1
    with pytest.raises(Conflict, match="no provider has given up"):
        await changing.resubmit(town.desk, town.acme, NAME, actor="person:test")


async def test_a_provider_that_gives_up_takes_a_verified_domain_down_by_two_cycles(
    town: Town, ses: SesControlServer
) -> None:
    await added(town)
    ses.publish(NAME, dkim="SUCCESS", mail_from="SUCCESS")
    await town.look()
    ses.publish(NAME, dkim="FAILED")
    await town.cycles()
    assert (await town.domain()).life.sending == "waiting"
    ses.publish(NAME, dkim="SUCCESS")
    await town.next_look()
    assert (await town.domain()).life.state == "verified"
