"""Policies and limits by API and command line: versioned, checked, an agent's over the others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mailagent.sandbox import Sandbox
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import Mailroom, open_mailroom
from tests.operation.terminal import Terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = "/workspaces/shop"
HELLO = f"{SHOP}/agents/hello"


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, Sandbox(allowed=())) as opened:
        yield opened


async def test_a_policy_is_set_whole_and_its_versions_count_up(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        before = (await api.get(f"{SHOP}/policy")).json()
        assert (before["version"], before["policy"]) == (0, {})
        for number, cells in enumerate(({"stranger": {"link": "do"}}, {"member": {"sends": "do"}})):
            made = (await api.put(f"{SHOP}/policy", json={"policy": cells})).json()
            assert (made["version"], made["policy"]) == (number + 1, cells)
        assert made["effective"]["stranger"]["link"] == "ask"  # what was set before is gone
        assert made["effective"]["member"]["sends"] == "do"
        first = await api.get(f"{SHOP}/policy", params={"version": 1})
        assert first.json()["policy"] == {"stranger": {"link": "do"}}
        assert (await api.get(f"{SHOP}/policy", params={"version": 9})).status_code == 404


async def test_an_agents_policy_lies_over_the_workspaces(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        workspace = {"stranger": {"link": "do", "attachment": "do"}}
        await api.put(f"{SHOP}/policy", json={"policy": workspace})
        made = await api.put(f"{HELLO}/policy", json={"policy": {"stranger": {"link": "refuse"}}})
        row = made.json()["effective"]["stranger"]
        assert (row["link"], row["attachment"], row["reply"]) == ("refuse", "do", "do")
        assert made.json()["version"] == 1


async def test_a_typo_in_a_policy_is_no_policy(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        bad = await api.put(f"{SHOP}/policy", json={"policy": {"stranger": {"lnk": "do"}}})
        assert bad.status_code == 422
        assert "policy.stranger: 'lnk' is unknown: did you mean 'link'?" in bad.json()["detail"]
        assert (await api.get(f"{SHOP}/policy")).json()["version"] == 0


async def test_limits_are_changed_one_by_one_and_taken_back(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        changes = {"approve_below": 0.95, "replies_per_agent_a_day": None}
        made = (await api.patch(f"{SHOP}/limits", json={"limits": changes})).json()
        assert made["limits"] == changes
        own = {"limits": {"replies_per_agent_a_day": 7}}
        agent = (await api.patch(f"{HELLO}/limits", json=own)).json()
        assert agent["limits"] == own["limits"]
        assert agent["effective"]["approve_below"] == 0.95
        back = (await api.patch(f"{SHOP}/limits", json={"reset": ["approve_below"]})).json()
        assert back["limits"] == {"replies_per_agent_a_day": None}
        assert back["effective"]["approve_below"] == 0.8


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": {"approve_blow": 0.9}}, "limits.approve_blow"),
        ({"limits": {"approve_below": "high"}}, "limits.approve_below"),
        ({"limits": {"working_hours": {"zone": "Nowhere"}}}, "limits.working_hours.zone"),
        ({"reset": ["nothing"]}, "limits.nothing"),
        ({"limits": {"approve_below": 0.5}}, "hand_over_below must not be above approve_below"),
    ],
)
async def test_a_bad_limit_names_its_field(room: Mailroom, body: Any, field: str) -> None:
    async with open_api(room, await key(room)) as api:
        told = await api.patch(f"{SHOP}/limits", json=body)
        assert told.status_code == 422
        assert field in told.json()["detail"]
        assert (await api.get(f"{SHOP}/limits")).json()["limits"] == {}


async def test_an_agents_limit_that_contradicts_its_workspaces_is_refused(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        await api.patch(f"{SHOP}/limits", json={"limits": {"hand_over_below": 0.75}})
        told = await api.patch(f"{HELLO}/limits", json={"limits": {"approve_below": 0.72}})
        assert told.status_code == 422


async def test_limits_and_the_other_settings_leave_each_other_alone(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        await api.patch(f"{SHOP}/limits", json={"limits": {"amount": 5}})
        await api.patch(SHOP, json={"settings": {"retention_days": 30}})
        await api.patch(f"{HELLO}/limits", json={"limits": {"amount": 6}})
        await api.patch(HELLO, json={"escalation_address": "eva@shop.example"})
        assert (await api.get(f"{SHOP}/limits")).json()["limits"] == {"amount": "5"}
        assert (await api.get(f"{HELLO}/limits")).json()["limits"] == {"amount": "6"}
        assert (await api.get(SHOP)).json()["settings"]["retention_days"] == 30


async def test_who_may_only_read_sets_nothing(room: Mailroom) -> None:
    async with open_api(room, await key(room, "trust.read")) as api:
        assert (await api.get(f"{SHOP}/policy")).status_code == 200
        assert (await api.put(f"{SHOP}/policy", json={"policy": {}})).status_code == 403
        assert (await api.patch(f"{SHOP}/limits", json={})).status_code == 403
    async with open_api(room, await key(room, workspace="wsp_other")) as api:
        for path in (f"{SHOP}/policy", f"{SHOP}/limits", f"{HELLO}/policy", f"{HELLO}/limits"):
            assert (await api.get(path)).status_code == 404


async def test_the_command_line_does_the_same(
    room: Mailroom,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys, monkeypatch).on(database_url)
    shop = ("-w", "shop")
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"stranger": {"link": "refuse"}}))
    shown = terminal.ok("policy", "set", str(file), "--agent", "hello", *shop)
    assert shown.startswith("version 1\n")
    assert terminal("policy", "show", "--agent", "hello", *shop, "--json").json["version"] == 1
    assert terminal.ok("policy", "show", *shop).startswith("nothing is set")

    hours = 'working_hours={"zone": "Europe/Berlin"}'
    terminal.ok("limits", "set", "approve_below=0.9", hours, "signature=Your shop", *shop)
    kept = terminal("limits", "show", *shop, "--json").json["limits"]
    assert kept["working_hours"]["opens"] == "09:00"
    assert kept["signature"] == "Your shop"
    terminal.ok("limits", "reset", "signature", *shop)
    assert "* approve_below" in (text := terminal.ok("limits", "show", *shop))
    assert "  signature" in text
    wrong = terminal("limits", "set", "approve_below", *shop)
    assert (wrong.code, wrong.out) == (1, "")
