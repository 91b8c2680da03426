"""Machines that answer each other stop by themselves, and a person is told of it once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern

import pytest
import pytest_asyncio
from sqlalchemy import update

from mailagent.flow import chores
from mailagent.flow.states import FINAL
from mailagent.outgoing import Handoff, Reply
from mailagent.store import tables as t
from mailagent.tokens import new_id
from tests.flow.house import ANN, THERE, House, Space, mail
from tests.front_door import FrontDoor, front_door
from tests.smtp_sink import Taken

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(loop_scope="package")
async def door(house: House) -> AsyncIterator[FrontDoor]:
    async with front_door(house) as opened:
        yield opened


class Responder:
    """A naive machine behind the relay: it answers all mail to it, as nobody should.

    What it sends has no `Auto-Submitted`, no header of ours and none that names a thread: it looks
    like a person's first mail. With `in_thread` it answers as a mail program would.
    """

    def __init__(self, house: House, door: FrontDoor, address: str, *, in_thread: bool) -> None:
        self.address, self.answered = address, 0
        self._door, self._in_thread = door, in_thread
        house.sink.then = self._take

    async def _take(self, taken: Taken) -> None:
        if self.address not in taken.rcpt_to:
            return
        self.answered += 1
        asked = message_from_bytes(taken.content, _class=EmailMessage, policy=modern)
        said = EmailMessage()
        said["From"], said["Message-ID"] = self.address, f"<{new_id('bot')}@customer.example>"
        said["Subject"] = f"Ticket {self.answered} was opened"
        to = str(asked["From"].addresses[0].addr_spec)
        if self._in_thread:
            to = str(asked["Reply-To"].addresses[0].addr_spec)
            said["In-Reply-To"] = asked["Message-ID"]
        said["To"] = to
        said.set_content(f"We have received your mail, number {self.answered}.")
        answer = await self._door.send(
            said.as_bytes().replace(b"\n", b"\r\n"), to, mail_from=self.address, ip=THERE
        )
        assert answer.startswith("250 "), answer


async def at_rest(space: Space, of: Responder, mails: int) -> None:
    """Until the responder has answered so many, its last mail has its end, and all has left."""
    for number in range(mails):

        async def more(after: int = number) -> bool:
            return of.answered > after

        await space.house.until(more)

    async def look() -> bool:
        came = await space.rows(t.deliveries)
        unsent = await space.outbound(t.outbound_mails.c.state.in_(["queued", "sending"]))
        got = len(await space.outbound(t.outbound_mails.c.purpose == "reply"))
        ended = all(row.state in FINAL for row in came)
        return ended and not unsent and len(came) == 1 + of.answered == 1 + got

    await space.house.until(look)


@pytest.mark.parametrize(("in_thread", "mails"), [(True, 3), (False, 20)])
async def test_a_responder_without_any_mark_is_answered_so_often_and_a_person_is_told_once(
    house: House, door: FrontDoor, in_thread: bool, mails: int
) -> None:
    space = await house.workspace(lambda _: Reply("Thank you, and you?"))
    of = Responder(house, door, f"bot-{space.slug}@customer.example", in_thread=in_thread)
    raw = mail("Hello?", sender=of.address, to=space.address)
    await door.send(raw, space.address, mail_from=of.address, ip=THERE)
    await at_rest(space, of, mails)

    assert of.answered == mails  # it has had so many answers, and wrote once more in vain
    (*_, last) = await space.rows(t.deliveries, order=t.deliveries.c.received_at)
    assert (last.state, last.held_until) == ("looped", None)
    assert "two machines talking" in last.reason
    assert len(await space.notices()) == 1

    # Nor does it begin again by itself: a person looks.
    await house.later(timedelta(hours=25))
    await house.store.write_unscoped(chores.release_held)
    await at_rest(space, of, mails)
    assert of.answered == mails


async def test_it_is_told_once_however_many_mails_wait(house: House, door: FrontDoor) -> None:
    space = await house.workspace(limits={"replies_per_correspondent_an_hour": 2})
    for number in range(5):
        await door.send(mail(f"ping {number}"), space.address, mail_from=ANN, ip=THERE)

    async def look() -> bool:
        rows = await space.rows(t.deliveries)
        return len(rows) == 5 and all(row.state in FINAL for row in rows)

    await house.until(look)
    states = sorted(row.state for row in await space.rows(t.deliveries))
    assert states == ["answered"] * 2 + ["looped"] * 3
    (told,) = await space.notices()
    assert f"2 answers to {ANN} within an hour: it may be two machines" in told.get_content()
    other = "bo@spf-only.example"
    await space.answer_to(await space.receive(mail(sender=other), mail_from=other))


async def test_two_agents_of_ours_end_after_one_answer_and_a_person_is_told_once(
    house: House,
) -> None:
    space = await house.workspace(lambda _: Reply("Thank you, and you?"))
    desk_id = await space.another_agent("desk", lambda _: Reply("And you?"))
    desk = f"desk@{space.domain}"
    for _ in range(2):
        await space.sent_off(await space.send(desk, subject="Hello"), "sent")

    async def look() -> bool:
        rows = await space.rows(t.deliveries)
        return len(rows) == 4 and all(row.state in FINAL for row in rows)

    await house.until(look)
    came = await space.rows(t.deliveries)
    of_desk = [row.state for row in came if row.agent_id == desk_id]
    of_hello = [row for row in came if row.agent_id == space.agent_id]
    assert of_desk == ["answered"] * 2  # a person's wish, so each is answered
    assert [row.state for row in of_hello] == ["silent"] * 2
    assert "Auto-Submitted: auto-replied" in of_hello[0].reason
    (told,) = await space.notices()
    assert told["Subject"] == f"Two agents write to each other: {desk} and {space.address}"
    # Whichever was read first is the one that tells of it.
    stories = [await space.story(row.id) for row in of_hello]
    assert sum("two agents write to each other" in one for one in stories) == 1


async def test_a_notice_to_an_agent_that_hears_of_hand_overs_makes_no_other(house: House) -> None:
    space = await house.workspace(lambda _: Handoff("too hard"), owner=False)
    desk = f"desk@{space.domain}"
    await space.another_agent("desk")
    await space.write(
        lambda tx: tx.execute(update(t.agents).values(settings={"escalation_address": desk}))
    )
    await space.delivery(await space.receive(), "handed to a person")

    async def look() -> bool:
        rows = await space.rows(t.deliveries)
        return len(rows) == 2 and all(row.state in FINAL for row in rows)

    await house.until(look)
    (_, notice) = await space.rows(t.deliveries, order=t.deliveries.c.id)
    assert (notice.recipient, notice.state) == (desk, "silent")
    assert len(await space.outbound()) == 1
