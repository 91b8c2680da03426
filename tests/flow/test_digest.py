"""The owners hear once a day of what waits for them, and never of nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest

from mailagent.flow import digest, waiting
from mailagent.outgoing import Handoff, Reply
from mailagent.store import tables as t
from tests.flow.house import House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def digests(space: Space) -> list[EmailMessage]:
    rows = await space.outbound(t.outbound_mails.c.message_id.like("<digest.%"))
    for row in rows:
        await space.sent_off(row.id, "sent")
    return [space.as_sent(row.message_id) for row in rows]


async def tell(space: Space) -> None:
    await space.write(lambda tx: digest.tell(tx, space.house.services))


async def quarantined(space: Space) -> str:
    forged = {"From": "eve@quarantined.example"}
    id_ = await space.receive(mail(to=space.address, headers=forged))
    await space.delivery(id_, "quarantined")
    return id_


async def test_nothing_is_told_when_nothing_waits(house: House) -> None:
    space = await house.workspace()
    await space.answer_to(await space.receive(mail(to=space.address)))
    await tell(space)
    assert await digests(space) == []


async def test_each_item_comes_with_the_command_and_the_link(house: House) -> None:
    space = await house.workspace()
    id_ = await quarantined(space)
    unknown = await space.send("bob@elsewhere.example")
    await space.sent_off(unknown, "sent")
    await space.write(lambda tx: tx.execute(t.outbound_mails.update().values(state="unknown")))

    await tell(space)

    (told,) = await digests(space)
    text = told.get_content()
    assert told["To"] == space.owner
    assert told["Auto-Submitted"] == "auto-generated"
    assert told["Subject"] == "2 mails wait for you"
    assert f"mailagent replay {id_}" in text
    assert f"https://mail.example/deliveries/{id_}" in text
    assert f"mailagent unknown sent {unknown}, or mailagent unknown again {unknown}" in text


async def test_there_is_one_a_day_however_often_it_is_due(house: House) -> None:
    space = await house.workspace()
    await quarantined(space)
    await digest.tell_owners(house.services)
    await digest.tell_owners(house.services)
    assert len(await digests(space)) == 1


async def test_a_hand_over_of_which_nobody_heard_is_told(house: House) -> None:
    space = await house.workspace(lambda _: Handoff("too hard"), owner=False)
    id_ = await space.receive(mail(to=space.address))
    await space.delivery(id_, "handed to a person")
    assert await house.store.read(space.id, waiting.count) == {
        "failed": 0, "quarantined": 0, "unknown": 0, "approval": 0, "unreached": 1,
    }  # fmt: skip
    told = await house.workspace(lambda _: Handoff("too hard"))
    await told.delivery(await told.receive(mail(to=told.address)), "handed to a person")
    assert (await house.store.read(told.id, waiting.count))["unreached"] == 0


async def test_a_draft_that_needs_a_yes_is_counted_and_told(house: House) -> None:
    space = await house.workspace(lambda _: Reply("Yes.", ask="a promise"))
    await space.delivery(await space.receive(mail(to=space.address)), "waiting for approval")
    assert (await house.store.read(space.id, waiting.count))["approval"] == 1
    await space.write(lambda tx: digest.tell(tx, house.services))
    (row,) = await space.rows(t.approvals)
    told = [one for one in await space.notices() if "waits for you" in str(one["Subject"])]
    assert f"mailagent approvals show {row.id}" in told[0].get_content()


async def test_it_never_goes_to_an_agents_address(house: House) -> None:
    space = await house.workspace()
    await quarantined(space)
    await house.store.write_unscoped(
        lambda tx: tx.execute(
            t.people.update().where(t.people.c.email == space.owner).values(email=space.address)
        )
    )
    await tell(space)
    assert await digests(space) == []


async def test_it_is_due_at_six_in_the_morning() -> None:
    night = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
    six = datetime(2026, 11, 21, 6, tzinfo=UTC)
    assert digest.next_time(night) == six
    assert digest.next_time(six) == six + timedelta(days=1)
