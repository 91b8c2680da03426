"""A call of a tool waits for a yes like a draft, and is done once by whoever is there to do it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from mailagent.agents import Turn
from mailagent.errors import Conflict
from mailagent.flow import approval_times, approvals
from mailagent.flow.tools import agreed, custom
from mailagent.outgoing import Reply
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from mailagent.work import Claim
from tests.api_server import ApiServer, Request
from tests.api_server import Reply as Answered
from tests.flow.house import House, Space, mail
from tests.flow.test_approvals import BOB, EVA, approve, decide, notice, say, the_approval

pytestmark = pytest.mark.asyncio(loop_scope="package")


def wants(name: str, wish: dict[str, Any]) -> Callable[[Turn], Any]:
    """A mind that uses a tool in its first turn, and answers."""

    async def mind(turn: Turn) -> Reply:
        if not turn.reminders:
            await turn.tools.use("call_1", name, wish)
        return Reply("Thank you.")

    return mind


NOTES = wants("note_contact", {"note": "vip"})


async def asked(
    house: House,
    mind: Callable[[Turn], Any] = NOTES,
    *,
    prepare: Callable[[Space], Any] | None = None,
    **limits: Any,
) -> tuple[Space, AnyRow]:
    """A workspace whose agent has asked to use a tool for a stranger; Eva decides."""
    space = await house.workspace(mind, limits={"approvers": [EVA], **limits})
    cells = {"stranger": {"changes": "ask", "sends": "ask"}}
    policy = {"agent_id": "", "version": 1, "cells": cells, "author": "cli"}
    await space.write(lambda tx: tx.insert(t.policies, {**policy, "created_at": tx.now}))
    if prepare is not None:
        await prepare(space)
    await space.answer_to(await space.receive(mail("Please.", subject="A wish")))
    return space, await the_approval(space)


async def call_of(space: Space) -> AnyRow:
    (row,) = await space.rows(t.tool_calls)
    return row


async def ended(space: Space, state: str) -> AnyRow:
    """The call, once it is in this state and its agent has had the turn in which it hears of it."""

    async def look() -> AnyRow | None:
        row = await call_of(space)
        return row if row.state == state and len(space.turns) == 2 else None

    row: AnyRow = await space.house.until(look)
    return row


async def notes(space: Space) -> list[str]:
    return [row.note for row in await space.rows(t.contact_notes)]


async def test_a_call_waits_in_the_queue_and_is_done_once_when_a_person_agrees(
    house: House,
) -> None:
    space, row = await asked(house)
    call = await call_of(space)
    assert (row.kind, row.state, row.call_id) == ("call", "waiting", call.id)
    assert row.reasons == [f"{call.why}"]
    assert "stranger, changes" in call.why
    assert await notes(space) == []

    await approve(space, row, digest=row.digest)

    done = await ended(space, "done")
    assert (done.decided_by, done.why) == (f"person:{EVA}", f"approved by {EVA}")
    assert await notes(space) == ["vip"]
    (reminder,) = space.turns[1].reminders
    assert (reminder.kind, reminder.author) == ("answer", EVA)
    assert reminder.text == "About note_contact: A person agreed. Noted."
    with pytest.raises(Conflict, match=f"it was approved by {EVA}"):
        await decide(space, approvals.reject, row.id, actor=f"person:{BOB}")
    story = await space.story(row.delivery_id)
    assert "tool: note_contact: done" in story
    assert "approve: call approved" in story


async def test_the_notice_shows_what_is_wanted_and_a_reply_to_it_decides(house: House) -> None:
    space, row = await asked(house)
    asks = await notice(space)
    assert asks["Subject"] == "May hello do this? note_contact"
    for part in ("note: vip", row.reasons[0], "> Please.", f"mailagent approvals show {row.id}"):
        assert part in asks.get_content()
    said = await say(space, "approve")
    assert said.reason == f"{EVA} has approved {row.id}"
    await ended(space, "done")
    assert await notes(space) == ["vip"]


async def test_a_no_by_mail_is_told_to_the_agent_with_its_reason(house: House) -> None:
    space, _ = await asked(house)
    await say(space, "reject: not before May")
    await ended(space, "refused")
    assert "did not agree: not before May" in space.turns[1].reminders[0].text
    assert await notes(space) == []


async def test_people_are_reminded_of_a_call_and_what_nobody_decides_is_not_done(
    house: House,
) -> None:
    space, row = await asked(house, at_expiry="approve")
    assert row.at_expiry == "reject"
    for told, owner in ((2, 0), (3, 1)):
        await house.later(timedelta(hours=5))
        await approval_times.pass_time(house.services)
        assert len(await space.notices(EVA)) == told
        assert len(await space.notices()) == owner
    await house.later(timedelta(hours=73))
    await approval_times.pass_time(house.services)
    await ended(space, "refused")
    assert (await the_approval(space)).state == "expired"
    assert "Nobody decided in time" in space.turns[1].reminders[0].text
    assert await notes(space) == []


async def test_a_participants_next_mail_leaves_a_call_waiting(house: House) -> None:
    space, row = await asked(house)
    sent = (await space.outbound(t.outbound_mails.c.purpose == "reply"))[0].message_id
    again = mail("More.", to=space.address, headers={"In-Reply-To": sent})
    await space.answer_to(await space.receive(again))
    assert (await the_approval(space, t.approvals.c.id == row.id)).state == "waiting"


# --- outside ----------------------------------------------------------------------------------


class Far(ApiServer):
    """A far side that does what it is asked."""

    def reply(self, request: Request) -> Answered:
        return Answered(200, b'{"ok": true}')


def with_tool(server: Far, *, repeatable: bool = False) -> Callable[[Space], Any]:
    async def prepare(space: Space) -> None:
        services = space.house.services
        await space.write(
            lambda tx: custom.add(
                tx,
                services.secrets,
                services.egress,
                space.agent_id,
                name="cancel_order",
                description="Cancels an order by its number.",
                input_schema={"type": "object", "properties": {"order": {"type": "string"}}},
                effect="changes",
                method="POST",
                url=f"{server.url}/cancel",
                repeatable=repeatable,
            )
        )

    return prepare


CANCELS = wants("cancel_order", {"order": "17"})


async def test_a_call_to_the_outside_is_made_under_its_key_and_its_answer_told(
    house: House,
) -> None:
    async with Far() as server:
        space, row = await asked(house, CANCELS, prepare=with_tool(server))
        assert server.requests == []
        await approve(space, row)
        done = await ended(space, "done")
        (request,) = server.requests
    assert request.headers["idempotency-key"] == f"mailagent-{done.id}"
    assert '"status": 200' in space.turns[1].reminders[0].text


async def died_at_it(space: Space, row: AnyRow) -> None:
    """Somebody agreed, and the process died after it had begun to ask the far side."""

    def work(tx: Any) -> None:
        approvals.approve(tx, space.house.services, row.id, actor=f"person:{EVA}")
        began = {"begun_at": tx.now, "claimed_by": "clm_dead", "lease_until": tx.now}
        tx.execute(update(t.tool_calls).where(t.tool_calls.c.id == row.call_id).values(**began))

    await space.write(work)


async def test_what_may_have_been_done_when_the_process_died_is_not_repeated(
    house: House,
) -> None:
    async with Far() as server:
        space, row = await asked(house, CANCELS, prepare=with_tool(server))
        await died_at_it(space, row)
        await ended(space, "unknown")
        assert server.requests == []
    assert any(one["Subject"] == "Was this done? cancel_order" for one in await space.notices())
    assert "It may have been done or not" in space.turns[1].reminders[0].text


async def test_what_the_far_side_knows_by_its_key_is_asked_again(house: House) -> None:
    async with Far() as server:
        space, row = await asked(house, CANCELS, prepare=with_tool(server, repeatable=True))
        await died_at_it(space, row)
        done = await ended(space, "done")
        (request,) = server.requests
    assert request.headers["idempotency-key"] == f"mailagent-{done.id}"


async def test_a_call_whose_tool_was_taken_away_fails_and_the_agent_hears_so(
    house: House,
) -> None:
    async with Far() as server:
        space, row = await asked(house, CANCELS, prepare=with_tool(server))
        await space.write(lambda tx: custom.remove(tx, space.agent_id, "cancel_order"))
        await approve(space, row)
        await ended(space, "failed")
    assert "no tool cancel_order any more" in space.turns[1].reminders[0].text


async def test_a_call_that_took_its_workers_with_it_ends_in_doubt(house: House) -> None:
    async with Far() as server:
        space, row = await asked(house, CANCELS, prepare=with_tool(server))

        def gives_up(tx: Any) -> None:
            approvals.approve(tx, house.services, row.id, actor="cli")
            mine = Claim(space.id, row.call_id, "clm_dead", 5)
            held = {"begun_at": tx.now, "claimed_by": mine.token, "lease_until": tx.now}
            tx.execute(update(t.tool_calls).where(t.tool_calls.c.id == mine.id).values(**held))
            agreed.give_up(tx, mine, "its worker died 5 times")

        await space.write(gives_up)
        await ended(space, "unknown")
    assert "its worker died 5 times" in space.turns[1].reminders[0].text
