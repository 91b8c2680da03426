"""What is over for as long as the workspace said loses its words, and keeps its story."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailagent.flow import retention
from mailagent.flow.values import load_mails
from mailagent.store import tables as t
from tests.flow.house import ANN, House, Space, mail
from tests.flow.planted import allow_files, quoting

pytestmark = pytest.mark.asyncio(loop_scope="package")

_DAYS = timedelta(days=30)
_WORD = "zqxword"


async def answered(space: Space) -> str:
    raw = mail(f"{_WORD} body", to=space.address, subject=f"{_WORD} subject")
    id_ = await space.receive(raw)
    await space.answer_to(id_)
    return id_


async def words_left(space: Space) -> set[str]:
    """Tables in which the workspace's mail still says something."""
    tables = (t.raw_messages, t.messages, t.message_words, t.threads, t.turn_steps)
    return {
        table.name
        for table in (*tables, t.outbound_mails, t.attachments)
        for row in await space.rows(table)
        if _WORD in str(row)
    }


async def test_what_a_mail_said_goes_and_its_story_stays(house: House) -> None:
    space = await house.workspace(quoting, retention_days=30)
    await allow_files(space)
    id_ = await answered(space)
    assert {"raw_messages", "messages", "threads", "outbound_mails"} <= await words_left(space)

    await house.later(timedelta(days=31))
    await retention.keep_all(house.services)

    assert await words_left(space) == set()
    (row,) = await space.rows(t.deliveries)
    (raw,) = await space.rows(t.raw_messages)
    (message,) = await space.rows(t.messages)
    (sent,) = await space.outbound()
    assert (row.id, row.state, row.mail_from) == (id_, "answered", ANN)
    assert (row.content_removed_by, sent.content_removed_by) == ("retention", "retention")
    assert (raw.content, len(raw.sha256)) == (None, 64)
    assert message.from_address == ANN
    assert [one.content.text for one in await space.write(lambda tx: load_mails(tx, [id_]))] == [""]
    story = await space.story(id_)
    assert "decide: answered" in story
    assert "retention: content removed (the workspace keeps mail for 30 days)" in story


async def test_without_the_setting_everything_is_kept(house: House) -> None:
    space = await house.workspace()
    await answered(space)
    await house.later(timedelta(days=4_000))
    await retention.keep_all(house.services)
    assert "raw_messages" in await words_left(space)


async def test_what_waits_for_a_person_is_kept_until_it_is_put_away(house: House) -> None:
    space = await house.workspace(quoting)
    await allow_files(space)
    raw = mail(_WORD, to=space.address, subject="hand over")
    id_ = await space.receive(raw)
    await space.delivery(id_, "handed to a person")
    assert len(await space.notices()) == 1
    await house.later(timedelta(days=31))

    await retention.keep(house.store, space.id, _DAYS)
    assert "raw_messages" in await words_left(space)

    await space.write(lambda tx: tx.execute(t.deliveries.update().values(archived_at=tx.now)))
    await retention.keep(house.store, space.id, _DAYS)
    assert "raw_messages" not in await words_left(space)


async def test_the_days_count_from_the_last_thing_that_happened(house: House) -> None:
    space = await house.workspace()
    id_ = await answered(space)
    await house.later(timedelta(days=29))
    await space.write(
        lambda tx: tx.insert(
            t.ledger,
            {"delivery_id": id_, "at": tx.now, "step": "archive", "what": "", "why": "",
             "actor": "cli"},
        )
    )  # fmt: skip
    await house.later(timedelta(days=2))

    assert await retention.keep(house.store, space.id, _DAYS) == 1  # the answer alone

    await house.later(timedelta(days=29))
    assert await retention.keep(house.store, space.id, _DAYS) == 1


async def test_many_mails_go_in_several_transactions(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    space = await house.workspace()
    for _ in range(5):
        await answered(space)
    await house.later(timedelta(days=31))

    assert await retention.keep(house.store, space.id, _DAYS) == 10
    assert await retention.keep(house.store, space.id, _DAYS) == 0
