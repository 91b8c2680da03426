"""What happened to a mail, told in a person's words, by whatever id the person has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import select

from backend.inboxes.listing import one
from backend.inboxes.story import Story, story
from backend.outbound import deciding, writing
from backend.outbound.writing import Draft
from mailagent.errors import NotFound
from mailagent.mail import Address
from mailagent.outgoing import Handoff, Silence
from mailagent.sandbox import Sandbox
from mailagent.store.tables import outbound_recipients
from tests.backend.mailroom import HELLO, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, sandbox) as opened:
        yield opened


async def tell(room: Mailroom, id_: str) -> Story:
    told: Story = await room.ask(story, id_)
    return told


async def test_the_story_of_an_answered_mail_goes_from_the_door_to_the_far_side(
    room: Mailroom,
) -> None:
    delivery_id = await room.answered(mail(subject="Order 7"))

    told = await tell(room, delivery_id)

    assert told.title == f"Order 7 — from ann@customer.example to {HELLO}"
    steps = [line.step for line in told.lines]
    assert steps == [
        *("arrived", "read", "route", "thread", "think", "decide", "reply", "decide", "send")
    ]
    first, last = told.lines[0], told.lines[-1]
    assert "by SMTP from 127.0.0.1 (mx.customer.example), without TLS" in first.what
    assert "before the sender was told yes" in first.why
    assert "ann@customer.example: sent" in last.what
    assert "captured: kept and shown, never sent" in last.why
    assert last.took is not None
    assert [line.at for line in told.lines] == sorted(line.at for line in told.lines)
    came, went = told.endings
    assert (came.state, came.next_steps) == ("answered", ())
    assert "never sent" in went.means


async def test_one_story_is_found_by_every_id_of_it(room: Mailroom) -> None:
    delivery_id = await room.answered(mail(message_id="<ask@customer.example>"))
    item = await room.ask(one, delivery_id)
    (recipient,) = await room.rows(select(outbound_recipients))
    whole = await tell(room, delivery_id)

    for id_ in (
        "ask@customer.example",
        "<ask@customer.example>",
        f" {delivery_id} ",
        item.thread_id,
    ):
        assert (await tell(room, id_)).lines == whole.lines
    for id_ in (
        item.replies[0].id,
        item.replies[0].message_id,
        recipient.id,
        recipient.provider_id,
    ):
        assert (await tell(room, id_)).outbound_ids == whole.outbound_ids


async def test_an_id_that_nobody_knows_is_not_found(room: Mailroom) -> None:
    delivery_id = await room.answered()

    for id_ in ("dlv_none", "<none@x.example>", "", "%"):
        with pytest.raises(NotFound):
            await tell(room, id_)
    with pytest.raises(NotFound):
        await room.store.read("wsp_other", story, delivery_id)


async def test_an_operator_finds_a_mail_without_naming_its_workspace(room: Mailroom) -> None:
    delivery_id = await room.answered()

    told = await room.store.read_unscoped(story, delivery_id)

    assert (told.workspace_id, told.delivery_ids) == (room.workspace_id, (delivery_id,))


async def test_a_mail_that_waits_for_a_person_says_what_to_do(room: Mailroom) -> None:
    room.agent_says(Handoff("a refund needs a person"))
    delivery_id = await room.answered()

    told = await tell(room, delivery_id)

    ending = told.endings[0]
    assert (ending.state, ending.reason) == ("handed to a person", "a refund needs a person")
    assert ending.next_steps == (
        f"answer it from the agent's address: mailagent reply {delivery_id}",
    )
    assert any("told eva@shop.example" in line.what for line in told.lines)


async def test_a_silent_mail_says_why_nobody_answered(room: Mailroom) -> None:
    room.agent_says(Silence("only a thank-you"))
    delivery_id = await room.answered()

    (ending,) = (await tell(room, delivery_id)).endings

    assert (ending.state, ending.reason) == ("silent", "the agent decided: only a thank-you")
    assert "no answer is due" in ending.means


async def test_a_mail_that_is_just_accepted_has_a_story_already(room: Mailroom) -> None:
    delivery_id = await room.deliver(mail(), mail_from=None)

    told = await tell(room, delivery_id)

    assert "<> (empty: a machine's report)" in told.lines[0].what
    assert told.endings[0].state == "accepted"


async def test_a_new_mail_has_a_story_with_the_person_who_wrote_and_stopped_it(
    room: Mailroom,
) -> None:
    draft = Draft((Address("ann@customer.example"),), "News", "Hello.")
    queued = await room.do(
        writing.write, room.services, room.agent_id, draft, author="person:eva@shop.example"
    )
    await room.do(deciding.cancel, queued.id, actor="person:eva@shop.example")

    told = await tell(room, queued.message_id)

    assert told.title == f"News — from {HELLO}"
    assert told.lines[-1].actor == "person:eva@shop.example"
    assert told.endings[0].state == "ann@customer.example: cancelled"
