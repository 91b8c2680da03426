"""What a person at a shell, a program with a key and a reader of a page see of removed mail."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from backend.cli.commands import app
from backend.cli.shell import Shell
from backend.inboxes import contents, handling
from backend.inboxes.listing import one
from backend.inboxes.story import story
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import removal
from mailagent.outgoing import Silence
from mailagent.sandbox import Sandbox
from mailagent.store.transaction import Transaction
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANN = "ann@customer.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(sqlite_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(sqlite_url, sandbox) as opened:
        yield opened


def run(room: Mailroom, *words: str, answer: str | None = None) -> Result:
    shell = Shell({**os.environ, "DATABASE_URL": room.store.url})
    try:
        return CliRunner().invoke(app, ["--json", *words], input=answer, obj=shell)
    finally:
        shell.close()


async def shelled(room: Mailroom, *words: str, answer: str | None = None) -> Any:
    """What a command prints, as JSON; its error is raised."""
    result = await asyncio.to_thread(run, room, *words, answer=answer)
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)


async def test_a_command_counts_asks_and_removes(room: Mailroom) -> None:
    id_ = await room.answered()
    counted = await shelled(room, "purge", "address", ANN, "--dry-run")
    assert (counted["received"], counted["sent"]) == (1, 1)
    with pytest.raises(Malformed, match="nothing was removed"):
        await shelled(room, "purge", "mail", id_, answer="n\n")
    assert (await room.ask(one, id_)).content_removed is None

    done = await shelled(room, "purge", "workspace", "shop", "--yes", "--vacuum")

    assert (done["received"], done["sent"]) == (1, 1)
    assert "removed by purge on" in str((await room.ask(one, id_)).content_removed)


async def test_a_person_is_purged_by_api_with_the_permission_for_it(room: Mailroom) -> None:
    id_ = await room.answered()
    async with open_api(room, await key(room, "message.read", "message.send")) as api:
        refused = await api.post("/workspaces/shop/purge", json={"address": ANN})
    async with open_api(room, await key(room, "mail.purge", "message.read")) as api:
        two = await api.post("/workspaces/shop/purge", json={"address": ANN, "mail": id_})
        done = await api.post("/workspaces/shop/purge", json={"address": ANN})
        shown = await api.get(f"/workspaces/shop/deliveries/{id_}")
    assert (refused.status_code, two.status_code) == (403, 422)
    assert done.json()["received"] == 1
    assert shown.json()["content"] is None
    assert shown.json()["content_removed"].startswith("removed by purge on ")


async def test_removed_mail_says_so_wherever_somebody_asks_for_it(room: Mailroom) -> None:
    room.agent_says(Silence("nothing to say"))
    id_ = await room.answered(mail(attachment=("a.txt", "text")))

    def remove(tx: Transaction) -> None:
        removal.remove_received(tx, [id_], "retention", why="a test")

    await room.do(remove)

    gone = r"removed by retention on \d{4}-\d\d-\d\d"
    with pytest.raises(Conflict, match=f"cannot be driven again: its content was {gone}"):
        await room.do(handling.replay, id_, actor="cli")
    with pytest.raises(NotFound, match=f"are not here: they were {gone}"):
        await contents.raw(room.services, "wsp_shop", id_)
    (end,) = (await room.ask(story, id_)).endings
    assert "its content was removed by retention on" in end.means
    with pytest.raises(NotFound, match=gone):
        await contents.attachment(room.services, "wsp_shop", id_, "2")


async def test_retention_is_set_and_shown_by_command(room: Mailroom) -> None:
    made = await shelled(room, "retention", "set", "30", "--workspace", "shop")
    assert made["settings"]["retention_days"] == 30
    with pytest.raises(Malformed, match="retention_days: must be a whole number of days from 1"):
        await shelled(room, "retention", "set", "0", "--workspace", "shop")
    assert (await shelled(room, "retention", "off", "-w", "shop"))["settings"] == {
        **made["settings"],
        "retention_days": None,
    }


async def test_the_stop_of_a_purged_address_can_still_be_lifted(room: Mailroom) -> None:
    await shelled(room, "suppressions", "add", ANN, "-w", "shop")
    await shelled(room, "purge", "address", ANN, "--yes")
    (kept,) = await shelled(room, "suppressions", "list")
    assert kept["address"].startswith("sha256:")
    await shelled(room, "suppressions", "remove", ANN, "-w", "shop")
    assert await shelled(room, "suppressions", "list") == []
