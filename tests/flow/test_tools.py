"""What an agent's tools do, for whom, and how often: behind the gate, in a running installation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from mailagent.agents import Turn
from mailagent.agents.tools import ToolResult
from mailagent.agents.trust import Standing
from mailagent.errors import TransientFailure
from mailagent.flow import reminding
from mailagent.flow.tools import open_case
from mailagent.flow.values import load_mails
from mailagent.outgoing import Handoff, Reply, Silence
from mailagent.store import documents
from mailagent.store import tables as t
from mailagent.tokens import new_id
from tests.flow.house import ANN, House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")
EVERYTHING = {
    "stranger": {"reads": "do", "changes": "do", "sends": "do"},
    "correspondent": {"reads": "do", "changes": "do", "sends": "do"},
}


class Uses:
    """A mind that uses one tool in its first turn, and answers with what it was told."""

    def __init__(self, name: str, wish: Any, *, killed_after: bool = False) -> None:
        self.name, self.wish = name, wish
        self.results: list[ToolResult] = []
        self.killed_after = killed_after
        self.turns: list[Turn] = []

    async def __call__(self, turn: Turn) -> Reply:
        self.turns.append(turn)
        if len(self.turns) == 1 or self.killed_after:
            self.results.append(await turn.tools.use("call_1", self.name, self.wish))
        if self.killed_after:
            self.killed_after = False
            raise TransientFailure("stopped after the call")
        return Reply("Thank you.")


async def set_up(space: Space, *, policy: Any = None, **settings: Any) -> None:
    def work(tx: Any) -> None:
        if settings:
            tx.execute(
                update(t.agents).where(t.agents.c.id == space.agent_id).values(settings=settings)
            )
        if policy is not None:
            row = {"agent_id": "", "version": 1, "cells": policy, "author": "cli"}
            tx.insert(t.policies, {**row, "created_at": tx.now})

    await space.write(work)


async def join(space: Space, address: str = ANN) -> None:
    """Make somebody a person of the workspace."""

    def work(tx: Any) -> None:
        row = {"id": new_id("per"), "email": address, "name": "", "created_at": tx.now}
        known = tx.value(t.people.select().where(t.people.c.email == address))
        if known is None:
            tx.insert(t.people, row)
        tx.insert(t.memberships, {"person_id": known or row["id"], "role": "viewer"})

    await space.write(work)


async def used(house: House, mind: Uses, *, member: bool = False, **more: Any) -> tuple[Space, str]:
    """A workspace whose agent has used its tool, and the delivery."""
    space = await house.workspace(mind)
    await set_up(space, **more)
    if member:
        await join(space)
    got = await space.receive(mail("Please.", subject="A wish"))
    await space.answer_to(got)
    return space, got


async def test_documents_are_searched_for_a_stranger(house: House) -> None:
    mind = Uses("search_documents", {"query": "opening hours"})
    space = await house.workspace(mind)
    await space.write(lambda tx: documents.add(tx, "hours.md", "Opening hours are 9 to 17."))
    await space.answer_to(await space.receive())
    assert mind.results[0].documents == ("hours.md",)
    assert "9 to 17" in mind.results[0].text
    assert await space.rows(t.tool_calls) == []


async def test_what_changes_something_is_refused_to_a_stranger_and_the_ledger_says_by_which_rule(
    house: House,
) -> None:
    mind = Uses("note_contact", {"note": "is the boss"})
    space, got = await used(house, mind)
    assert mind.results[0].is_error
    assert await space.rows(t.contact_notes) == []
    assert "note_contact: refused" in await space.story(got)
    assert "default policy 1: stranger, changes" in await space.story(got)
    assert "note_contact" not in [tool.name for tool in mind.turns[0].tools.offered]


async def test_what_changes_something_is_done_for_a_member_and_known_later(house: House) -> None:
    mind = Uses("note_contact", {"note": "prefers mornings"})
    space, _ = await used(house, mind, member=True)
    assert [row.note for row in await space.rows(t.contact_notes)] == ["prefers mornings"]
    mind.name, mind.wish, mind.killed_after = "contact_card", {}, True
    await space.receive(mail("Again."))
    await house.until(lambda: true(lambda: len(mind.results) == 2))
    assert "prefers mornings" in mind.results[1].text
    assert '"standing": "member"' in mind.results[1].text


async def true(look: Callable[[], bool]) -> bool:
    return look()


async def test_a_call_of_a_turn_that_was_killed_is_done_once(house: House) -> None:
    mind = Uses("note_contact", {"note": "once"}, killed_after=True)
    space = await house.workspace(mind)
    await join(space)
    got = await space.receive()
    await house.until(lambda: true(lambda: len(mind.results) == 1))
    await house.later(timedelta(minutes=2))
    mind.turns.clear()
    await space.answer_to(got)
    assert [row.note for row in await space.rows(t.contact_notes)] == ["once"]
    assert mind.results == [ToolResult("Noted.")] * 2


@pytest.mark.parametrize(
    "wish", [None, [], {}, {"note": ""}, {"note": 7}, {"note": "x", "address": "eve@evil.example"}]
)
async def test_a_wish_that_does_not_fit_is_told_and_does_nothing(house: House, wish: Any) -> None:
    mind = Uses("note_contact", wish)
    space, _ = await used(house, mind, member=True)
    assert mind.results[0].is_error
    assert await space.rows(t.contact_notes) == []


@pytest.mark.parametrize("name", ["create_task", "send_mail", "decide", "mcp_x_y", "rm"])
async def test_a_tool_that_the_agent_was_not_given_is_none(house: House, name: str) -> None:
    mind = Uses(name, {"title": "x"})
    await used(house, mind, member=True)
    assert mind.results[0].is_error


async def test_the_least_trusted_writer_of_a_turn_decides_for_all(house: House) -> None:
    space = await house.workspace()
    await join(space)
    bob = "bob@spf-only.example"
    anns = await space.receive()
    bobs = await space.receive(mail(sender=bob), mail_from=bob)
    for one in (anns, bobs):
        await space.answer_to(one)

    def standing(tx: Any, *ids: str) -> Standing:
        agent = SimpleNamespace(agent_id=space.agent_id, handle="hello", agent_settings={})
        thread = SimpleNamespace(id="thr_1", subject="")
        mails = load_mails(tx, ids)
        case = open_case(tx, agent, turn_id="t", thread=thread, mails=mails, followed=False)  # type: ignore[arg-type]
        return case.standing

    assert await house.store.read(space.id, standing, anns) is Standing.MEMBER
    assert await house.store.read(space.id, standing, anns, bobs) is Standing.STRANGER


async def test_only_the_writers_own_conversations_are_found_and_read(house: House) -> None:
    mind = Uses("search_threads", {})
    space = await house.workspace(mind)
    await join(space)
    bob = "bob@spf-only.example"
    other = await space.receive(mail("Secret of Bob", sender=bob, subject="Bob's"), mail_from=bob)
    await space.answer_to(other)
    mine = await space.receive(mail("My first", subject="First of Ann"))
    await space.answer_to(mine)
    [bobs] = await space.rows(t.deliveries, t.deliveries.c.id == other)
    [anns] = await space.rows(t.deliveries, t.deliveries.c.id == mine)
    mind.turns.clear()
    for name, wish in (
        ("search_threads", {}),
        ("read_thread", {"thread_id": anns.thread_id}),
        ("read_thread", {"thread_id": bobs.thread_id}),
    ):
        mind.turns.clear()
        mind.name, mind.wish = name, wish
        await space.answer_to(await space.receive(mail("Now", subject="Now")))
    found, read, refused = mind.results[-3:]
    assert anns.thread_id in found.text
    assert bobs.thread_id not in found.text
    assert "My first" in read.text
    assert refused.is_error
    assert "Secret" not in refused.text


async def test_a_follow_up_wakes_the_thread_at_its_time(house: House) -> None:
    at = (house.store.now() + timedelta(days=2)).isoformat()
    mind = Uses("schedule_follow_up", {"at": at, "note": "ask whether it arrived"})
    space, _ = await used(house, mind, member=True)
    assert not mind.results[0].is_error
    await house.later(timedelta(days=1))
    await house.store.write_unscoped(reminding.wake_due)
    assert [row.state for row in await space.rows(t.reminders)] == ["waiting"]
    await house.later(timedelta(days=1, minutes=2))
    await house.store.write_unscoped(reminding.wake_due)
    await house.until(lambda: true(lambda: len(mind.turns) == 2))
    [reminder] = mind.turns[1].reminders
    assert (reminder.kind, reminder.text) == ("follow_up", "ask whether it arrived")
    assert [row.state for row in await space.rows(t.reminders)] == ["used"]


async def test_a_mail_of_the_writer_ends_the_waiting(house: House) -> None:
    at = (house.store.now() + timedelta(days=2)).isoformat()
    mind = Uses("schedule_follow_up", {"at": at, "note": "x"})
    space = await house.workspace(mind)
    await join(space)
    first = mail("One.", message_id=f"<one@{space.slug}.example>")
    await space.answer_to(await space.receive(first))
    headers = {"In-Reply-To": f"<one@{space.slug}.example>"}
    await space.answer_to(await space.receive(mail("Two.", headers=headers)))
    assert [row.state for row in await space.rows(t.reminders)] == ["cancelled"]


@pytest.mark.parametrize("days", [-1, 91])
async def test_a_follow_up_in_the_past_or_too_far_is_told(house: House, days: int) -> None:
    at = (house.store.now() + timedelta(days=days)).isoformat()
    mind = Uses("schedule_follow_up", {"at": at, "note": "x"})
    await used(house, mind, member=True)
    assert mind.results[0].text.startswith("at:")


async def test_a_colleagues_answer_comes_into_the_case_and_not_to_the_writer(house: House) -> None:
    mind = Uses("ask_colleague", {"person": ANN, "question": "Do we deliver to Bern?"})
    space = await house.workspace(mind)
    await set_up(space, policy=EVERYTHING)
    await join(space)
    bob = "bob@spf-only.example"
    case = await space.receive(mail("To Bern?", sender=bob, subject="Bern"), mail_from=bob)
    await space.answer_to(case)
    [asked_by] = await space.outbound(t.outbound_mails.c.purpose == "tool")
    await space.sent_off(asked_by.id, "sent")
    question = space.as_sent(asked_by.message_id)
    assert question["To"] == ANN
    assert question["Auto-Submitted"] == "auto-generated"
    assert "Do we deliver to Bern?" in question.get_content()
    answer = await space.receive(
        mail("Yes, from May.", headers={"In-Reply-To": str(question["Message-ID"])})
    )
    assert "brought into" in (await space.delivery(answer, "recorded")).reason
    await house.until(lambda: true(lambda: len(mind.turns) == 2))
    assert mind.turns[1].mails[0].content.from_[0].address == bob
    [reminder] = mind.turns[1].reminders
    assert (reminder.kind, reminder.author, reminder.text) == ("answer", ANN, "Yes, from May.")


async def test_only_people_of_the_workspace_are_asked(house: House) -> None:
    mind = Uses("ask_colleague", {"person": "eve@evil.example", "question": "What is the code?"})
    space, _ = await used(house, mind, policy=EVERYTHING)
    assert mind.results[0].text.startswith("person:")
    assert await space.outbound(t.outbound_mails.c.purpose == "tool") == []


async def test_a_mail_of_an_agent_has_a_thread_of_its_own_and_says_that_it_is_automatic(
    house: House,
) -> None:
    wish = {"to": ["carol@elsewhere.example"], "subject": "Order", "text": "Ten, please."}
    mind = Uses("send_mail", wish)
    space, got = await used(
        house, mind, member=True, policy={"member": {"sends": "do"}}, tools=["send_mail"]
    )
    [row] = await space.outbound(t.outbound_mails.c.purpose == "tool")
    await space.sent_off(row.id, "sent")
    sent = space.as_sent(row.message_id)
    assert (sent["To"], sent["Auto-Submitted"]) == ("carol@elsewhere.example", "auto-generated")
    [case] = await space.rows(t.deliveries, t.deliveries.c.id == got)
    assert row.thread_id != case.thread_id


async def test_an_invitation_goes_to_the_writer_in_the_thread(house: House) -> None:
    start = (house.store.now() + timedelta(days=3)).replace(microsecond=0)
    wish = {"start": start.isoformat(), "minutes": 30, "title": "Call; with, Bob"}
    space, _ = await used(
        house,
        Uses("invite", wish),
        member=True,
        policy={"member": {"sends": "do"}},
        tools=["invite"],
    )
    [row] = await space.outbound(t.outbound_mails.c.purpose == "tool")
    await space.sent_off(row.id, "sent")
    sent = space.as_sent(row.message_id)
    assert sent["To"] == ANN
    [file] = list(sent.iter_attachments())
    assert file.get_content_type() == "text/calendar"
    text = file.get_content()
    text = text if isinstance(text, str) else text.decode()
    assert "METHOD:REQUEST" in text
    assert "SUMMARY:Call\\; with\\, Bob" in text
    assert f"DTSTART:{start:%Y%m%dT%H%M%SZ}" in text


async def test_a_tool_may_end_the_turn_with_a_person(house: House) -> None:
    async def mind(turn: Turn) -> Handoff | Silence:
        result = await turn.tools.use("1", "hand_over", {"reason": "wants a person"})
        return Handoff(result.hand_over) if result.hand_over else Silence("no")

    space = await house.workspace(mind)
    row = await space.delivery(await space.receive(), "handed to a person")
    assert row.reason == "wants a person"


async def test_a_model_that_calls_in_circles_is_stopped(house: House) -> None:
    results: list[ToolResult] = []

    async def mind(turn: Turn) -> Reply:
        for number in range(61):
            results.append(
                await turn.tools.use(f"call_{number}", "note_contact", {"note": str(number)})
            )
        return Reply("Done.")

    space = await house.workspace(mind)
    await join(space)
    await asyncio.wait_for(space.answer_to(await space.receive()), 30)
    assert results[-1].is_error
    assert len(await space.rows(t.contact_notes)) == 60
