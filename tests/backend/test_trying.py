"""Trying tells what would be done, and does nothing: no row, no wake-up, no call, no mail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from backend.agents import agent_file
from backend.documents import service as documents
from backend.trying import report
from backend.trying.past import past
from backend.trying.run import Bounds, prepared, try_all
from backend.trying.service import brought, try_mail, try_past
from backend.trying.words import decision_of
from mailagent.agents import Turn, Usage
from mailagent.agents.claude import Claude
from mailagent.agents.tools import TOOLS
from mailagent.errors import Conflict, Malformed, TransientFailure
from mailagent.flow.answers import answer
from mailagent.flow.rehearsal import Rehearsed, Stored
from mailagent.outgoing import Handoff, Reply, Silence
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import HELLO, OWNER, Mailroom, mail, open_mailroom
from tests.backend.test_idempotency import everything
from tests.model_server import ModelServer, decide, message, wish

ANN = ("ann@customer.example",)
EVERY_TOOL_DOES = {"policy": {"correspondent": {f"tool:{name}": "do" for name in TOOLS}}}


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


class _Mind:
    """An agent that does what a test says, and remembers its turns."""

    def __init__(self, think: Callable[[Turn], Any]) -> None:
        self._think = think
        self.turns: list[Turn] = []

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        self.turns.append(turn)
        said: Reply | Silence | Handoff = await self._think(turn)
        return said


def minded(room: Mailroom, think: Callable[[Turn], Any]) -> _Mind:
    mind = _Mind(think)
    room.services = replace(room.services, processor=lambda _: mind)
    return mind


def costing(usd: str | None, text: str = "Tried.") -> Callable[[Turn], Any]:
    async def think(turn: Turn) -> Reply:
        cost = None if usd is None else Decimal(usd)
        await turn.steps.record(Usage(100, 20, "some-model", cost).as_step())
        return Reply(text)

    return think


async def watched(room: Mailroom, trial: Any) -> Any:
    """The trial's result, after making sure that it left no trace anywhere."""
    woken: list[frozenset[str]] = []
    room.store.on_wake(woken.append)
    before = await everything(room)
    result = await trial
    assert await everything(room) == before
    assert woken == []
    await room.work()
    assert await everything(room) == before
    return result


async def tried(room: Mailroom, raw: bytes, **how: Any) -> Rehearsed:
    found: Rehearsed = await watched(
        room, try_mail(room.services, room.workspace_id, "hello", raw, **how)
    )
    return found


# --- nothing leaves ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "decision", "text", "to"),
    [
        (Reply("It is on its way."), "reply", "It is on its way.", ANN),
        (Reply("Perhaps.", confidence=0.75), "request_approval", "Perhaps.", ANN),
        (Reply("Who knows.", confidence=0.1), "escalate", "Who knows.", ()),
        (
            Reply("See https://evil.example/x"),
            "request_approval",
            "See https://evil.example/x",
            ANN,
        ),
        (Silence("a mere thank-you"), "no_action", "", ()),
        (Handoff("a refund", "A person will answer."), "escalate", "A person will answer.", ANN),
        (Handoff("a refund"), "escalate", "", ()),
    ],
)
async def test_each_outcome_is_told_and_none_is_done(
    room: Mailroom, says: Reply | Silence | Handoff, decision: str, text: str, to: tuple[str, ...]
) -> None:
    room.agent_says(says)
    found = await tried(room, mail())
    assert (decision_of(found), found.text, found.to) == (decision, text, to)


async def of_a_correspondent(room: Mailroom) -> Stored:
    """A mail of somebody to whom a person of ours has written in its thread."""
    first = await room.answered(mail(message_id="<one@customer.example>"))
    await room.do(answer, room.services, first, "A person writes.", author="person:eva")
    second = await room.answered(
        mail(subject="Two", headers=["In-Reply-To: <one@customer.example>"])
    )
    return Stored(second)


async def test_every_tool_runs_behind_the_policy_and_leaves_nothing(room: Mailroom) -> None:
    """Each of our tools, allowed by the policy, in one turn: what it would have done is told."""
    await room.do(documents.add, name="hours.md", text="We are open from nine to five.")
    subject = await of_a_correspondent(room)
    later = "2999-01-01T09:00:00+00:00"
    wishes: Mapping[str, Mapping[str, Any]] = {
        "search_documents": {"query": "open"},
        "search_threads": {"query": "question"},
        "contact_card": {},
        "note_contact": {"note": "likes tea"},
        "ask_colleague": {"person": OWNER, "question": "May we?"},
        "hand_over": {"reason": "a person must look"},
        "schedule_follow_up": {"at": later, "note": "ask again"},
        "free_times": {"earliest": later, "latest": "2999-01-02T09:00:00+00:00", "minutes": 30},
        "invite": {"start": later, "minutes": 30, "title": "A talk"},
        "create_task": {"title": "Call Ann", "description": "today"},
        "send_mail": {"to": ["bob@customer.example"], "subject": "News", "text": "Hello Bob."},
    }

    async def think(turn: Turn) -> Reply:
        for number, (name, given) in enumerate(wishes.items()):
            await turn.tools.use(f"call-{number}", name, dict(given))
        await turn.tools.use("call-0", "search_documents", {"query": "open"})
        return Reply("Done.")

    minded(room, think)
    file = agent_file.parsed({"tools": list(TOOLS), **EVERY_TOOL_DOES})
    found = await watched(
        room, try_mail(room.services, room.workspace_id, "hello", subject, file=file)
    )
    assert found.standing == "correspondent"
    assert {one.name: one.state for one in found.tools} == {
        "search_documents": "done",
        "search_threads": "done",
        "contact_card": "done",
        "note_contact": "would do",
        "ask_colleague": "would do",
        "hand_over": "done",
        "schedule_follow_up": "failed",  # at most 90 days ahead
        "free_times": "not asked",
        "invite": "would do",
        "create_task": "would do",
        "send_mail": "would do",
    }


async def test_what_the_policy_keeps_from_a_stranger_is_told(room: Mailroom) -> None:
    async def think(turn: Turn) -> Reply:
        assert "send_mail" not in {tool.name for tool in turn.tools.offered}
        wish = {"to": ["bob@customer.example"], "subject": "News", "text": "Hello Bob."}
        result = await turn.tools.use("1", "send_mail", wish)
        assert result.is_error
        return Reply("I could not.")

    minded(room, think)
    found = await tried(room, mail(), file=agent_file.parsed({"tools": ["send_mail"]}))
    (used,) = found.tools
    assert (used.state, found.standing) == ("refused", "stranger")


async def test_an_agent_whose_answers_come_by_webhook_is_not_asked(room: Mailroom) -> None:
    mind = minded(room, costing("0"))
    agent = update(t.agents).where(t.agents.c.id == room.agent_id)
    await room.do(lambda tx: tx.execute(agent.values(processor="webhook+builtin")))
    found = await tried(room, mail())
    assert decision_of(found) is None
    assert "webhook" in found.reason
    assert mind.turns == []


async def test_a_model_that_is_away_is_told_and_nothing_waits(room: Mailroom) -> None:
    async def think(turn: Turn) -> Reply:
        raise TransientFailure("the model's service is busy or broken (529)")

    minded(room, think)
    found = await tried(room, mail())
    assert (decision_of(found), found.reason) == (
        None,
        "the agent did not answer: the model's service is busy or broken (529)",
    )


async def test_what_claude_would_do_with_its_tools_and_what_it_costs(room: Mailroom) -> None:
    await room.do(documents.add, name="hours.md", text="We are open from nine to five.")
    answers = [
        message(wish("search_documents", {"query": "open"}), stop_reason="tool_use"),
        decide("From nine to five."),
    ]
    async with ModelServer(answers) as server:
        model = Claude("key", base_url=server.url)
        room.services = replace(room.services, processor=lambda _: model)
        found = await tried(room, mail(text="When are you open?"))
        await model.close()
    assert (decision_of(found), found.text) == ("reply", "From nine to five.")
    assert [(one.name, one.state) for one in found.tools] == [("search_documents", "done")]
    assert (found.input_tokens, found.output_tokens) == (200, 40)
    assert found.cost_usd == Decimal("0.0008")
    assert found.assessment is not None
    assert found.assessment.summary == "A question."


# --- what is tried ----------------------------------------------------------------------------


async def test_a_file_is_tried_in_place_of_what_is_set(room: Mailroom) -> None:
    mind = minded(room, costing("0"))
    file = agent_file.parse("instructions: Be bold.\nname: Bo\nmodel: {name: claude-opus-5}\n")
    await tried(room, mail(), file=file)
    profile = mind.turns[0].profile
    assert (profile.instructions, profile.name, profile.model) == (
        "Be bold.",
        "Bo",
        "claude-opus-5",
    )
    assert (await room.rows(select(t.agents.c.instructions)))[0].instructions == ""


async def test_limits_of_a_file_decide(room: Mailroom) -> None:
    room.agent_says(Reply("Sure.", confidence=0.85))
    assert decision_of(await tried(room, mail())) == "reply"
    file = agent_file.parse("limits: {approve_below: 0.95}")
    assert decision_of(await tried(room, mail(), file=file)) == "request_approval"


async def test_a_rule_of_a_file_is_tried(room: Mailroom) -> None:
    file = agent_file.parse("rules: [{name: all, condition: {keyword: order}, overrides: true}]")
    found = await tried(room, mail(), file=file, recipient=f"nobody@{HELLO.partition('@')[2]}")
    assert decision_of(found) == "reply"
    assert "rule 'all' matched" in found.route_why
    without = await tried(room, mail(), recipient=f"nobody@{HELLO.partition('@')[2]}")
    assert decision_of(without) == "hold"


async def test_an_agent_that_is_off_is_tried_all_the_same(room: Mailroom) -> None:
    off = update(t.agents).where(t.agents.c.id == room.agent_id).values(email_enabled=False)
    await room.do(lambda tx: tx.execute(off))
    assert decision_of(await tried(room, mail())) == "reply"


async def test_a_machines_mail_is_not_answered_and_asks_no_model(room: Mailroom) -> None:
    mind = minded(room, costing("1"))
    found = await tried(room, mail(headers=["Auto-Submitted: auto-replied"]))
    assert decision_of(found) == "no_action"
    assert mind.turns == []


async def test_a_stored_mail_sees_its_thread_as_it_was(room: Mailroom) -> None:
    first = await room.answered(mail(subject="One", message_id="<one@customer.example>"))
    second = await room.answered(
        mail(subject="Two", headers=["In-Reply-To: <one@customer.example>"])
    )
    mind = minded(room, costing("0"))
    for delivery_id in (first, second):
        await watched(
            room, try_mail(room.services, room.workspace_id, "hello", Stored(delivery_id))
        )
    seen = [[entry.subject for entry in turn.thread.entries] for turn in mind.turns]
    assert seen == [[], ["One", "Re: One"]]


async def test_what_was_purged_cannot_be_tried(room: Mailroom) -> None:
    delivery_id = await room.answered()
    gone = update(t.deliveries).values(content_removed_at=datetime.now(UTC))
    await room.do(lambda tx: tx.execute(gone))
    with pytest.raises(Conflict, match="removed"):
        await try_mail(room.services, room.workspace_id, "hello", Stored(delivery_id))


async def test_a_mail_of_another_workspace_is_not_there(room: Mailroom) -> None:
    delivery_id = await room.answered()
    file = "handle: theirs\nname: Theirs\n"
    async with open_api(room, await key(room, workspace="wsp_other")) as api:
        made = await api.post("workspaces/other/agents/import", json={"file": file})
        assert made.status_code == 201, made.text
        refused = await api.post(
            "workspaces/other/agents/theirs/try", json={"delivery_id": delivery_id}
        )
    assert refused.status_code == 404


# --- past mail --------------------------------------------------------------------------------


async def four(room: Mailroom) -> Sequence[str]:
    """Mails of the past: answered so, answered otherwise, handed over and then answered, silent."""
    ids: list[str] = []
    for says in (Reply("Tried."), Reply("Other words."), Handoff("a refund"), Silence("thanks")):
        room.agent_says(says)
        ids.append(await room.answered(mail(subject=str(len(ids)))))
    return ids


AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def test_past_mail_is_compared_with_what_became_of_it(room: Mailroom) -> None:
    ids = await four(room)
    minded(room, costing("0.01"))
    found = await watched(
        room, try_past(room.services, room.workspace_id, "hello", AGES_AGO, candidate="new.yaml")
    )
    told = {
        one.was.delivery_id: (one.was.decision, one.decision, one.difference) for one in found.items
    }
    assert told == {
        ids[0]: ("reply", "reply", "same"),
        ids[1]: ("reply", "reply", "words"),
        ids[2]: ("escalate", "reply", "decision"),
        ids[3]: ("no_action", "reply", "decision"),
    }
    assert (found.cost_now, found.count("decision")) == (Decimal("0.04"), 2)
    assert report.summary(found).startswith(
        "4 of 4 mails tried: 1 the same, 1 in other words, 2 decided otherwise; 0.0400 USD"
    )
    assert len(report.rows(found)) == 4


async def test_the_page_of_a_comparison_asks_nobody_and_runs_nothing(room: Mailroom) -> None:
    room.agent_says(Reply("<script>alert(1)</script>"))
    await room.answered(mail(subject='<img src="https://evil.example/x">'))
    minded(room, costing("0", "<b onclick=alert(2)>New</b>"))
    found = await try_past(room.services, room.workspace_id, "hello", AGES_AGO)
    page = report.html(found, made_at=datetime.now(UTC))

    links: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "img", "link", "iframe", "b")
            links.extend(value or "" for name, value in attrs if name in ("href", "src"))
            assert not any(name.startswith("on") for name, _ in attrs)

    Reader().feed(page)
    assert links
    assert all(one.startswith("#") for one in links)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


async def test_no_mail_is_tried_beyond_the_money(room: Mailroom) -> None:
    ids = await four(room)
    mind = minded(room, costing("0.40"))
    found = await try_past(
        room.services, room.workspace_id, "hello", AGES_AGO, bounds=Bounds(4, Decimal(1))
    )
    assert [one.now is not None for one in found.items].count(True) == 2
    assert len(mind.turns) == 2
    assert len(found.items) == len(ids)
    assert {one.skipped for one in found.items if one.now is None} == {"1 USD are spent"}


async def test_a_price_that_is_not_known_stops_unless_there_is_no_bound(room: Mailroom) -> None:
    await four(room)
    mind = minded(room, costing(None))
    found = await try_past(room.services, room.workspace_id, "hello", AGES_AGO)
    assert len(mind.turns) == 1
    assert any("price of the model is not known" in one.skipped for one in found.items)
    assert found.cost_now is None
    await try_past(room.services, room.workspace_id, "hello", AGES_AGO, bounds=Bounds(4, None))
    assert len(mind.turns) == 1 + 4


async def test_no_more_are_thought_about_at_once_than_allowed(room: Mailroom) -> None:
    running = most = 0
    full = asyncio.Event()

    async def think(turn: Turn) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            full.set()
        if len(mind.turns) > 1:
            await full.wait()
        running -= 1
        return Reply("x")

    mind = minded(room, think)
    subjects = [await brought(room.services, mail(), HELLO) for _ in range(7)]
    done = await try_all(
        room.services,
        room.workspace_id,
        room.agent_id,
        subjects,
        prepare=prepared(room.agent_id, None),
        bounds=Bounds(2, None),
    )
    assert (len(done), most) == (7, 2)


async def test_only_mail_of_people_that_has_ended_is_past(room: Mailroom) -> None:
    await room.answered(mail(headers=["Auto-Submitted: auto-replied"]))
    await room.deliver(mail())
    assert await room.ask(past, room.agent_id, AGES_AGO) == []
    assert await room.ask(past, room.agent_id, datetime.now(UTC) + timedelta(days=1)) == []


async def test_a_file_that_cannot_be_is_told_before_anything_is_spent(room: Mailroom) -> None:
    await four(room)
    mind = minded(room, costing("1"))
    file = agent_file.parse("processor: oracle")
    with pytest.raises(Malformed, match="processor"):
        await try_past(room.services, room.workspace_id, "hello", AGES_AGO, file=file)
    assert mind.turns == []


@pytest.mark.parametrize("bounds", [(0, Decimal(1)), (99, Decimal(1)), (1, Decimal(-1))])
async def test_bounds_that_are_none_are_refused(bounds: tuple[int, Decimal]) -> None:
    with pytest.raises(Malformed):
        Bounds(*bounds)


# --- the API ----------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def api(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(room, await key(room)) as client:
        yield client


async def test_the_api_tries_a_message_a_delivery_and_the_past(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    delivery_id = await room.answered()
    path = "workspaces/shop/agents/hello/try"

    async def trials() -> Sequence[httpx.Response]:
        return [
            await api.post(path, json={"message": mail().decode()}),
            await api.post(path, json={"delivery_id": delivery_id, "file": "name: Bo"}),
            await api.post(f"{path}/past", json={"since": AGES_AGO.isoformat()}),
            await api.post(path, json={}),
            await api.post(path, json={"message": mail().decode(), "file": "nme: Bo"}),
        ]

    before = await everything(room)
    one, stored, all_, neither, wrong = await trials()
    assert await everything(room) == before
    assert one.json()["decision"] == stored.json()["decision"] == "reply"
    assert one.json()["to"] == ["ann@customer.example"]
    (item,) = all_.json()["items"]
    assert (item["delivery_id"], item["difference"]) == (delivery_id, "same")
    assert (neither.status_code, wrong.status_code) == (422, 422)
    assert wrong.json()["field"] == "nme"


async def test_who_may_only_look_may_not_spend(room: Mailroom) -> None:
    async with open_api(room, await key(room, "root:readonly")) as client:
        refused = await client.post(
            "workspaces/shop/agents/hello/try", json={"message": mail().decode()}
        )
    assert refused.status_code == 403
