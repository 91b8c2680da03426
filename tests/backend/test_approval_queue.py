"""One queue for drafts, calls of tools and held mail: by API, by command line and on its page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from backend.access.sign_in import create_link
from backend.operation import aftermath
from backend.web import create_web
from backend.workspaces import members
from mailagent.outgoing import Reply
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store import tables as t
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import OWNER, Mailroom, mail, open_mailroom
from tests.operation.terminal import Terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/workspaces/shop/approvals"
SITE = "http://127.0.0.1:8000"
RULE = {
    "id": "rul_1",
    "name": "invoices",
    "position": 1,
    "condition": {"subject_contains": "invoice"},
    "action": "hold",
    "overrides": True,
    "enabled": True,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    """Where a call, a draft and a mail wait, in this order."""
    async with open_mailroom(database_url, sandbox) as opened:
        policy = {"agent_id": "", "version": 1, "cells": {"stranger": {"changes": "ask"}}}
        await opened.do(
            lambda tx: (
                tx.insert(t.rules, RULE | {"created_at": tx.now}),
                tx.insert(t.policies, policy | {"author": "cli", "created_at": tx.now}),
            )
        )
        opened.agent_says(Reply("Yes <b>now</b>.", ask="a promise"))
        opened.agent_uses("note_contact", note="wants <i>it</i> red")
        await opened.deliver(mail(text="Is it red?"))
        await opened.work()
        await opened.deliver(mail(text="Please pay.", subject="Your invoice"))
        await opened.work()
        yield opened


async def waiting(room: Mailroom, kind: str) -> str:
    rows = select(t.approvals.c.id).where(t.approvals.c.kind == kind)
    (row,) = await room.rows(rows.where(t.approvals.c.state == "waiting"))
    return str(row.id)


async def test_one_list_has_all_that_waits_and_says_what_and_why(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        found = (await api.get(PATH, params={"state": "waiting"})).json()["items"]
        held, draft, call = found
        assert [one["kind"] for one in found] == ["mail", "draft", "call"]
        assert held["reasons"][0].startswith("rule 'invoices' matched")
        assert (held["agent"], held["thread_id"], held["draft"], held["call"]) == (
            *("hello", None),
            *(None, None),
        )
        assert held["incoming"]["subject"] == "Your invoice"
        assert draft["draft"]["text"] == "Yes <b>now</b>."
        assert (call["call"]["tool"], call["call"]["state"]) == ("note_contact", "asked")
        assert call["call"]["wish"] == {"note": "wants <i>it</i> red"}
        assert "stranger, changes" in call["reasons"][0]
        for kind, one in (("mail", held), ("draft", draft), ("call", call)):
            assert (await api.get(PATH, params={"kind": kind})).json()["items"] == [one]
        assert (await api.get(PATH, params={"kind": "invoice"})).status_code == 422


async def test_a_yes_to_a_call_is_done_by_a_worker_and_its_result_is_shown(
    room: Mailroom,
) -> None:
    id_ = await waiting(room, "call")
    async with open_api(room, await key(room)) as api:
        digest = (await api.get(f"{PATH}/{id_}")).json()["digest"]
        other = await api.post(f"{PATH}/{id_}/approve", json={"digest": "0" * 64})
        assert other.status_code == 409
        done = (await api.post(f"{PATH}/{id_}/approve", json={"digest": digest})).json()
        assert (done["state"], done["call"]["state"]) == ("approved", "agreed")
        await room.work(sending=False)
        after = (await api.get(f"{PATH}/{id_}")).json()["call"]
        assert (after["state"], after["result"]) == ("done", "Noted.")
        (made,) = (await api.get("/workspaces/shop/tool-calls")).json()
        assert made["id"] == after["id"]
    (note,) = await room.rows(select(t.contact_notes))
    assert note.note == "wants <i>it</i> red"


async def test_after_a_restore_a_call_that_was_agreed_to_is_not_made_again(
    room: Mailroom,
) -> None:
    id_ = await waiting(room, "call")
    async with open_api(room, await key(room)) as api:
        await api.post(f"{PATH}/{id_}/approve", json={})
    now = room.store.now()
    await room.store.write_unscoped(aftermath.settle, now, send_queued=False)
    await room.work()
    (call,) = await room.rows(select(t.tool_calls))
    assert (call.state, call.why.endswith("it may have been done since")) == ("unknown", True)
    assert await room.rows(select(t.contact_notes)) == []


async def test_an_edit_is_for_drafts_alone(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        for kind in ("call", "mail"):
            path = f"{PATH}/{await waiting(room, kind)}/edit"
            told = await api.post(path, json={"text": "x"})
            assert told.status_code == 409
            assert "there is no draft to change" in told.json()["detail"]


async def test_a_held_mail_is_let_in_by_the_api_and_then_thought_about(room: Mailroom) -> None:
    id_ = await waiting(room, "mail")
    async with open_api(room, await key(room)) as api:
        await api.post(f"{PATH}/{id_}/approve", json={})
    await room.work()
    assert len(await room.rows(select(t.turns))) == 2


async def test_the_command_line_lists_shows_and_decides_all_kinds(
    room: Mailroom,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(capsys, monkeypatch).on(database_url)
    listed = terminal("approvals", "list", "-w", "shop", "--json").json
    assert {one["kind"] for one in listed} == {"mail", "draft", "call"}
    call, held = await waiting(room, "call"), await waiting(room, "mail")
    shown = terminal.ok("approvals", "list", "-w", "shop", "--kind", "call")
    assert call in shown
    assert held not in shown
    assert "note: wants <i>it</i> red" in terminal.ok("approvals", "show", call)
    assert terminal.ok("approvals", "reject", call, "--reason", "no") == f"rejected {call}"
    terminal.ok("approvals", "reject", held, "--reason", "not ours")
    assert "by cli: not ours" in terminal.ok("approvals", "show", held)
    refused = terminal.ok("tool", "calls", "-w", "shop", "--state", "refused")
    assert "note_contact" in refused


# --- the page ---------------------------------------------------------------------------------


@asynccontextmanager
async def signed_in(room: Mailroom, email: str = OWNER) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_web(room.services, Settings(public_url=SITE)))
    async with httpx.AsyncClient(
        transport=transport, base_url=SITE, headers={"Origin": SITE}
    ) as browser:
        token = await room.store.write_unscoped(create_link, email)
        await browser.post("/sign-in", data={"token": token})
        yield browser


def form(page: str, path: str) -> dict[str, str]:
    """The hidden fields of the form that goes to a path."""
    found = re.search(rf'<form[^>]+action="{path}"[^>]*>(.*?)</form>', page, re.S)
    assert found, path
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', found.group(1)))


async def test_the_page_shows_what_waits_the_oldest_first_and_foreign_words_as_text(
    room: Mailroom,
) -> None:
    async with signed_in(room) as eva:
        page = (await eva.get("/approvals")).text
        assert 'href="/approvals"' in (await eva.get("/")).text
    places = [page.index(words) for words in (
        "hello wants to use note_contact", "hello wants to send a mail", "A mail to hello is held"
    )]  # fmt: skip
    assert places == sorted(places)
    for words in ("wants &lt;i&gt;it&lt;/i&gt; red", "Yes &lt;b&gt;now&lt;/b&gt;.",
                  "the agent asks for it: a promise", "rule &#39;invoices&#39; matched",
                  "stranger, changes", "until <time", "then rejected", "then not done",
                  "then left as it is"):  # fmt: skip
        assert words in page
    for foreign in ("<b>now", "<i>it", "<script", "http://", "https://"):
        assert foreign not in page


async def test_each_is_decided_from_the_page_and_the_way_leads_back_to_it(
    room: Mailroom,
) -> None:
    call, draft = await waiting(room, "call"), await waiting(room, "draft")
    async with signed_in(room) as eva:
        page = (await eva.get("/approvals")).text
        path = f"/approvals/{draft}/edit"
        changed = await eva.post(path, data=form(page, path) | {"text": "Perhaps."})
        assert (changed.status_code, changed.headers["location"]) == (303, "/approvals")
        path = f"/approvals/{draft}/approve"
        old = await eva.post(path, data=form(page, path))
        assert (old.status_code, "was changed since you saw it" in old.text) == (409, True)
        page = (await eva.get("/approvals")).text
        assert "Perhaps." in page
        done = await eva.post(path, data=form(page, path))
        assert done.headers["location"] == "/approvals"
        path = f"/approvals/{call}/reject"
        await eva.post(path, data=form(page, path) | {"reason": "not so"})
        page = (await eva.get("/approvals")).text
        assert (draft in page, call in page) == (False, False)
        page = (await eva.get("/approvals", params={"state": "rejected"})).text
        assert f"rejected by person:{OWNER}: not so" in page
    (sent,) = await room.rows(select(t.outbound_mails).filter_by(purpose="reply"))
    assert sent.outgoing["text"] == "Perhaps."


async def test_who_may_only_look_sees_no_form_and_cannot_post_one(room: Mailroom) -> None:
    viewer = "vi@shop.example"
    await room.do(members.add_member, viewer, "viewer")
    id_ = await waiting(room, "draft")
    async with signed_in(room, viewer) as vi:
        for page in ("/approvals", f"/approvals/{id_}"):
            shown = (await vi.get(page)).text
            assert "hello wants to send a mail" in shown
            assert f"/approvals/{id_}/" not in shown
        token = form((await vi.get("/approvals")).text, "/sign-out")["token"]
        for what in ("approve", "reject", "edit"):
            told = await vi.post(f"/approvals/{id_}/{what}", data={"token": token, "text": "x"})
            assert told.status_code == 403
    assert await waiting(room, "draft") == id_


async def test_a_form_that_another_site_sent_does_nothing(room: Mailroom) -> None:
    id_ = await waiting(room, "draft")
    path = f"/approvals/{id_}/approve"
    async with signed_in(room) as eva:
        fields = form((await eva.get("/approvals")).text, path)
        elsewhere = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        for data, headers in ((fields, elsewhere), (fields | {"token": "x"}, {})):
            told = await eva.post(path, data=data, headers=headers)
            assert told.status_code == 401
    assert await waiting(room, "draft") == id_


async def test_the_page_needs_a_sign_in_and_shows_nothing_of_another_workspace(
    room: Mailroom,
) -> None:
    await room.store.write("wsp_other", members.add_member, "mo@other.example", "owner")
    transport = httpx.ASGITransport(app=create_web(room.services, Settings(public_url=SITE)))
    async with httpx.AsyncClient(transport=transport, base_url=SITE) as nobody:
        assert (await nobody.get("/approvals")).headers["location"] == "/sign-in"
    async with signed_in(room, "mo@other.example") as mo:
        page = await mo.get("/approvals")
        assert "Nothing waits for a yes." in page.text
        assert (await mo.get("/approvals", params={"workspace": "shop"})).status_code == 404
        wrong: Any = await mo.get("/approvals", params={"state": "lost"})
        assert wrong.status_code == 422
