"""What waits for a yes, decided by API, command line and page; never by the agent's own key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from backend.access import keys
from backend.access.sign_in import create_link
from backend.approvals import service
from backend.operation import aftermath
from backend.web import create_web
from mailagent.outgoing import Assessment, Reply
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store import tables as t
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import DOMAIN, OWNER, Mailroom, mail, open_mailroom
from tests.operation.terminal import Terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/workspaces/shop/approvals"
SITE = "http://127.0.0.1:8000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, sandbox) as opened:
        made_of_it = Assessment(intent="refund", urgency="high", topics=("money",))
        opened.agent_says(
            Reply("Yes <b>now</b>.", html="<p>Yes</p>", ask="a promise", assessment=made_of_it)
        )
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def api(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(room, await key(room)) as client:
        yield client


async def waiting(room: Mailroom) -> str:
    """A draft that waits; returns the approval's id."""
    await room.deliver(mail())
    await room.work()
    rows = await room.rows(select(t.approvals).where(t.approvals.c.state == "waiting"))
    return str(rows[-1].id)


async def replies(room: Mailroom) -> int:
    return len(await room.rows(select(t.outbound_mails).filter_by(purpose="reply")))


async def test_the_queue_shows_why_the_draft_the_mail_and_what_the_agent_made_of_it(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    id_ = await waiting(room)
    (one,) = (await api.get(PATH, params={"state": "waiting"})).json()["items"]
    assert one == (await api.get(f"{PATH}/{id_}")).json()
    assert (one["kind"], one["agent"], one["at_expiry"]) == ("draft", "hello", "reject")
    assert one["reasons"] == ["the agent asks for it: a promise"]
    assert one["draft"]["to"] == ["ann@customer.example"]
    assert one["draft"]["text"] == "Yes <b>now</b>."
    assert one["incoming"]["text"].strip() == "Where is my order?"
    assert (one["assessment"]["intent"], one["assessment"]["topics"]) == ("refund", ["money"])
    assert (await api.get(PATH, params={"state": "approved"})).json()["items"] == []


async def test_a_yes_sends_once_however_often_it_is_posted(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    id_ = await waiting(room)
    headers = {"Idempotency-Key": "yes"}
    first = await api.post(f"{PATH}/{id_}/approve", json={}, headers=headers)
    again = await api.post(f"{PATH}/{id_}/approve", json={}, headers=headers)
    assert first.json() == again.json()
    assert (first.json()["state"], first.json()["decided_by"][:4]) == ("approved", "key:")
    late = await api.post(f"{PATH}/{id_}/reject", json={})
    assert late.status_code == 409
    assert "it was approved by key:ma_" in late.json()["detail"]
    assert await replies(room) == 1


async def test_a_no_keeps_its_reason_and_sends_nothing(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    id_ = await waiting(room)
    done = await api.post(f"{PATH}/{id_}/reject", json={"reason": "we never promise"})
    assert (done.json()["state"], done.json()["decision"]) == ("rejected", "we never promise")
    assert await replies(room) == 0


async def test_an_edit_goes_on_waiting_and_a_yes_to_what_was_before_is_refused(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    id_ = await waiting(room)
    before = (await api.get(f"{PATH}/{id_}")).json()["digest"]
    edited = await api.post(f"{PATH}/{id_}/edit", json={"text": "Perhaps.", "digest": before})
    one = edited.json()
    assert (one["state"], one["draft"]["text"], one["draft"]["html"]) == (
        "waiting",
        "Perhaps.",
        None,
    )
    assert one["edits"][0]["from_digest"] == before
    told = await api.post(f"{PATH}/{id_}/approve", json={"digest": before})
    assert told.status_code == 409
    done = await api.post(f"{PATH}/{id_}/approve", json={"digest": one["digest"]})
    assert done.json()["state"] == "approved"
    (sent,) = await room.rows(select(t.outbound_mails).filter_by(purpose="reply"))
    assert sent.outgoing["text"] == "Perhaps."


FILE = {"filename": "b.txt", "content_type": "text/plain", "content_base64": "Qg=="}


async def test_recipients_and_files_are_edited_by_who_may_send_and_else_within_the_policy(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    id_ = await waiting(room)
    wider = {"to": ["ann@customer.example", "Desk <desk@elsewhere.example>"], "add_files": [FILE]}
    async with open_api(room, await key(room, "approval.decide", "approval.read")) as narrow:
        told = await narrow.post(f"{PATH}/{id_}/edit", json=wider)
        assert (told.status_code, "needs the permission message.send" in told.text) == (403, True)
        within = await narrow.post(f"{PATH}/{id_}/edit", json={"subject": "Re: your question"})
        assert within.json()["draft"]["subject"] == "Re: your question"
    one = (await api.post(f"{PATH}/{id_}/edit", json=wider)).json()
    assert one["draft"]["to"] == ["ann@customer.example", "desk@elsewhere.example"]
    assert [file["filename"] for file in one["draft"]["attachments"]] == ["b.txt"]
    assert any("desk@elsewhere.example" in reason for reason in one["reasons"][1:])
    wrong: dict[str, Any]
    for wrong in ({"to": ["nobody"]}, {"add_files": [FILE | {"content_base64": "!"}]}, {"to": []}):
        assert (await api.post(f"{PATH}/{id_}/edit", json=wrong)).status_code == 422
    await api.post(f"{PATH}/{id_}/approve", json={"digest": one["digest"]})
    rows = await room.rows(select(t.outbound_recipients.c.address))
    assert "desk@elsewhere.example" in [row.address for row in rows]


async def agents_key(room: Mailroom, *permissions: str) -> str:
    made = await room.do(keys.create, "agent's", permissions or ["root:full"], agent="hello")
    return str(made.secret)


async def test_an_agents_key_neither_sees_nor_decides_its_own(room: Mailroom) -> None:
    id_ = await waiting(room)
    async with open_api(room, await agents_key(room)) as api:
        assert (await api.get(PATH)).json()["items"] == []
        assert (await api.get(f"{PATH}/{id_}")).status_code == 404
        for what, body in (("approve", {}), ("reject", {}), ("edit", {"text": "x"})):
            answer = await api.post(f"{PATH}/{id_}/{what}", json=body)
            assert answer.status_code == 404
    assert await replies(room) == 0


async def test_an_agents_key_cannot_make_a_key_that_could(room: Mailroom) -> None:
    wanted: dict[str, Any] = {"name": "x", "permissions": ["approval.decide"]}
    async with open_api(room, await agents_key(room)) as api:
        assert (await api.post("/workspaces/shop/keys", json=wanted)).status_code == 403
        own = wanted | {"agent": room.agent_id}
        made = await api.post("/workspaces/shop/keys", json=own)
        assert made.json()["key"]["agent_id"] == room.agent_id


async def test_who_may_only_look_decides_nothing_and_a_stranger_sees_nothing(
    room: Mailroom,
) -> None:
    id_ = await waiting(room)
    async with open_api(room, await key(room, "approval.read")) as api:
        assert (await api.get(f"{PATH}/{id_}")).status_code == 200
        assert (await api.post(f"{PATH}/{id_}/approve", json={})).status_code == 403
    async with open_api(room, await key(room, workspace="wsp_other")) as api:
        for path in (PATH, f"{PATH}/{id_}"):
            assert (await api.get(path)).status_code == 404
        there = await api.post(f"/workspaces/other/approvals/{id_}/approve", json={})
        assert there.status_code == 404


async def test_after_a_restore_nothing_decides_but_who_reads_that_it_may_have_been_sent(
    room: Mailroom,
) -> None:
    id_ = await waiting(room)
    lapses = t.approvals.update().values(at_expiry="approve")
    await room.do(lambda tx: tx.execute(lapses))
    now = room.store.now()
    await room.store.write_unscoped(aftermath.settle, now, send_queued=False)
    one = await room.ask(service.get, id_)
    assert (one.state, one.at_expiry) == ("waiting", "reject")
    assert one.reasons[0].endswith("it may have been decided and sent since")
    assert await room.rows(select(t.approval_invitations)) == []


# --- the page ---------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def eva(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    """The owner, signed in."""
    transport = httpx.ASGITransport(app=create_web(room.services, Settings(public_url=SITE)))
    async with httpx.AsyncClient(
        transport=transport, base_url=SITE, headers={"Origin": SITE}
    ) as browser:
        token = await room.store.write_unscoped(create_link, OWNER)
        await browser.post("/sign-in", data={"token": token})
        yield browser


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found
    return found.group(1)


async def test_looking_decides_nothing_and_the_form_sends_what_was_shown(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    id_ = await waiting(room)
    page = (await eva.get(f"/approvals/{id_}")).text
    assert "Yes &lt;b&gt;now&lt;/b&gt;." in page
    assert "a promise" in page
    for what in ("approve", "reject", "edit"):
        assert (await eva.get(f"/approvals/{id_}/{what}")).status_code == 405
    assert await replies(room) == 0

    form = {"token": hidden(page, "token"), "digest": hidden(page, "digest")}
    done = await eva.post(f"/approvals/{id_}/approve", data=form)
    assert done.status_code == 303
    page = (await eva.get(f"/approvals/{id_}")).text
    assert f"by person:{OWNER}" in page
    assert "Approve and send" not in page
    assert await replies(room) == 1


async def test_a_form_without_the_sessions_token_or_of_another_draft_does_nothing(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    id_ = await waiting(room)
    page = (await eva.get(f"/approvals/{id_}")).text
    token, digest = hidden(page, "token"), hidden(page, "digest")
    bad = await eva.post(f"/approvals/{id_}/approve", data={"digest": digest})
    assert bad.status_code == 401
    changed = await eva.post(
        f"/approvals/{id_}/edit",
        data={"token": token, "digest": digest, "text": "Perhaps.", "subject": "Re: A question",
              "to": "ann@customer.example, Bo <bo@customer.example>", "cc": "", "bcc": ""},
    )  # fmt: skip
    assert changed.status_code == 303
    assert "ann@customer.example, bo@customer.example" in (await eva.get(f"/approvals/{id_}")).text
    old = await eva.post(f"/approvals/{id_}/approve", data={"token": token, "digest": digest})
    assert old.status_code == 409
    none = await eva.post(f"/approvals/{id_}/approve", data={"token": token})
    assert none.status_code == 409
    assert await replies(room) == 0
    no = await eva.post(f"/approvals/{id_}/reject", data={"token": token, "reason": "later"})
    assert no.status_code == 303


async def test_a_stranger_is_not_even_told_that_it_exists(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    assert (await eva.get("/approvals/apr_none")).status_code == 404


# --- the command line -------------------------------------------------------------------------


async def test_the_command_line_decides(
    room: Mailroom,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys, monkeypatch).on(database_url)
    terminal.holding("a secret of the tests that is long enough").set(DEFAULT_EMAIL_DOMAIN=DOMAIN)
    id_ = await waiting(room)
    assert id_ in terminal.ok("approvals", "list", "-w", "shop")
    assert "Yes <b>now</b>." in terminal.ok("approvals", "show", id_)
    (tmp_path / "b.txt").write_text("B")
    words = ("--text", "Perhaps.", "--cc", "bo@customer.example", "--file", str(tmp_path / "b.txt"))
    done = await asyncio.to_thread(terminal, "approvals", "edit", id_, *words, "--json")
    changed = done.json["draft"]
    assert (changed["text"], changed["cc"]) == ("Perhaps.", ["bo@customer.example"])
    assert changed["attachments"] == [
        {"filename": "b.txt", "content_type": "text/plain", "size_bytes": 1}
    ]
    assert terminal.ok("approvals", "reject", id_, "--reason", "no") == f"rejected {id_}"
    again = terminal("approvals", "reject", id_)
    assert (again.code, "it was rejected by cli: no" in again.err) == (1, True)
    assert terminal.ok("approvals", "list", "-w", "shop") == "nothing waits"
