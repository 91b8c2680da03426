"""Caps in money: who may set which, and what the agents have spent beside them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.agents import service as agents
from backend.caps import unpriced_by
from backend.cli import main
from backend.doctor import examine
from backend.spending import service as spending
from backend.workspaces import service as workspaces
from mailagent.errors import Conflict, Malformed
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store.tables import threads, turns
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from tests.backend.api_client import key, open_api
from tests.backend.conftest import House
from tests.backend.mailroom import open_mailroom

UNKNOWN = {"claude": "claude-next-9", "": "claude-next-9"}


@pytest.fixture
async def api(sqlite_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        open_mailroom(sqlite_url, Sandbox()) as mailroom,
        open_api(mailroom, await key(mailroom)) as client,
    ):
        yield client


def spend(house: House, cost: str | None, *, ago: timedelta) -> None:
    """One turn of `hello` that asked a model."""

    def turn(tx: Transaction) -> None:
        thread_id = new_id("thr")
        tx.insert(
            threads,
            {
                "id": thread_id,
                "agent_id": house.agent.id,
                "subject": "",
                "reply_key": thread_id[-16:],
                "created_at": tx.now,
                "last_at": tx.now,
                "ready": False,
                "not_before": tx.now,
            },
        )
        tx.insert(
            turns,
            {
                "id": new_id("trn"),
                "thread_id": thread_id,
                "agent_id": house.agent.id,
                "sender": "ann@customer.example",
                "state": "done",
                "processor": "claude",
                "started_at": tx.now - ago,
                "model": "m",
                "cost_usd": None if cost is None else Decimal(cost),
            },
        )

    house.store.write_now(house.acme.id, turn)


async def test_caps_are_set_shown_and_taken_back_by_the_api(api: httpx.AsyncClient) -> None:
    changed = await api.patch("/workspaces/shop", json={"settings": {"usd_a_day": 5}})
    assert changed.json()["settings"]["usd_a_day"] == "5"
    await api.patch("/workspaces/shop", json={"settings": {"usd_a_month": "49.90"}})
    agent = await api.patch("/workspaces/shop/agents/hello", json={"usd_a_day": "0.50"})
    assert agent.json()["usd_a_day"] == "0.50"

    shown = (await api.get("/workspaces/shop/spending")).json()
    assert shown["workspace"]["day"] == {"spent_usd": "0", "cap_usd": "5", "unpriced_turns": 0}
    assert shown["workspace"]["month"]["cap_usd"] == "49.90"
    assert shown["agents"][0]["day"]["cap_usd"] == "0.50"
    cleared = await api.patch("/workspaces/shop", json={"settings": {"usd_a_day": None}})
    assert cleared.json()["settings"]["usd_a_day"] is None
    assert cleared.json()["settings"]["usd_a_month"] == "49.90"


def test_an_agents_settings_change_one_by_one(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, agents.update_agent, "hello", {"escalation_address": "help@acme.example"})
    write(acme, agents.update_agent, "hello", {"usd_a_day": "1"})
    changed = write(acme, agents.update_agent, "hello", {"usd_a_month": "9", "usd_a_day": None})

    assert (changed.usd_a_day, changed.usd_a_month) == (None, "9")
    assert changed.escalation_address == "help@acme.example"


@pytest.mark.parametrize("bad", [-1, "five", "NaN", "Infinity", 1_000_001, "0.0000001", True, [5]])
def test_a_cap_that_is_no_sum_of_dollars_is_refused(house: House, bad: Any) -> None:
    with pytest.raises(Malformed, match="usd_a_day: must be US dollars"):
        house.store.write_now(house.acme.id, workspaces.update_settings, {"usd_a_day": bad})


def test_a_cap_on_costs_that_cannot_be_counted_is_refused_with_the_mend(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    refusal, cap = r"claude-next-9, is not known\. Set ANTHROPIC_PRICE", {"usd_a_day": "5"}
    with pytest.raises(Conflict, match=refusal):
        write(acme, workspaces.update_settings, cap, unpriced=UNKNOWN)
    with pytest.raises(Conflict, match=refusal):
        write(acme, agents.update_agent, "hello", cap, unpriced=UNKNOWN)
    write(acme, agents.update_agent, "hello", {"processor": "builtin"}, unpriced=UNKNOWN)

    write(acme, workspaces.update_settings, cap, unpriced=UNKNOWN)


def test_an_agent_under_a_cap_is_not_given_a_model_without_a_price(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, agents.update_agent, "hello", {"usd_a_day": "5", "processor": "builtin"})

    with pytest.raises(Conflict, match="ANTHROPIC_PRICE"):
        write(acme, agents.update_agent, "hello", {"processor": "claude"}, unpriced=UNKNOWN)
    assert house.store.read_now(acme, agents.get, "hello").processor == "builtin"


def test_a_given_price_makes_every_cost_known() -> None:
    asked = {"anthropic_model": "claude-next-9", "llm_provider": "claude"}
    assert unpriced_by(Settings.model_validate(asked)) == UNKNOWN
    assert unpriced_by(Settings.model_validate({**asked, "anthropic_price": "3/15"})) == {}
    assert unpriced_by(Settings.model_validate({**asked, "llm_provider": "builtin"})) == {
        "claude": "claude-next-9"
    }


async def test_the_doctor_tells_of_a_model_without_a_price(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"mailagent_data": tmp_path, "anthropic_api_key": "k", "anthropic_model": "claude-next-9"}
    )
    (found,) = [check async for check in examine(settings) if check.name == "agents"]

    assert found.found == "processor claude; what claude-next-9 costs is not known"
    assert "ANTHROPIC_PRICE" in found.mend


def test_spending_is_told_by_window_for_the_workspace_and_each_agent(house: House) -> None:
    spend(house, "1.25", ago=timedelta(hours=1))
    spend(house, "2", ago=timedelta(days=2))
    spend(house, None, ago=timedelta(days=3))
    spend(house, "4", ago=timedelta(days=31))

    found = house.store.read_now(house.acme.id, spending.of_workspace)
    assert found.workspace.day == spending.Window(Decimal("1.25"), None, 0)
    assert found.workspace.month == spending.Window(Decimal("3.25"), None, 1)
    assert [(one.handle, one.day.spent_usd) for one in found.agents] == [("hello", Decimal("1.25"))]
    other = house.store.read_now(house.other.id, spending.of_workspace)
    assert other.workspace.month.spent_usd == 0


def test_the_shell_sets_caps_and_shows_what_is_spent(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)

    def mailagent(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        return printed.out

    mailagent("workspace", "create", "acme")
    mailagent("agent", "create", "hello")
    mailagent("workspace", "set", "acme", "--usd-a-day", "0", "--usd-a-month", "20")
    mailagent("agent", "set", "hello", "--usd-a-day", "0.50")
    assert "counted" in mailagent("agent", "show", "hello")

    lines = [line.split() for line in mailagent("workspace", "spending", "acme").splitlines()]
    assert lines[0] == ["the", "workspace", "in", "24", "hours", "0.00", "of", "0"]
    assert lines[2] == ["hello", "in", "24", "hours", "0.00", "of", "0.50"]
    mailagent("workspace", "set", "acme", "--usd-a-day", "")
    shown = json.loads(mailagent("workspace", "spending", "acme", "--json"))
    assert shown["workspace"]["day"]["cap_usd"] is None
    assert shown["workspace"]["month"]["cap_usd"] == "20"
