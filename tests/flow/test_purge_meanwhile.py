"""Who has a mail in hand while it is purged writes no word of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest

from mailagent.agents import Step, Summary, Turn
from mailagent.errors import LostClaim
from mailagent.flow import approvals, chores, events
from mailagent.flow.purge import Named, Person, Target, Whole, purge
from mailagent.flow.tools import custom
from mailagent.mail import Event, EventKind
from mailagent.outgoing import Reply, Silence
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from mailagent.tokens import new_id
from tests.api_server import ApiServer, Request
from tests.api_server import Reply as Answered
from tests.flow.house import House, Space, mail
from tests.flow.planted import MARK, PERSON, allow_files, found_in_columns, quoting
from tests.flow.test_agreed_calls import asked, call_of, wants
from tests.flow.test_tools import EVERYTHING, Uses, set_up
from tests.smtp_sink import Behaviour, Fault

pytestmark = pytest.mark.asyncio(loop_scope="package")

FAR_SIDES: dict[str, Behaviour | None] = {
    "sent": None,
    "refused": f"550 5.1.1 <{PERSON}> is not known, {MARK}",
    "cancelled": f"451 4.2.2 <{PERSON}> is over its quota, {MARK}",
    "unknown": Fault.DROP,
}
"""What the far side says of a mail, by what is known of the mail for ever."""


async def purged(space: Space, target: Target) -> None:
    of = space.house.services
    await purge(of.store, space.id, target, actor="cli", raw_store=of.raw_store)


def left(house: House) -> list[str]:
    return list(found_in_columns(house.store, MARK))


def theirs(space: Space, subject: str = f"{MARK} question") -> bytes:
    headers = {"From": f"{MARK} Ann <{PERSON}>"}
    return mail(f"{MARK} body", to=space.address, subject=subject, headers=headers)


async def being_handed_over(space: Space) -> tuple[str, asyncio.Event]:
    """The agent's answer to the person, of which the far side says nothing until told to."""
    space.house.sink.held = go_on = asyncio.Event()
    await allow_files(space)
    await space.receive(theirs(space), mail_from=PERSON)

    async def look() -> str | None:
        rows = await space.rows(t.outbound_recipients, t.outbound_recipients.c.state == "sending")
        return rows[0].outbound_id if rows else None

    return await space.house.until(look), go_on


async def idle(house: House, queue: str) -> None:
    async def look() -> bool:
        return house.workers[queue].busy == 0

    await house.until(look)


async def what_stays(space: Space, outbound_id: str) -> tuple[str, str]:
    """Of a purged mail: its state, and how its hand-over ended or stands."""
    (row,) = await space.outbound(t.outbound_mails.c.id == outbound_id)
    (hand_over,) = await space.rows(t.hand_overs, t.hand_overs.c.outbound_id == outbound_id)
    return row.state, hand_over.outcome


@pytest.mark.parametrize("becomes", FAR_SIDES)
@pytest.mark.parametrize("target", [Whole(), Person(PERSON)], ids=["all", "person"])
async def test_of_a_hand_over_under_way_the_end_is_kept_and_no_word(
    house: House, target: Target, becomes: str
) -> None:
    space = await house.workspace(quoting)
    outbound_id, go_on = await being_handed_over(space)
    far_side = FAR_SIDES[becomes]
    if far_side is not None:
        house.script["CONTENT"] = far_side

    await purged(space, target)
    assert await what_stays(space, outbound_id) == ("unknown", "sending")
    go_on.set()
    await idle(house, "send")

    assert left(house) == []
    outcome = {"cancelled": "later"}.get(becomes, becomes)
    assert await what_stays(space, outbound_id) == (becomes, outcome)
    of_it = t.ledger.c.outbound_id == outbound_id
    lines = await space.rows(t.ledger, of_it, order=t.ledger.c.id)
    assert [line.step for line in lines[-2:]] == ["purge", "send"]
    assert lines[-1].what == becomes
    # Nobody is told of it, and what is left of it is no mail that could be sent again.
    house.script.clear()
    given = len(house.sink.taken)
    await house.later(timedelta(hours=1))
    await space.answer_to(await space.receive(mail(to=space.address)))
    assert len(house.sink.taken) == given + 1
    await purged(space, Whole())


async def test_a_reading_under_way_ends_without_a_trace(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = await house.workspace(quoting)
    resolver = house.services.resolver
    asking, go_on, ask_all = asyncio.Event(), asyncio.Event(), resolver.ask_all

    async def held(*questions: Any) -> Any:
        asking.set()
        await go_on.wait()
        return await ask_all(*questions)

    monkeypatch.setattr(resolver, "ask_all", held)
    id_ = await space.receive(theirs(space), mail_from=PERSON)
    await asking.wait()

    await purged(space, Person(PERSON))
    go_on.set()
    await idle(house, "read")

    assert left(house) == []
    assert (await space.delivery(id_, "rejected")).content_removed_by == "purge"
    assert await space.rows(t.messages) == []


class Held:
    """A mind that waits in its first turn until it is told to go on, and then writes all it can."""

    def __init__(self) -> None:
        self.thinking, self.go_on = asyncio.Event(), asyncio.Event()
        self.lost: list[str] = []
        self.heard: list[str] = []

    async def __call__(self, turn: Turn) -> Reply:
        words = [one.text for one in turn.thread.entries] + [turn.mails[-1].content.text]
        self.heard.append(" ".join(words))
        if len(self.heard) == 1:
            self.thinking.set()
            await self.go_on.wait()
        told = self.heard[-1]
        assert turn.memory is not None
        await self._try("step", turn.steps.record(Step("thought", {"they said": told})))
        await self._try("summary", turn.memory.keep(Summary(turn.mails[-1].received_at, told)))
        await self._try("tool", turn.tools.use("1", "note_contact", {"note": told}))
        return Reply(f"You wrote: {told}")

    async def _try(self, what: str, done: Awaitable[object]) -> None:
        try:
            await done
        except LostClaim:
            self.lost.append(what)


async def test_an_agent_whose_mail_was_purged_writes_nothing_down(house: House) -> None:
    mind = Held()
    space = await house.workspace(mind)
    await allow_files(space)
    await space.receive(theirs(space), mail_from=PERSON)
    await mind.thinking.wait()

    await purged(space, Person(PERSON))
    mind.go_on.set()
    await idle(house, "think")

    assert mind.lost == ["step", "summary", "tool"]
    assert left(house) == []
    assert await space.outbound() == []


async def test_an_agent_that_has_a_purged_mail_before_it_as_history_begins_anew_without_it(
    house: House,
) -> None:
    space = await house.workspace(lambda turn: Reply(f"You wrote: {turn.mails[-1].content.text}"))
    await allow_files(space)
    first = await space.receive(mail(f"{MARK} one", to=space.address, subject="First"))
    answer = await space.answer_to(first)
    mind = Held()
    house._agents.minds[space.domain] = mind
    headers = {"In-Reply-To": answer.message_id}
    again = mail("And two?", to=space.address, subject="Again", headers=headers)
    second = await space.receive(again)
    await mind.thinking.wait()

    await purged(space, Named((first,)))
    mind.go_on.set()

    await space.answer_to(second)
    assert mind.lost == ["step", "summary", "tool"]
    assert MARK in mind.heard[0]
    assert MARK not in mind.heard[1]
    assert left(house) == []


async def test_nothing_remains_of_an_earlier_turn_of_a_mail_that_was_thought_about_twice(
    house: House,
) -> None:
    async def in_an_hour(turn: Turn) -> Reply | Silence:
        await turn.steps.record(Step("thought", {"they said": turn.mails[-1].content.text}))
        if len(space.turns) == 1:
            return Silence("not now", wake_at=house.store.now() + timedelta(hours=1))
        return Reply("Now.")

    space = await house.workspace(in_an_hour)
    id_ = await space.receive(mail(f"{MARK} body", to=space.address))
    await space.delivery(id_, "held")
    await house.later(timedelta(hours=2))
    await house.store.write_unscoped(chores.release_held)
    await space.answer_to(id_)
    assert len([one for one in left(house) if one.startswith("turn_steps")]) == 2

    await purged(space, Named((id_,)))

    assert left(house) == []


class Echo(ApiServer):
    """Somebody's system, which repeats what it heard of a person."""

    def reply(self, request: Request) -> Answered:
        return Answered(200, {"of": f"{MARK} {PERSON}"})


async def with_orders(space: Space, server: ApiServer) -> None:
    of = space.house.services
    await space.write(
        lambda tx: custom.add(
            tx,
            of.secrets,
            of.egress,
            space.agent_id,
            name="cancel_order",
            description="Cancels an order by its number.",
            input_schema={"type": "object", "properties": {"order": {"type": "string"}}},
            effect="changes",
            method="POST",
            url=f"{server.url}/cancel",
        )
    )


async def called(house: House, server: ApiServer) -> None:
    async def look() -> bool:
        return bool(server.requests)

    await house.until(look)


async def test_of_a_tool_that_is_used_meanwhile_only_its_end_is_kept(house: House) -> None:
    mind = Uses("cancel_order", {"order": f"{MARK} 17"})
    space = await house.workspace(mind)
    await set_up(space, policy=EVERYTHING)
    async with Echo(held=asyncio.Event()) as server:
        await with_orders(space, server)
        id_ = await space.receive(mail(f"{MARK} body", to=space.address))
        await called(house, server)

        await purged(space, Named((id_,)))
        assert server.held is not None
        server.held.set()
        await idle(house, "think")

    assert left(house) == []
    call = await call_of(space)
    assert (call.state, call.result, call.wish) == ("done", None, {})
    assert MARK in mind.results[0].text


async def test_of_a_call_that_was_agreed_to_nothing_is_told_once_its_mail_is_gone(
    house: House,
) -> None:
    async with Echo(held=asyncio.Event()) as server:
        space, row = await asked(
            house,
            wants("cancel_order", {"order": f"{MARK} 17"}),
            prepare=lambda space: with_orders(space, server),
        )
        await space.write(lambda tx: approvals.approve(tx, house.services, row.id, actor="cli"))
        await called(house, server)

        await purged(space, Named((row.delivery_id,)))
        assert server.held is not None
        server.held.set()
        await idle(house, "call")

    assert left(house) == []
    assert (await call_of(space)).state == "unknown"
    assert await space.rows(t.reminders) == []


@pytest.mark.parametrize(
    ("kind", "state"), [(EventKind.DELIVERED, "delivered"), (EventKind.BOUNCED_HARD, "bounced")]
)
async def test_an_event_that_comes_later_tells_the_end_and_nobodys_name(
    house: House, kind: EventKind, state: str
) -> None:
    space = await house.workspace()
    outbound_id = await space.send(PERSON, subject=f"{MARK} news")
    sent = await space.sent_off(outbound_id, "sent")
    await purged(space, Person(PERSON))
    told = Event(
        "provider",
        new_id("evt"),
        kind,
        house.store.now(),
        PERSON,
        (sent.message_id,),
        f"of {PERSON}",
        {"email": PERSON},
    )

    await house.store.write_unscoped(events.take, [told])

    assert left(house) == []
    row: AnyRow = await space.sent_off(outbound_id, state)
    assert row.message_id == sent.message_id
    if kind is EventKind.BOUNCED_HARD:
        await space.sent_off(await space.send(PERSON), "suppressed")
        await purged(space, Person(PERSON))
