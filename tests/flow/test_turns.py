"""One turn a thread at a time: what came meanwhile waits, what was done is not done again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import pytest

from mailagent.agents import Step, Turn
from mailagent.errors import TransientFailure
from mailagent.flow import chores
from mailagent.outgoing import Handoff, Reply, Silence
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from tests.flow.house import ANN, House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


class Slow:
    """A mind that thinks as long as a test wants."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, turn: Turn) -> Reply:
        self.asked.set()
        await self.go.wait()
        return Reply(f"about {len(turn.mails)}")


def following(space: Space, text: str, number: int = 1) -> bytes:
    """Another mail of the conversation that began with `<a1@…>`."""
    return mail(
        text,
        message_id=f"<a{number}@{space.slug}.example>",
        headers={"In-Reply-To": f"<a1@{space.slug}.example>"} if number > 1 else {},
    )


async def ended(space: Space, *states: str) -> Sequence[AnyRow]:
    """All deliveries of the workspace, once each is in one of these states."""

    async def look() -> Sequence[AnyRow] | None:
        rows = await space.rows(t.deliveries, order=t.deliveries.c.id)
        return rows if all(row.state in states for row in rows) else None

    found: Sequence[AnyRow] = await space.house.until(look)
    return found


async def put_back(space: Space, attempts: int) -> bool:
    """Whether the one thread waits for another start after so many."""
    rows = await space.rows(t.threads)
    return any(row.attempts == attempts and row.claimed_by is None for row in rows)


async def test_mails_that_come_while_the_agent_thinks_share_the_next_turn(house: House) -> None:
    mind = Slow()
    space = await house.workspace(mind)
    await space.receive(following(space, "one", 1))
    await asyncio.wait_for(mind.asked.wait(), 8)
    for number in (2, 3):
        await space.delivery(await space.receive(following(space, "more", number)), "routed")
    mind.go.set()
    rows = await ended(space, "answered")
    assert len({row.thread_id for row in rows}) == 1
    assert [len(turn.mails) for turn in space.turns] == [1, 2]
    assert [row.turn_id for row in rows].count(rows[1].turn_id) == 2


async def test_silence_is_recorded_with_the_agents_reason(house: House) -> None:
    space = await house.workspace(lambda _: Silence("a thank-you needs no answer"))
    row = await space.delivery(await space.receive(), "silent")
    assert row.reason == "the agent decided: a thank-you needs no answer"
    assert await space.outbound() == []


async def test_a_hand_over_tells_the_owner_and_the_writer(house: House) -> None:
    space = await house.workspace(lambda _: Handoff("asks for a refund", "A person will answer."))
    got = await space.receive(mail("Refund me", subject="Money"))
    assert (await space.delivery(got, "handed to a person")).reason == "asks for a refund"
    (notice,) = await space.notices()
    assert "asks for a refund" in notice.get_content()
    assert "> Refund me" in notice.get_content()
    assert f"mailagent reply {got}" in notice.get_content()
    assert notice["Auto-Submitted"] == "auto-generated"
    answer = space.as_sent((await space.answer_to(got)).message_id)
    assert "A person will answer." in answer.get_content()


async def test_a_model_that_is_away_is_asked_again_in_the_same_turn(house: House) -> None:
    calls = 0

    async def mind(turn: Turn) -> Reply:
        nonlocal calls
        calls += 1
        if calls == 1:
            await turn.steps.record(Step("search", ["found"]))
            raise TransientFailure("overloaded")
        return Reply(f"after {turn.steps.past[0].content}")

    space = await house.workspace(mind)
    got = await space.receive()

    await house.until(lambda: put_back(space, 1))
    await house.later(timedelta(minutes=1))
    answer = space.as_sent((await space.answer_to(got)).message_id)
    assert "after ['found']" in answer.get_content()
    assert len(await space.rows(t.turns)) == 1
    assert "overloaded" in await space.story(got)


async def test_a_model_that_asks_for_a_pause_gets_it(house: House) -> None:
    async def mind(_: Turn) -> Reply:
        raise TransientFailure("429", retry_at=house.store.now() + timedelta(hours=2))

    space = await house.workspace(mind)
    await space.receive()

    await house.until(lambda: put_back(space, 1))
    (row,) = await space.rows(t.threads)
    assert row.not_before > house.store.now() + timedelta(hours=1)


async def test_a_turn_of_a_worker_that_died_goes_on_where_it_stopped(house: House) -> None:
    mind = Slow()
    space = await house.workspace(mind)
    got = await space.receive()
    await asyncio.wait_for(mind.asked.wait(), 8)
    # The claim passes to another worker, as when this process had frozen for too long.
    mind.asked.clear()
    past = house.store.now() - timedelta(minutes=1)
    await space.write(
        lambda tx: (
            tx.execute(t.threads.update().values(claimed_by="clm_dead", lease_until=past)).rowcount
        )
    )
    await asyncio.wait_for(mind.asked.wait(), 8)
    mind.go.set()
    await space.answer_to(got)
    assert len(await space.rows(t.turns)) == 1
    assert len(await space.outbound()) == 1


async def test_a_mind_that_fails_always_leaves_a_dead_letter(house: House) -> None:
    def mind(_: Turn) -> Reply:
        raise LookupError("no such thing")

    space = await house.workspace(mind)
    got = await space.receive()
    for attempts in range(1, 5):
        await house.until(partial(put_back, space, attempts))
        await house.later(timedelta(minutes=10))
    assert "no such thing" in (await space.delivery(got, "failed")).reason
    (turn,) = await space.rows(t.turns)
    assert turn.state == "failed"


# --- budgets --------------------------------------------------------------------------------------


async def test_a_spent_budget_holds_mail_until_the_next_day_and_tells_once(house: House) -> None:
    space = await house.workspace(turns_per_sender_a_day=1)
    await space.answer_to(await space.receive(mail("one")))
    held = [await space.receive(mail(text)) for text in ("two", "three")]
    for one in held:
        row = await space.delivery(one, "held")
        assert row.reason == f"1 turns a day for {ANN} are spent"
        assert timedelta(hours=23) < row.held_until - house.store.now() <= timedelta(days=1)
    assert len(await space.notices()) == 1
    await house.later(timedelta(days=1, minutes=1))
    await house.store.write_unscoped(chores.release_held)
    await space.delivery(held[0], "answered", "held")
    await space.delivery(held[1], "answered", "held")
    rows = await space.rows(t.deliveries)
    assert sorted(row.state for row in rows) == ["answered", "answered", "held"]


async def test_another_sender_has_a_budget_of_their_own(house: House) -> None:
    space = await house.workspace(turns_per_sender_a_day=1)
    await space.answer_to(await space.receive())
    await space.delivery(await space.receive(), "held")
    sender = "bo@spf-only.example"
    await space.answer_to(await space.receive(mail(sender=sender), mail_from=sender))


async def test_the_workspaces_budget_is_for_all_senders(house: House) -> None:
    space = await house.workspace(turns_per_workspace_a_day=1)
    await space.answer_to(await space.receive())
    sender = "bo@spf-only.example"
    got = await space.receive(mail(sender=sender), mail_from=sender)
    assert "for the workspace" in (await space.delivery(got, "held")).reason


async def test_a_thread_that_answers_too_often_is_parked_and_told_once(house: House) -> None:
    space = await house.workspace()
    for number in (1, 2, 3):
        await space.answer_to(await space.receive(following(space, "ping", number)))
    for number in (4, 5):
        got = await space.receive(following(space, "ping", number))
        row = await space.delivery(got, "looped")
        assert row.held_until is None
    assert "two machines talking" in row.reason
    assert len(await space.notices()) == 1
    assert len(space.turns) == 3


async def test_an_agent_that_waits_looks_again_at_the_time_it_named(house: House) -> None:
    at = house.store.now() + timedelta(hours=1)
    asked: list[Turn] = []

    def waits_once(turn: Turn) -> Silence | Reply:
        asked.append(turn)
        return Reply("Open again.") if len(asked) > 1 else Silence("closed", wake_at=at)

    space = await house.workspace(waits_once)
    id_ = await space.receive(mail(to=space.address))
    row = await space.delivery(id_, "held")
    assert row.held_until == at
    assert row.reason == f"the agent waits until {at:%Y-%m-%d %H:%M} UTC: closed"

    await house.later(timedelta(hours=1, minutes=1))
    await house.store.write_unscoped(chores.release_held)
    await space.delivery(id_, "answered")
    assert await space.notices() == []
