"""What agents can do, by API and command line: set, shown without secrets, decided once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select

from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import Mailroom, open_mailroom
from tests.operation.terminal import Terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT = "/workspaces/shop/agents/hello"
TOOL = {
    "name": "find_order",
    "description": "Looks an order up by its number.",
    "input_schema": {"type": "object", "properties": {"order": {"type": "string"}}},
    "effect": "reads",
    "method": "POST",
    "url": "https://orders.example/find",
    "headers": {"Authorization": "Bearer topsecret17"},
}


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, Sandbox(allowed=())) as opened:
        yield opened


async def test_abilities_are_set_shown_and_taken_away(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        before = (await api.get(f"{AGENT}/abilities")).json()
        assert before["model"] is None
        assert "search_documents" in [one["name"] for one in before["tools"]]
        changes: dict[str, Any] = {
            "model": "claude-haiku-5-5",
            "price": "0.1/0.5",
            "most_questions": 5,
            "history_tokens": 4_000,
            "tools": ["search_documents", "create_task"],
            "webhook_url": "https://agent.example/mail",
            "task_url": "https://tasks.example/new",
            "calendar_hours": {"zone": "Europe/Berlin", "from": "08:00"},
            "mcp_servers": [{"name": "crm", "url": "https://crm.example/mcp", "reads": ["find"]}],
        }
        made = (await api.patch(f"{AGENT}/abilities", json=changes)).json()
        assert {name: made[name] for name in changes if name != "tools"} == {
            name: value for name, value in changes.items() if name != "tools"
        }
        assert [one["name"] for one in made["tools"]] == changes["tools"]
        gone = await api.patch(f"{AGENT}/abilities", json=dict.fromkeys(changes))
        assert gone.json() == before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": "a b"}, "model"),
        ({"price": "cheap"}, "price"),
        ({"most_questions": 0}, "most_questions"),
        ({"history_tokens": 10**9}, "history_tokens"),
        ({"tools": ["rm"]}, "tools"),
        ({"webhook_url": "http://agent.example/"}, "webhook_url"),
        ({"webhook_url": "https://169.254.169.254/"}, "webhook_url"),
        ({"task_url": "https://user:pass@tasks.example/"}, "task_url"),
        ({"calendar_hours": {"zone": "Mars"}}, "calendar_hours.zone"),
        ({"calendar_hours": {"from": "18:00"}}, "calendar_hours.to"),
        ({"mcp_servers": [{"name": "crm"}]}, "mcp_servers[0].name"),
    ],
)
async def test_what_makes_no_sense_is_named(
    room: Mailroom, change: dict[str, Any], field: str
) -> None:
    async with open_api(room, await key(room)) as api:
        told = await api.patch(f"{AGENT}/abilities", json=change)
        assert told.status_code == 422
        assert field in told.json()["detail"]


async def test_a_secret_is_shown_once_and_kept_sealed(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        made = await api.post(f"{AGENT}/secrets", json={"name": "webhook"})
        assert made.status_code == 201
        value = made.json()["value"]
        assert value.startswith("whsec_")
        assert (await api.get(f"{AGENT}/abilities")).json()["secrets"] == ["webhook"]
        assert value not in (await api.get(f"{AGENT}/abilities")).text
        rows = await room.store.read(
            room.workspace_id, lambda tx: tx.rows(select(t.agent_secrets.c.sealed))
        )
        assert all(value.encode() not in row.sealed for row in rows)
        for bad in (
            {"name": "mcp:unknown", "value": "x"},
            {"name": "webhook", "value": "hunter2"},
            {"name": "calendars", "value": "http://inside/"},
            {"name": "calendars"},
        ):
            told = await api.post(f"{AGENT}/secrets", json=bad)
            assert told.status_code == 422
            assert "hunter2" not in told.text
        assert (await api.delete(f"{AGENT}/secrets/webhook")).status_code == 204
        assert (await api.delete(f"{AGENT}/secrets/webhook")).status_code == 404


async def test_a_tool_is_added_once_listed_without_its_secret_and_removed(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        headers = {"Idempotency-Key": "one"}
        made = await api.post(f"{AGENT}/http-tools", json=TOOL, headers=headers)
        again = await api.post(f"{AGENT}/http-tools", json=TOOL, headers=headers)
        assert (made.status_code, again.json()) == (201, made.json())
        assert (await api.post(f"{AGENT}/http-tools", json=TOOL)).status_code == 409
        listed = await api.get(f"{AGENT}/http-tools")
        assert listed.json()[0]["headers"] == ["Authorization"]
        assert "topsecret17" not in listed.text + made.text
        path = f"{AGENT}/http-tools/find_order/headers"
        given = await api.put(f"{path}/Authorization", json={"value": "Bearer topsecret18"})
        assert (given.status_code, "topsecret" in given.text) == (200, False)
        assert (await api.put(f"{path}/X-Other", json={"value": "x"})).status_code == 404
        assert (await api.delete(f"{AGENT}/http-tools/find_order")).status_code == 204
        assert (await api.delete(f"{AGENT}/http-tools/find_order")).status_code == 404


async def test_who_may_only_read_changes_nothing_and_a_stranger_sees_nothing(
    room: Mailroom,
) -> None:
    async with open_api(room, await key(room, "agent.read", "approval.read")) as api:
        assert (await api.get(f"{AGENT}/abilities")).status_code == 200
        assert (await api.get("/workspaces/shop/tool-calls")).json() == []
        assert (await api.patch(f"{AGENT}/abilities", json={})).status_code == 403
        assert (await api.post(f"{AGENT}/secrets", json={"name": "webhook"})).status_code == 403
    async with open_api(room, await key(room, workspace="wsp_other")) as api:
        assert (await api.get(f"{AGENT}/abilities")).status_code == 404


@pytest.mark.parametrize("token", ["x", "atoken", "a" * 200, "%00"])
async def test_an_answer_at_an_address_that_is_none_is_not_found(
    room: Mailroom, token: str
) -> None:
    async with open_api(room) as api:
        told = await api.post(f"/callbacks/{token}", json={"action": "no_action"})
        assert told.status_code in (404, 422)


async def test_a_program_answers_with_json_of_a_bounded_length(room: Mailroom) -> None:
    async with open_api(room) as api:
        assert (await api.post("/callbacks/x", content=b"{")).status_code == 422
        assert (await api.post("/callbacks/x", content=b"1" * 1_000_001)).status_code == 422


async def test_processors_in_order_are_saved_and_a_typo_is_not(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        good = await api.patch(AGENT, json={"processor": "webhook+builtin"})
        assert good.json()["processor"] == "webhook+builtin"
        assert (await api.patch(AGENT, json={"processor": "webhook+gpt"})).status_code == 422


async def test_the_command_line_does_the_same(
    room: Mailroom,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys, monkeypatch).on(database_url).holding("test-key-" * 5)
    shop = ("-w", "shop")
    shown = terminal.ok("tool", "set", "hello", "--model", "claude-haiku-5-5", *shop)
    assert "claude-haiku-5-5" in shown
    assert terminal.ok("tool", "secret", "hello", "webhook", *shop).startswith("whsec_")
    file = tmp_path / "tool.json"
    file.write_text(json.dumps(TOOL))
    assert "added find_order" in terminal.ok("tool", "add", "hello", str(file), *shop)
    (tmp_path / "value").write_text("Bearer topsecret18\n")
    given = ("find_order", "Authorization", "--value", str(tmp_path / "value"))
    assert (
        terminal.ok("tool", "header", "hello", *given, *shop) == "kept Authorization of find_order"
    )
    shown = terminal.ok("tool", "show", "hello", *shop)
    assert all(word in shown for word in ("webhook", "search_documents", "find_order"))
    terminal.ok("tool", "remove", "hello", "find_order", *shop)
    assert terminal.ok("tool", "calls", *shop) == "none"
    wrong = terminal("tool", "set", "hello", "--webhook-url", "http://x.example/", *shop)
    assert (wrong.code, wrong.out) == (1, "")
