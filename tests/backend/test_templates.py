"""The agents that come with mailagent run as they are: imported, tried on their own examples."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from backend.abilities.service import surroundings
from backend.agents import agent_file, catalogue, transfer
from backend.agents.agent_file import AgentFile, Example
from backend.trying.service import try_mail
from backend.trying.words import decision_of
from mailagent.agents.builtin import Builtin
from mailagent.agents.claude import Claude
from mailagent.flow.rehearsal import Rehearsed
from mailagent.sandbox import Sandbox
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import DOMAIN, Mailroom, open_mailroom
from tests.model_server import ModelServer, decide

SIX = ("newsletter", "onboarding", "recruiting", "sales", "scheduling", "support")

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


async def added(room: Mailroom, name: str) -> AgentFile:
    file = catalogue.template(name).file
    around = surroundings(room.services)
    await room.do(transfer.import_agent, DOMAIN, around, file, author="test", handle=name)
    return file


async def tried(room: Mailroom, agent: str, examples: Sequence[Example]) -> list[Rehearsed]:
    return [
        await try_mail(room.services, room.workspace_id, agent, one.mail.encode())
        for one in examples
    ]


async def test_there_are_six_and_the_docs_name_them() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "agent-files.md"
    assert catalogue.names() == SIX
    assert tuple(sorted(re.findall(r"^\| `(\w+)` \|", page.read_text(), re.M))) == SIX


@pytest.mark.parametrize("name", SIX)
async def test_a_template_says_what_an_agent_needs(name: str) -> None:
    file = catalogue.template(name).file
    assert agent_file.parse(agent_file.render(file)) == file
    assert file.description
    assert file.instructions
    assert len(file.instructions) > 1_000
    assert file.tools
    assert "hand_over" in file.tools
    assert file.policy
    assert file.limits
    assert len(file.examples or ()) >= 3
    assert any(not one.expect.empty for one in file.examples or ())


@pytest.mark.parametrize("name", SIX)
async def test_a_template_on_an_empty_workspace_answers_its_examples_by_the_builtin(
    room: Mailroom, name: str
) -> None:
    file = await added(room, name)
    room.services = replace(room.services, processor=lambda _: Builtin())

    found = await tried(room, name, file.examples or ())

    for one in found:
        assert decision_of(one) in ("reply", "escalate", "no_action"), one.reason
        assert one.text or decision_of(one) == "no_action"
        assert one.route_why == f"{name}@shop.{DOMAIN} is this agent's address"


@pytest.mark.parametrize("name", SIX)
async def test_a_model_that_does_as_expected_gets_what_the_examples_expect(
    room: Mailroom, name: str
) -> None:
    file = await added(room, name)
    for example in file.examples or ():
        wanted = example.expect.decision or "reply"
        words = None if wanted == "no_action" else "Thank you."
        async with ModelServer([decide(words, action=wanted)]) as server:
            model = Claude("key", base_url=server.url)
            room.services = replace(room.services, processor=partial(_given, model))
            (one,) = await tried(room, name, [example])
            await model.close()
        assert decision_of(one) == wanted, one.reason
        asked = server.requests[0]
        offered = {tool["name"] for tool in asked["tools"]}
        assert {"hand_over", "decide"} <= offered
        assert set(example.expect.tools) <= offered
        (told, *_) = asked["system"]
        assert (file.instructions or "").strip() in told["text"]


def _given(model: Claude, _: str) -> Claude:
    return model


async def test_the_api_lists_templates_and_makes_agents_of_them(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        listed = await api.get("workspaces/shop/agent-templates")
        made = await api.post(
            "workspaces/shop/agents/import", json={"template": "support", "handle": "desk"}
        )
        unknown = await api.post(
            "workspaces/shop/agents/import", json={"template": "suport", "handle": "x"}
        )
        neither = await api.post("workspaces/shop/agents/import", json={"handle": "x"})
    assert [one["name"] for one in listed.json()] == list(SIX)
    assert agent_file.parse(listed.json()[5]["file"]) == catalogue.template("support").file
    assert made.json()["agent"]["address"] == f"desk@shop.{DOMAIN}"
    assert (unknown.status_code, neither.status_code) == (404, 422)
    assert "newsletter, onboarding" in unknown.json()["detail"]
