"""An agent's own key writes no more than its agent may; a key of people's is their yes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from backend.access import keys
from backend.submission.logins import StoreLogins
from backend.trust import lists
from mailagent.outgoing import Silence
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from mailagent.submission import Denied, Login
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import HELLO, OWNER, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

WS = "/workspaces/shop"
HELLOS = f"{WS}/agents/hello"
LINK = "See https://elsewhere.example/?q=1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, sandbox) as opened:
        opened.agent_says(Silence("its program answers"))
        yield opened


@asynccontextmanager
async def own_api(room: Mailroom, *permissions: str) -> AsyncIterator[httpx.AsyncClient]:
    made = await room.do(keys.create, "its own", permissions or ["root:full"], agent="hello")
    async with open_api(room, made.secret) as api:
        yield api


async def sent(room: Mailroom, purpose: str) -> list[Any]:
    rows = select(t.outbound_mails).where(t.outbound_mails.c.purpose == purpose)
    return list(await room.rows(rows.order_by(t.outbound_mails.c.id)))


async def test_what_the_policy_gives_is_sent_as_the_agents_automatic_answer(
    room: Mailroom,
) -> None:
    delivery_id = await room.answered()
    async with own_api(room) as api:
        path = f"{HELLOS}/inbox/{delivery_id}/reply"
        done = (await api.post(path, json={"text": "On Monday."})).json()
        again = await api.post(path, json={"text": "On Tuesday."})
    assert (done["state"], done["approval_id"]) == ("answered", None)
    (row,) = await sent(room, "reply")
    assert (row.id, row.outgoing["auto_submitted"]) == (done["id"], "auto-replied")
    (turn,) = await room.rows(select(t.turns).where(t.turns.c.id == row.turn_id))
    assert (turn.processor, turn.state) == ("api", "done")
    assert row.author == "agent:hello"
    assert again.status_code == 409
    story = await room.rows(select(t.ledger).where(t.ledger.c.delivery_id == delivery_id))
    assert any("default policy 1: stranger, reply" in line.why for line in story)
    assert any(line.actor.startswith("key:") for line in story)


async def test_what_the_policy_asks_about_waits_for_a_person_and_not_for_the_key(
    room: Mailroom,
) -> None:
    delivery_id = await room.answered()
    async with own_api(room) as api:
        path = f"{WS}/deliveries/{delivery_id}/reply"
        done = (await api.post(path, json={"text": LINK})).json()
        assert (done["state"], done["id"]) == ("waiting for approval", None)
        own = f"{WS}/approvals/{done['approval_id']}"
        assert (await api.post(f"{own}/approve", json={})).status_code == 404
        anew = (await api.post(path, json={"text": f"{LINK}2"})).json()
    assert await sent(room, "reply") == []
    async with open_api(room, await key(room)) as people:
        old = (await people.get(own)).json()
        assert (old["state"], old["decision"][:16]) == ("stale", "answered anew by")
        one = f"{WS}/approvals/{anew['approval_id']}"
        assert (await people.post(f"{one}/approve", json={})).json()["state"] == "approved"
    (row,) = await sent(room, "reply")
    assert row.outgoing["text"] == f"{LINK}2"


async def test_what_the_policy_refuses_is_left_to_a_person(room: Mailroom) -> None:
    delivery_id = await room.answered()
    policy = {"agent_id": "", "version": 1, "cells": {"stranger": {"link": "refuse"}}}
    await room.do(
        lambda tx: tx.insert(t.policies, policy | {"author": "cli", "created_at": tx.now})
    )
    async with own_api(room) as api:
        path = f"{WS}/deliveries/{delivery_id}/reply"
        done = (await api.post(path, json={"text": LINK})).json()
    assert (done["state"], done["id"], done["approval_id"]) == ("handed to a person", None, None)
    assert "workspace policy 1: stranger, link" in done["reason"]
    assert len(await sent(room, "notice")) == 1


async def test_the_limits_of_a_day_count_for_it(room: Mailroom) -> None:
    first, second = await room.answered(), await room.answered(mail(subject="Another"))
    limits = {"limits": {"replies_per_agent_a_day": 1}}
    await room.do(lambda tx: tx.execute(t.agents.update().values(settings=limits)))
    async with own_api(room) as api:
        for delivery_id, status in ((first, 201), (second, 409)):
            path = f"{WS}/deliveries/{delivery_id}/reply"
            told = await api.post(path, json={"text": "Yes."})
            assert told.status_code == status
    assert "1 replies a day for agent hello are spent" in told.json()["detail"]


async def test_a_machines_mail_and_another_agents_are_not_answered(room: Mailroom) -> None:
    machine = await room.answered(mail(headers=["Auto-Submitted: auto-replied"]))
    async with own_api(room) as api, open_api(room, await key(room)) as people:
        told = await api.post(f"{WS}/deliveries/{machine}/reply", json={"text": "Hi."})
        assert (told.status_code, "no machine answers it" in told.text) == (409, True)
        await people.post(f"{WS}/agents", json={"handle": "money"})
        await room.services.directory.refresh()
        theirs = await room.deliver(mail(), HELLO.replace("hello", "money"))
        await room.work()
        told = await api.post(f"{WS}/deliveries/{theirs}/reply", json={"text": "Hi."})
        assert (told.status_code, "writes as that agent alone" in told.text) == (403, True)


NEW: dict[str, Any] = {"to": ["bo@partner.example"], "subject": "News", "text": "We have moved."}


async def test_a_new_mail_goes_to_whom_a_list_allows_and_else_needs_a_person(
    room: Mailroom,
) -> None:
    async with own_api(room) as api:
        told = await api.post(f"{HELLOS}/messages", json=NEW)
        assert told.status_code == 403
        assert "a person must send this: bo@partner.example" in told.json()["detail"]
        assert "stranger, new_" in told.json()["detail"]
        assert await room.rows(select(t.threads)) == []
        await room.do(lists.add, "bo@partner.example", what="send", verdict="allow", actor="cli")
        assert (await api.post(f"{HELLOS}/messages", json=NEW)).status_code == 201
        for more in ({"text": LINK}, {"bcc": ["eve@evil.example"]}):
            assert (await api.post(f"{HELLOS}/messages", json=NEW | more)).status_code == 403
        test = await api.post(
            "/email/test", json={"to": "eve@evil.example", "subject": "x", "body": "y"}
        )
        assert test.status_code == 403
    (row,) = await sent(room, "tool")
    assert row.outgoing["auto_submitted"] == "auto-generated"
    async with open_api(room, await key(room)) as people:
        wide = NEW | {"text": LINK, "to": ["eve@evil.example"]}
        assert (await people.post(f"{HELLOS}/messages", json=wide)).status_code == 201


async def test_it_changes_nothing_of_what_it_is_held_by(room: Mailroom) -> None:
    async with own_api(room) as api:
        for method, path, body in (
            ("PUT", f"{HELLOS}/policy", {"policy": {"stranger": {"link": "do"}}}),
            ("PATCH", f"{HELLOS}/limits", {"limits": {"approve_below": 0}}),
            ("POST", f"{WS}/lists", {"pattern": "*", "what": "send", "verdict": "allow"}),
            ("POST", f"{WS}/members", {"email": "eve@evil.example", "role": "owner"}),
        ):
            assert (await api.request(method, path, json=body)).status_code == 403


async def test_it_hands_nothing_in_by_smtp(room: Mailroom) -> None:
    own = await room.do(keys.create, "its own", ["message.send"], agent="hello")
    peoples = await room.do(keys.create, "a program", ["message.send"])
    logins = StoreLogins(room.store)
    refused = await logins.log_in(HELLO, own.secret)
    assert isinstance(refused, Denied)
    assert "writes by the API" in str(refused)
    assert isinstance(await logins.log_in(HELLO, peoples.secret), Login)


async def test_a_key_of_peoples_answers_past_the_policy(room: Mailroom) -> None:
    delivery_id = await room.answered()
    async with open_api(room, await key(room, "message.send")) as people:
        path = f"{WS}/deliveries/{delivery_id}/reply"
        done = (await people.post(path, json={"text": LINK})).json()
    assert (done["state"], done["approval_id"]) == ("answered", None)
    assert [row.id for row in await sent(room, "person")] == [done["id"]]
    assert OWNER not in str(await sent(room, "notice"))
