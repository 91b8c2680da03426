"""Lists by API and command line: one at a time and by files, within the workspace's bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backend.paging import Window
from backend.trust import lists
from mailagent.errors import Conflict, Malformed
from mailagent.sandbox import Sandbox
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import HELLO, Mailroom, open_mailroom
from tests.operation.terminal import Terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/workspaces/shop/lists"
BODY = {"pattern": "Customer.example", "what": "receive", "verdict": "block", "note": "spam"}


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, Sandbox(allowed=())) as opened:
        yield opened


async def test_an_entry_is_added_shown_and_removed(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        made = (await api.post(PATH, json=BODY)).json()
        assert (made["pattern"], made["mailbox"], made["note"]) == (
            "customer.example",
            None,
            "spam",
        )
        assert made["author"].startswith("key:ma_")
        assert (await api.get(PATH, params={"what": "send"})).json()["items"] == []
        assert (await api.get(PATH)).json()["items"] == [made]
        assert (await api.delete(f"{PATH}/{made['id']}")).status_code == 204
        assert (await api.delete(f"{PATH}/{made['id']}")).status_code == 404


async def test_the_same_post_again_adds_once(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        headers = {"Idempotency-Key": "one"}
        first = await api.post(PATH, json=BODY, headers=headers)
        again = await api.post(PATH, json=BODY, headers=headers)
        assert first.json() == again.json()
        told = await api.post(PATH, json=BODY | {"verdict": "allow"})
        assert told.status_code == 409
        assert "block receive customer.example of the workspace already" in told.json()["detail"]


async def test_what_is_no_pattern_or_no_address_of_ours_is_named(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        bad = await api.post(PATH, json=BODY | {"pattern": "@customer.example"})
        assert (bad.status_code, "pattern" in bad.json()["detail"]) == (422, True)
        foreign = await api.post(PATH, json=BODY | {"mailbox": "hello@other.aexy.example"})
        assert "no address of this workspace" in foreign.json()["detail"]
        assert (await api.post(PATH, json=BODY | {"mailbox": HELLO})).status_code == 201


async def test_who_may_only_read_changes_nothing_and_a_stranger_sees_nothing(
    room: Mailroom,
) -> None:
    async with open_api(room, await key(room, "trust.read")) as api:
        assert (await api.get(PATH)).status_code == 200
        assert (await api.post(PATH, json=BODY)).status_code == 403
    async with open_api(room, await key(room, workspace="wsp_other")) as api:
        assert (await api.get(PATH)).status_code == 404


async def test_a_file_comes_in_whole_or_not_at_all(room: Mailroom) -> None:
    wanted = {"what": "send", "verdict": "block"}
    async with open_api(room, await key(room)) as api:
        lines = ["# competitors", "", "*@rival.example", "boss@rival.example"]
        done = await api.post(f"{PATH}/import", json=wanted | {"lines": lines})
        assert done.json() == {"added": 2, "known": 0}
        bad = await api.post(f"{PATH}/import", json=wanted | {"lines": ["ok.example", "a b"]})
        assert "line 2" in bad.json()["detail"]
        assert len((await api.get(PATH)).json()["items"]) == 2
        opposite = wanted | {"verdict": "allow", "lines": ["x.example", "boss@rival.example"]}
        assert (await api.post(f"{PATH}/import", json=opposite)).status_code == 409
        assert len((await api.get(PATH)).json()["items"]) == 2


async def test_a_list_has_a_thousand_entries_at_most(room: Mailroom) -> None:
    async def bring(*lines: str, what: str = "reply") -> None:
        await room.do(lists.bring_in, lines, what=what, verdict="block", actor="cli")

    await bring(*(f"d{number}.example" for number in range(lists.MOST)))
    with pytest.raises(Conflict, match="1,000"):
        await bring("one-more.example")
    with pytest.raises(Conflict, match="1,000"):
        await room.do(lists.add, "x.example", what="reply", verdict="allow", actor="cli")
    await bring("one-more.example", what="send")
    assert len((await room.ask(lists.listing, Window(5_000))).items) == lists.MOST + 1


async def test_an_empty_pattern_is_malformed(room: Mailroom) -> None:
    with pytest.raises(Malformed):
        await room.do(lists.add, " ", what="send", verdict="block", actor="cli")


async def test_the_command_line_does_the_same(
    room: Mailroom,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys, monkeypatch).on(database_url)
    shop = ("-w", "shop")
    terminal.ok("lists", "add", "block", "receive", "rival.example", *shop, "--note", "no")
    file = tmp_path / "allowed.txt"
    file.write_text("# ours\nann@customer.example\n")
    done = terminal.ok("lists", "import", "allow", "reply", str(file), "--for", HELLO, *shop)
    assert done == "1 added"
    (allowed,) = terminal("lists", "list", "--what", "reply", *shop, "--json").json
    assert (allowed["pattern"], allowed["mailbox"]) == ("ann@customer.example", HELLO)
    terminal.ok("lists", "remove", allowed["id"], *shop)
    assert "rival.example" in terminal.ok("lists", "list", *shop)
    wrong = terminal("lists", "add", "block", "receive", "a b", *shop)
    assert (wrong.code, wrong.out) == (1, "")
