"""What an agent's tools do at far sides: people's own systems, and calendars."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.abilities import openapi, openapi_document, service
from backend.abilities.openapi import Wishes
from backend.abilities.service import Surroundings
from mailagent.agents import Turn
from mailagent.errors import Malformed
from mailagent.flow import agent_secrets
from mailagent.flow.tools import custom
from mailagent.outgoing import Reply
from mailagent.store import tables as t
from tests.api_server import ApiServer, Fault, Request
from tests.api_server import Reply as Answered
from tests.flow.house import ANN, House, Space
from tests.flow.test_tools import EVERYTHING, Uses, set_up, true

pytestmark = pytest.mark.asyncio(loop_scope="package")
SECRET = "whsec_" + base64.b64encode(b"0123456789" * 3).decode()


class Far(ApiServer):
    """Somebody's system, which says the same to all."""

    said: Answered = Answered(201, {"id": 17, "echo": "Bearer topsecret17"})

    def reply(self, request: Request) -> Answered:
        return self.said


async def with_tasks(house: House, space: Space, server: ApiServer, **settings: Any) -> None:
    await set_up(
        space, policy=EVERYTHING, tools=["create_task"], task_url=f"{server.url}/tasks", **settings
    )
    await space.write(
        lambda tx: agent_secrets.keep(tx, house.services.secrets, space.agent_id, "tasks", SECRET)
    )


async def test_a_task_is_posted_signed(house: House) -> None:
    mind = Uses("create_task", {"title": "Call Ann", "priority": "high"})
    space = await house.workspace(mind)
    async with Far() as server:
        await with_tasks(house, space, server)
        await space.answer_to(await space.receive())
        [request] = server.requests
    assert not mind.results[0].is_error
    assert request.json["type"] == "task.created"
    assert request.json["data"]["title"] == "Call Ann"
    assert request.json["data"]["from"] == ANN
    id_, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id_}.{at}.".encode() + request.body, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


async def test_a_task_whose_answer_never_came_is_not_made_again_by_itself(house: House) -> None:
    mind = Uses("create_task", {"title": "Call Ann"}, killed_after=True)
    space = await house.workspace(mind)
    async with Far(script=[Fault.CUT]) as server:
        await with_tasks(house, space, server)
        got = await space.receive()
        await house.until(lambda: true(lambda: len(mind.results) == 1))
        await house.later(timedelta(minutes=2))
        mind.turns.clear()
        await space.answer_to(got)
        assert len(server.requests) == 1
    assert "Do not repeat it" in mind.results[0].text
    assert mind.results[0] == mind.results[1]
    assert any("Was this done?" in str(one["Subject"]) for one in await space.notices())


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_process_that_died_in_a_call_repeats_it_only_where_the_far_side_knows_repetitions(
    house: House, repeatable: bool
) -> None:
    mind = Uses("cancel_order", {"order": "17"})
    space = await house.workspace(mind)
    services = house.services
    died = "tcl_0199"

    async def dead(turn: Turn) -> Reply:
        """What a process leaves that was killed between the call and its record."""

        def leave(tx: Any) -> None:
            row = {
                "id": died,
                "turn_id": turn.id,
                "call": "call_1",
                "thread_id": turn.thread.id,
                "agent_id": space.agent_id,
                "delivery_id": turn.mails[0].delivery_id,
                "name": "cancel_order",
                "wish": {"order": "17"},
                "state": "started",
                "why": "",
                "created_at": tx.now,
                "not_before": tx.now,
            }
            tx.insert(t.tool_calls, {**row, "id": f"{died}{turn.id}"})

        await space.write(leave)
        return await mind(turn)

    house._agents.minds[space.domain] = dead
    async with Far() as server:
        await set_up(space, policy=EVERYTHING)
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
        await space.answer_to(await space.receive())
        keys = [one.headers["idempotency-key"] for one in server.requests]
    [call] = await space.rows(t.tool_calls)
    if repeatable:
        assert keys == [f"mailagent-{call.id}"]
        assert call.state == "done"
    else:
        assert keys == []
        assert call.state == "unknown"
        assert "Do not repeat it" in mind.results[0].text


async def test_a_tool_of_the_people_is_called_with_a_secret_that_the_model_never_sees(
    house: House,
) -> None:
    mind = Uses("find_order", {"order": "A/17", "detail": True})
    space = await house.workspace(mind)
    async with Far() as server:
        await space.write(
            lambda tx: custom.add(
                tx,
                house.services.secrets,
                house.services.egress,
                space.agent_id,
                name="find_order",
                description="Looks an order up by its number.",
                input_schema={
                    "type": "object",
                    "properties": {"order": {"type": "string"}, "detail": {"type": "boolean"}},
                    "required": ["order"],
                },
                effect="reads",
                method="GET",
                url=f"{server.url}/orders/{{order}}",
                headers={"Authorization": "Bearer topsecret17"},
            )
        )
        await space.answer_to(await space.receive())
        [request] = server.requests
    assert request.path == "/orders/A%2F17?detail=true"
    assert request.headers["authorization"] == "Bearer topsecret17"
    assert mind.results[0].text.startswith("<tool_result>")
    assert "topsecret17" not in mind.results[0].text
    assert '"status": 201' in mind.results[0].text
    kept = json.dumps([dict(row._mapping) for row in await space.rows(t.turn_steps)], default=str)
    assert "topsecret17" not in kept


async def test_a_tool_whose_credential_nobody_has_given_calls_nobody(house: House) -> None:
    mind = Uses("find_order", {})
    space = await house.workspace(mind)
    async with Far() as server:
        await space.write(
            lambda tx: custom.add(
                tx,
                house.services.secrets,
                house.services.egress,
                space.agent_id,
                name="find_order",
                description="Looks an order up by its number.",
                input_schema={"type": "object"},
                effect="reads",
                method="GET",
                url=f"{server.url}/orders",
                headers={"Authorization": custom.NOT_GIVEN},
            )
        )
        await space.answer_to(await space.receive())
        assert server.requests == []
    assert "nobody has given the value of its header Authorization" in mind.results[0].text


SHOP = (Path(__file__).parents[1] / "data/openapi/shop.yaml").read_text()


@pytest.mark.parametrize(
    ("operation", "wish", "method", "path", "body"),
    [
        (
            "listOrders",
            {"after": "2026-11-21T09:30:00+01:00", "limit": 3},
            "GET",
            "/orders?after=2026-11-21T09%3A30%3A00%2B01%3A00&limit=3&api_key=topsecret20",
            "",
        ),
        (
            "changeOrder",
            {"order_id": "A/17", "lines": [], "reason": "Late"},
            "PATCH",
            "/orders/A%2F17",
            '{"lines": [], "reason": "Late"}',
        ),
    ],
)
async def test_an_operation_of_an_openapi_document_is_called_as_it_describes(
    house: House, operation: str, wish: dict[str, Any], method: str, path: str, body: str
) -> None:
    credentials = {"bearerAuth": "topsecret17", "queryKey": "topsecret20"}
    async with Far() as server:
        wishes = Wishes([operation], base_url=server.url, credentials=credentials)
        described = openapi.tools_of(openapi_document.read(SHOP), wishes)
        mind = Uses(described[0].name, wish)
        space = await house.workspace(mind)
        await set_up(space, policy=EVERYTHING)
        around = Surroundings(house.services.secrets, house.services.egress)
        await space.write(
            lambda tx: service.import_tools(tx, around, space.agent_id, described, "stranger")
        )
        await space.answer_to(await space.receive())
        [request] = server.requests
    assert (request.method, request.path, request.body.decode()) == (method, path, body)
    own = "topsecret17" if operation == "changeOrder" else "topsecret20"
    assert own in f"{request.headers} {request.path}"
    assert mind.results[0].text.startswith("<tool_result>")
    kept = json.dumps([dict(row._mapping) for row in await space.rows(t.turn_steps)], default=str)
    assert own not in kept + mind.results[0].text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "search_documents"}, "name"),
        ({"name": "Find"}, "name"),
        ({"name": "mcp_x"}, "name"),
        ({"description": "x"}, "description"),
        ({"effect": "writes"}, "effect"),
        ({"method": "GET", "effect": "changes"}, "effect"),
        ({"method": "TRACE"}, "method"),
        ({"least": "everybody"}, "least"),
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "https://{host}.example.com/"}, "url"),
        ({"url": "https://a.example/{missing}"}, "url"),
        ({"headers": {"Host": "inside"}}, "headers"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers"),
        ({"input_schema": {"type": "object", "patternProperties": {}}}, "input_schema"),
        ({"input_schema": {"type": "array", "items": {"type": "string"}}}, "input_schema"),
    ],
)
async def test_a_tool_that_is_described_wrongly_is_not_saved_and_the_field_is_named(
    house: House, changes: dict[str, Any], field: str
) -> None:
    space = await house.workspace()
    given: dict[str, Any] = {
        "name": "find_order",
        "description": "Looks an order up.",
        "input_schema": {"type": "object", "properties": {"order": {"type": "string"}}},
        "effect": "reads",
        "method": "POST",
        "url": "https://a.example/orders",
        **changes,
    }
    services = house.services
    with pytest.raises(Malformed) as error:
        await space.write(
            lambda tx: custom.add(tx, services.secrets, services.egress, space.agent_id, **given)
        )
    assert error.value.field.startswith(field)


async def test_free_times_are_those_that_no_calendar_takes(house: House) -> None:
    day = (house.store.now() + timedelta(days=7)).replace(hour=0, minute=0, second=0, microsecond=0)
    while day.isoweekday() != 3:
        day += timedelta(days=1)
    feed = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\n"
        f"DTSTART:{day:%Y%m%d}T090000Z\r\nDTEND:{day:%Y%m%d}T160000Z\r\nSUMMARY:Secret\r\n"
        "END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    wish = {
        "earliest": day.isoformat(),
        "latest": (day + timedelta(days=1)).isoformat(),
        "minutes": 30,
    }
    mind = Uses("free_times", wish)
    space = await house.workspace(mind)
    async with Far() as server:
        server.said = Answered(200, feed.encode())
        await set_up(space, tools=["free_times"])
        feeds = json.dumps([f"{server.url}/private-token.ics"])
        await space.write(
            lambda tx: agent_secrets.keep(
                tx, house.services.secrets, space.agent_id, "calendars", feeds
            )
        )
        await space.answer_to(await space.receive())
    text = mind.results[0].text
    assert text == "Free: " + ", ".join(
        (day + timedelta(hours=16, minutes=minutes)).isoformat() for minutes in (0, 30)
    )
