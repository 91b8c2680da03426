"""A mail that the operator's spam filter objects to is kept and not answered; without its opinion
all goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from mailagent.screening import Rspamd
from tests.databases import SqliteDatabases
from tests.flow.house import ANN, House, Space, keep_house, mail
from tests.rspamd_server import RspamdServer, verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filter_() -> AsyncIterator[RspamdServer]:
    """The filter that `house` asks."""
    async with RspamdServer() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["accept", "wait"])
async def house(
    request: pytest.FixtureRequest,
    filter_: RspamdServer,
    sqlite_databases: SqliteDatabases,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[House]:
    """An installation with a filter, which waits for one that is away, or does not."""
    rspamd = Rspamd(filter_.url, timeout=timedelta(seconds=5))
    url = sqlite_databases.create(tmp_path_factory.mktemp("screened"))
    try:
        async with keep_house(
            url, screener=rspamd, screening_waits=request.param == "wait"
        ) as running:
            yield running
    finally:
        await rspamd.close()


@pytest.fixture(autouse=True)
def _well(filter_: RspamdServer) -> None:
    filter_.answers, filter_.status = verdict("no action", 0.4), 200
    filter_.asked.clear()


async def put_off(house: House, space: Space, delivery_id: str) -> None:
    """Until the delivery waits for the filter."""

    async def look() -> bool:
        return "waits to be screened" in await space.story(delivery_id)

    await house.until(look)


@pytest.mark.parametrize("action", ["reject", "add header", "rewrite subject"])
async def test_what_the_filter_takes_for_spam_is_kept_and_not_answered(
    house: House, filter_: RspamdServer, action: str
) -> None:
    filter_.answers = verdict(action, 8.5, {"BAYES_SPAM": 5.1, "URIBL": 3.4})
    space = await house.workspace()
    got = await space.receive()
    row = await space.delivery(got, "silent")
    assert row.reason.startswith(f"not answered: rspamd says {action} (8.5 of 15: BAYES_SPAM")
    assert row.thread_id is not None
    assert (space.turns, await space.outbound()) == ([], [])
    story = await space.story(got)
    told = f"screen: rspamd says {action} (8.5 of 15: BAYES_SPAM (+5.1), URIBL (+3.4))"
    assert told in story
    assert "read: spam mail" in story


async def test_the_filter_is_told_who_brought_the_mail(house: House, filter_: RspamdServer) -> None:
    space = await house.workspace()
    raw = mail(to=space.address)
    got = await space.receive(raw)
    await space.answer_to(got)
    (asked,) = filter_.asked
    assert asked.body == raw
    names = ("ip", "helo", "from", "rcpt", "queue-id")
    assert [asked.headers[name] for name in names] == [
        "192.0.2.1",
        "mx.customer.example",
        ANN,
        space.address,
        got,
    ]


@pytest.mark.parametrize("action", ["greylist", "soft reject"])
async def test_later_is_too_late_to_say_of_a_mail_that_was_taken(
    house: House, filter_: RspamdServer, action: str
) -> None:
    filter_.answers = verdict(action, 4.5)
    space = await house.workspace()
    got = await space.receive()
    assert (await space.answer_to(got)).state == "sent"
    assert f"rspamd says {action}, which is too late" in await space.story(got)


async def test_a_mail_that_nothing_is_said_against_is_answered(house: House) -> None:
    space = await house.workspace()
    got = await space.receive()
    assert (await space.answer_to(got)).state == "sent"
    assert "rspamd has no objection (0.4 of 15: no rule spoke)" in await space.story(got)


async def test_an_answer_that_nobody_understands_stops_no_mail(
    house: House, filter_: RspamdServer
) -> None:
    filter_.answers = b"<html>"
    space = await house.workspace()
    got = await space.receive()
    assert (await space.answer_to(got)).state == "sent"
    told = "not screened (rspamd: its answer cannot be read; the mail goes on)"
    assert told in await space.story(got)


async def test_a_filter_that_is_away_is_waited_for_where_that_is_wished(
    house: House, filter_: RspamdServer
) -> None:
    filter_.status = 503
    space = await house.workspace()
    got = await space.receive()
    if not house.services.settings.screening_waits:
        assert (await space.answer_to(got)).state == "sent"
        assert "not screened (rspamd: it answered with status 503" in await space.story(got)
        return
    await put_off(house, space, got)
    filter_.status = 200
    await house.later(timedelta(minutes=6))
    assert (await space.answer_to(got)).state == "sent"
    assert "rspamd has no objection" in await space.story(got)


async def test_nobody_waits_for_a_filter_longer_than_an_hour(
    house: House, filter_: RspamdServer
) -> None:
    filter_.status = 503
    space = await house.workspace()
    got = await space.receive()
    if house.services.settings.screening_waits:
        await put_off(house, space, got)
    await house.later(timedelta(minutes=61))
    assert (await space.answer_to(got)).state == "sent"
    assert "not screened" in await space.story(got)


async def test_what_is_not_answered_anyway_is_not_asked_about(
    house: House, filter_: RspamdServer
) -> None:
    space = await house.workspace()
    got = await space.receive(mail(headers={"Precedence": "bulk"}))
    await space.delivery(got, "silent")
    assert filter_.asked == []


async def test_a_complaint_to_the_owners_is_not_asked_about(
    house: House, filter_: RspamdServer
) -> None:
    filter_.answers = verdict("reject", 20)
    space = await house.workspace()
    got = await space.receive(mail("You sent me this spam"), f"abuse@{space.domain}")
    await space.delivery(got, "handed to a person")
    assert filter_.asked == []
