"""Mails with expected outcomes: what is expected is scored, what people say becomes such mails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from backend.agents import agent_file, transfer
from backend.agents.agent_file import Expected
from backend.evaluations import service
from backend.evaluations.scoring import likeness, score
from backend.paging import EVERYTHING
from mailagent.agents import Turn
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import removal
from mailagent.flow.rehearsal import Rehearsed, Used
from mailagent.flow.states import DeliveryState
from mailagent.outgoing import Handoff, Reply, Silence
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import Mailroom, mail, open_mailroom

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


@pytest_asyncio.fixture(loop_scope="module")
async def api(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(room, await key(room)) as client:
        yield client


def ended(text: str = "", state: DeliveryState = DeliveryState.ANSWERED, **more: Any) -> Rehearsed:
    return Rehearsed(state, "", "agt_hello", "", text=text, **more)


# --- scoring ----------------------------------------------------------------------------------


async def test_each_expectation_counts_once() -> None:
    expected = Expected(
        decision="reply", contains=["thirty  DAYS"], lacks=["refund"], tools=["search_documents"]
    )
    used = (Used("search_documents", {}, "done", ""),)
    good = score(expected, ended("Within thirty days.", tools=used))
    half = score(expected, ended("A refund within thirty days."))
    assert (good.score, good.passed) == (1.0, True)
    assert (half.score, half.passed) == (0.5, False)
    assert [one.field for one in half.missed] == ["lacks", "tools"]


async def test_a_refused_tool_was_not_used() -> None:
    used = (Used("send_mail", {}, "refused", ""),)
    assert score(Expected(tools=["send_mail"]), ended(tools=used)).score == 0.0


async def test_an_agent_that_fails_meets_nothing() -> None:
    failed = score(Expected(lacks=["x"]), ended(state=DeliveryState.FAILED))
    assert (failed.score, failed.passed) == (0.0, False)


async def test_another_decision_is_told_in_words() -> None:
    found = score(Expected(decision="escalate"), ended())
    assert found.missed[0].why == "escalate was expected, reply came"


@pytest.mark.parametrize(
    ("wanted", "said", "alike"),
    [
        ("You may return it.", "you may RETURN it", 1.0),
        ("a b", "b c", 0.5),
        ("a", "z", 0.0),
        ("", "", 1.0),
        ("a", "", 0.0),
        ("a a a a", "a", 0.4),
    ],
)
async def test_answers_are_alike_by_their_words(wanted: str, said: str, alike: float) -> None:
    assert likeness(wanted, said) == likeness(said, wanted) == alike


# --- sets and runs ----------------------------------------------------------------------------


async def test_the_examples_of_a_file_are_a_set_that_runs(room: Mailroom) -> None:
    file = agent_file.parsed(
        {
            "examples": [
                {"name": "a", "mail": mail().decode(), "expect": {"contains": ["way"]}},
                {"name": "b", "mail": mail().decode(), "expect": {"decision": "escalate"}},
            ]
        }
    )
    await room.do(transfer.apply, room.agent_id, file, author="test")

    made, results = await service.run(
        room.services, room.workspace_id, "hello", "examples", author="cli"
    )

    assert [(one.case.name, one.scored and one.scored.passed) for one in results] == [
        ("a", True),
        ("b", False),
    ]
    assert (made.cases, made.passed, made.score) == (2, 1, Decimal("0.5"))
    assert made.results[1] == {
        "case_id": results[1].case.id,
        "decision": "reply",
        "score": 0.0,
        "missed": ["decision"],
    }
    listed = await room.ask(service.list_runs, "hello", EVERYTHING)
    assert [one.id for one in listed.items] == [made.id]
    assert await room.ask(service.sets, "hello") == [("examples", 2)]


async def test_another_prompt_is_held_against_the_same_set(room: Mailroom) -> None:
    class Echo:
        async def think(self, turn: Turn, *, deadline: datetime) -> Reply:
            return Reply(turn.profile.instructions or "nothing")

    room.services = replace(room.services, processor=lambda _: Echo())
    await room.do(
        service.add, "hello", "mine", "one", Expected(contains=["bold"]), author="x", message=mail()
    )
    where = (room.services, room.workspace_id, "hello", "mine")
    as_it_is, _ = await service.run(*where, author="x")
    file = agent_file.parse("instructions: Be bold.")
    other, _ = await service.run(*where, author="x", file=file, candidate="new.yaml")
    assert (as_it_is.score, other.score) == (Decimal(0), Decimal(1))
    assert other.candidate == "new.yaml"


async def test_what_is_no_case_is_refused(room: Mailroom) -> None:
    good = Expected(decision="reply")
    for refused, set_name, expected, more in (
        (Conflict, "feedback", good, {"message": b"x"}),
        (Conflict, "examples", good, {"message": b"x"}),
        (Malformed, "mine", Expected(), {"message": b"x"}),
        (Malformed, "mine", good, {}),
        (NotFound, "mine", good, {"delivery_id": "dlv_none"}),
    ):
        with pytest.raises(refused):
            await room.do(service.add, "hello", set_name, "n", expected, author="x", **more)
    with pytest.raises(NotFound, match="no set 'mine'"):
        await service.run(room.services, room.workspace_id, "hello", "mine", author="x")


# --- feedback ---------------------------------------------------------------------------------


async def test_a_good_rating_expects_the_same_again(room: Mailroom) -> None:
    delivery_id = await room.answered()
    case = await room.do(service.give_feedback, delivery_id, rating=5, author="person:eva")
    assert case.expected == Expected(decision="reply", like="It is on its way.")

    _, (same,) = await service.run(
        room.services, room.workspace_id, "hello", "feedback", author="x"
    )
    room.agent_says(Silence("no"))
    _, (other,) = await service.run(
        room.services, room.workspace_id, "hello", "feedback", author="x"
    )
    assert same.scored is not None
    assert other.scored is not None
    assert (same.scored.score, other.scored.passed) == (1.0, False)


async def test_a_correction_expects_what_it_says(room: Mailroom) -> None:
    room.agent_says(Handoff("too hard"))
    delivery_id = await room.answered()
    case = await room.do(
        service.give_feedback, delivery_id, rating=2, correction="It left on Monday.", author="x"
    )
    assert case.expected == Expected(decision="reply", like="It left on Monday.")


async def test_a_bad_rating_alone_expects_nothing_and_is_not_scored(room: Mailroom) -> None:
    delivery_id = await room.answered()
    await room.do(service.give_feedback, delivery_id, rating=1, note="rude", author="x")
    made, (one,) = await service.run(
        room.services, room.workspace_id, "hello", "feedback", author="x"
    )
    assert (one.scored, made.score) == (None, None)


async def test_the_last_word_counts_and_each_stands_in_the_ledger(room: Mailroom) -> None:
    delivery_id = await room.answered()
    await room.do(service.give_feedback, delivery_id, rating=1, author="person:ann")
    await room.do(service.give_feedback, delivery_id, rating=4, author="person:eva")
    (case,) = (await room.ask(service.list_cases, "hello", "feedback", EVERYTHING)).items
    assert (case.rating, case.author) == (4, "person:eva")
    lines = await room.rows(select(t.ledger.c.what, t.ledger.c.actor).filter_by(step="feedback"))
    assert [tuple(line) for line in lines] == [
        ("1 of 5", "person:ann"),
        ("4 of 5", "person:eva"),
    ]


async def test_what_no_agent_has_decided_cannot_be_rated(room: Mailroom) -> None:
    delivery_id = await room.deliver(mail())
    with pytest.raises(Conflict, match="no agent has decided"):
        await room.do(service.give_feedback, delivery_id, rating=3, author="x")


async def test_a_purge_takes_what_was_said_of_the_mail(room: Mailroom) -> None:
    delivery_id = await room.answered()
    await room.do(service.give_feedback, delivery_id, rating=5, note="for Ann", author="x")
    await room.do(removal.remove_received, [delivery_id], "purge", why="asked for")
    assert await room.rows(select(t.evaluation_cases.c.id)) == []


# --- the API ----------------------------------------------------------------------------------


async def test_the_api_keeps_sets_runs_them_and_takes_feedback(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    delivery_id = await room.answered()
    base = "workspaces/shop/agents/hello/evaluations"
    added = await api.post(
        f"{base}/mine/cases",
        json={"name": "one", "delivery_id": delivery_id, "expected": {"decision": "reply"}},
    )
    rated = await api.post(f"workspaces/shop/deliveries/{delivery_id}/feedback", json={"rating": 5})
    ran = await api.post(f"{base}/mine/run", json={})
    wrong = await api.post(
        f"{base}/mine/cases", json={"name": "x", "message": "y", "expected": {"decison": "reply"}}
    )
    assert added.status_code == rated.status_code == 201, (added.text, rated.text)
    assert ran.json()["run"]["passed"] == 1
    assert ran.json()["results"][0]["text"] == "It is on its way."
    assert (wrong.status_code, wrong.json()["field"]) == (422, "expected.decison")
    assert (await api.get(base)).json() == [
        {"name": "feedback", "cases": 1},
        {"name": "mine", "cases": 1},
    ]
    cases = (await api.get(f"{base}/cases", params={"set": "mine"})).json()["items"]
    assert [one["name"] for one in cases] == ["one"]
    assert len((await api.get(f"{base}/runs")).json()["items"]) == 1
    gone = await api.delete(f"workspaces/shop/evaluation-cases/{cases[0]['id']}")
    assert gone.status_code == 204
    assert (
        await api.delete(f"workspaces/shop/evaluation-cases/{cases[0]['id']}")
    ).status_code == 404


async def test_sets_are_not_seen_from_another_workspace(room: Mailroom) -> None:
    await room.do(
        service.add, "hello", "mine", "one", Expected(decision="reply"), author="x", message=mail()
    )
    async with open_api(room, await key(room, workspace="wsp_other")) as api:
        refused = await api.get("workspaces/other/agents/hello/evaluations")
    assert refused.status_code == 404
