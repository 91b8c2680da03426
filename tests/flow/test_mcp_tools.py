"""Tools of MCP servers in a running installation: the SDK's own server, by HTTP and stdio."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from mailagent.agents import Turn
from mailagent.agents.mcp_lists import ListedTool, McpLists
from mailagent.agents.mcp_servers import Program, load_listing, parse_servers
from mailagent.agents.tools import ToolResult
from mailagent.egress import Egress
from mailagent.errors import Malformed, Misconfigured
from mailagent.flow import policies
from mailagent.outgoing import Reply
from mailagent.store import tables as t
from tests.flow.house import House, Space, mail
from tests.mcp_server import make, serve

pytestmark = pytest.mark.asyncio(loop_scope="package")


class Uses:
    """Uses one tool, unless its name is empty, and answers."""

    def __init__(self, name: str, wish: Any) -> None:
        self.name, self.wish = name, wish
        self.offered: list[str] = []
        self.result: ToolResult | None = None

    async def __call__(self, turn: Turn) -> Reply:
        self.offered = [tool.name for tool in turn.tools.offered]
        if self.name:
            self.result = await turn.tools.use("call_1", self.name, self.wish)
        return Reply("Thank you.")


async def used(house: House, mind: Uses, servers: Any, cells: Any = None) -> Space:
    space = await house.workspace(mind)

    def work(tx: Any) -> None:
        settings = {"mcp_servers": servers, "tools": []}
        agent = t.agents.c.id == space.agent_id
        tx.execute(update(t.agents).where(agent).values(settings=settings))
        if cells:
            policies.save(tx, cells, author="cli")

    await space.write(work)
    got = await space.receive()
    # A child that imports the SDK needs seconds on a machine that is busy.
    with contextlib.suppress(TimeoutError):
        await space.answer_to(got)
    await space.answer_to(got)
    return space


async def test_a_tool_that_reads_is_used_and_its_answer_is_data(house: House) -> None:
    mind = Uses("mcp_orders_find_order", {"number": "17"})
    async with serve() as url:
        await used(house, mind, [{"name": "orders", "url": url, "reads": ["find_order"]}])
    assert mind.offered == ["mcp_orders_find_order"]  # what sends is refused to a stranger
    assert mind.result is not None
    assert "Order 17: shipped." in mind.result.text
    assert mind.result.text.count("</tool_result>") == 1


async def test_what_nobody_called_harmless_is_refused_to_a_stranger(house: House) -> None:
    mind = Uses("mcp_orders_cancel_order", {"number": "17"})
    async with serve() as url:
        space = await used(house, mind, [{"name": "orders", "url": url}])
    assert mind.result is not None
    assert mind.result.is_error
    [call] = await space.rows(t.tool_calls)
    assert call.state == "refused"


async def test_a_program_of_the_operators_list_is_run(house: House) -> None:
    listing = house.services.mcp_listing
    assert isinstance(listing, dict)
    listing["orders"] = Program((sys.executable, "-m", "tests.mcp_server"))
    mind = Uses("mcp_orders_find_order", {"number": "18"})
    try:
        await used(house, mind, [{"name": "orders", "reads": ["find_order"]}])
    finally:
        del listing["orders"]
    assert mind.result is not None
    assert "Order 18" in mind.result.text


def times_listed(log: Path) -> int:
    """How often a server was asked: before a turn, and by the SDK after a call that went well."""
    return len(log.read_text().splitlines()) if log.exists() else 0


async def test_a_server_is_asked_for_its_tools_once_for_many_turns(
    house: House, tmp_path: Path
) -> None:
    log = tmp_path / "listed"
    mind = Uses("", {"number": "17"})
    async with serve(make(log)) as url:
        servers = [{"name": "orders", "url": url, "reads": ["find_order"]}]
        space = await used(house, mind, servers)
        await space.answer_to(await space.receive(mail("And now?")))
        assert times_listed(log) == 1
        mind.name = "mcp_orders_find_order"
        await space.answer_to(await space.receive(mail("And my order?")))
        assert times_listed(log) == 2
    assert mind.offered == ["mcp_orders_find_order"]
    assert mind.result is not None
    assert "Order 17" in mind.result.text


async def test_a_server_that_knows_its_tool_no_more_is_asked_again(
    house: House, tmp_path: Path
) -> None:
    log = tmp_path / "listed"
    server = make(log)
    mind = Uses("mcp_orders_find_order", {"number": "17"})
    async with serve(server) as url:
        space = await used(house, mind, [{"name": "orders", "url": url, "reads": ["find_order"]}])
        server.remove_tool("find_order")
        await space.answer_to(await space.receive(mail("Once more.")))
        assert mind.result is not None
        assert (mind.result.is_error, times_listed(log)) == (True, 2)
        await space.answer_to(await space.receive(mail("And again.")))
        assert (mind.offered, times_listed(log)) == ([], 3)


async def test_a_server_that_says_that_its_tools_changed_is_asked_again(
    house: House, tmp_path: Path
) -> None:
    listing = house.services.mcp_listing
    assert isinstance(listing, dict)
    log = tmp_path / "listed"
    command = (sys.executable, "-m", "tests.mcp_old_server")
    listing["orders"] = Program(command, {"LISTED": str(log)})
    mind = Uses("mcp_orders_learn", {})
    try:
        space = await used(house, mind, [{"name": "orders", "reads": ["learn"]}])
        assert mind.result is not None
        assert "Learned." in mind.result.text
        mind.name = ""
        await space.answer_to(await space.receive(mail("And now?")))
    finally:
        del listing["orders"]
    assert times_listed(log) == 3


async def test_lists_are_kept_for_a_time_and_the_least_used_goes_first() -> None:
    now = [0.0]
    lists = McpLists(seconds=10, most=2, clock=lambda: now[0])
    tool = ListedTool("find", "Finds.", {"type": "object"})
    lists.keep([tool], "agt_1", "crm")
    lists.keep([], "agt_2", "crm")
    assert lists.get("agt_1", "crm") == [tool]
    lists.keep([], "agt_3", "crm")
    assert [lists.get(agent, "crm") is None for agent in ("agt_1", "agt_2")] == [False, True]
    now[0] = 10.0
    assert lists.get("agt_1", "crm") is None


async def test_a_server_that_is_away_offers_nothing_and_stops_no_turn(house: House) -> None:
    mind = Uses("mcp_orders_find_order", {"number": "17"})
    async with serve() as url:
        pass
    await used(house, mind, [{"name": "orders", "url": url, "reads": ["find_order"]}])
    assert mind.offered == []
    assert mind.result is not None
    assert mind.result.is_error


@pytest.mark.parametrize(
    "servers",
    [
        {},
        [{"name": "Orders", "url": "https://a.example/"}],
        [{"name": "orders", "url": "http://a.example/"}],
        [{"name": "orders", "url": "https://127.0.0.1/mcp"}],
        [{"name": "orders"}],
        [{"name": "orders", "command": ["rm", "-rf", "/"]}],
        [{"name": "orders", "url": "https://a.example/", "reads": "find"}],
        [{"name": "orders", "url": "https://a.example/"}] * 2,
    ],
)
async def test_servers_that_make_no_sense_are_not_saved(servers: Any) -> None:
    with pytest.raises(Malformed, match="mcp_servers"):
        parse_servers("mcp_servers", servers, listed=["wiki"], egress=Egress())


@pytest.mark.parametrize(
    "listing",
    [
        "[]",
        "{",
        '{"a b": {"url": "x"}}',
        '{"a": {}}',
        '{"a": {"command": "rm"}}',
        '{"a": {"command": ["x"], "url": "y"}}',
    ],
)
async def test_a_listing_that_makes_no_sense_is_named_at_the_start(
    listing: str, tmp_path: Any
) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(listing)
    with pytest.raises(Misconfigured, match="MAILAGENT_MCP_SERVERS"):
        load_listing(str(file))
    assert load_listing("") == {}
