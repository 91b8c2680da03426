"""The calls and words of Aexy's API (reference: its public documentation), one test a call."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from mailagent.flow import removal
from mailagent.outgoing import Assessment, Handoff, Reply, Silence
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import DOMAIN, HELLO, OWNER, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOTS = ["workspaces/shop/agents/hello", "workspaces/shop/crm/agents/hello"]
SAID = Assessment(
    intent="where is my order",
    sentiment="negative",
    urgency="high",
    topics=("orders", "delivery"),
    summary="Ann waits for her order.",
    reasoning="A document says so.",
    confidence=0.91,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, sandbox) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def api(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(room, await key(room)) as client:
        yield client


@pytest.mark.parametrize("root", ROOTS)
async def test_the_inbox_tells_how_a_mail_was_read(
    room: Mailroom, api: httpx.AsyncClient, root: str
) -> None:
    room.agent_says(Reply("On Monday.", confidence=0.91, assessment=SAID))
    await room.answered()
    (item,) = (await api.get(f"{root}/inbox")).json()["items"]
    assert item["status"] == "responded"
    assert item["priority"] == "high"
    assert item["classification"] == {
        "intent": "where is my order",
        "sentiment": "negative",
        "urgency": "high",
        "topics": ["orders", "delivery"],
    }
    assert item["summary"] == "Ann waits for her order."
    assert item["suggested_response"] == "On Monday."
    assert item["confidence"] == 0.91


async def test_until_an_agent_has_decided_nothing_is_told(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    await room.deliver(mail())
    (item,) = (await api.get(f"{ROOTS[0]}/inbox")).json()["items"]
    assert (item["status"], item["priority"]) == ("pending", "normal")
    names = ("classification", "summary", "suggested_response", "confidence")
    assert [item[name] for name in names] == [None] * 4


async def test_a_draft_that_waits_is_suggested(room: Mailroom, api: httpx.AsyncClient) -> None:
    said = Assessment(confidence=0.75, summary="A question.")
    room.agent_says(Reply("Perhaps.", confidence=0.75, assessment=said))
    await room.answered()
    (item,) = (await api.get(f"{ROOTS[0]}/inbox")).json()["items"]
    assert (item["status"], item["suggested_response"]) == ("escalated", "Perhaps.")


@pytest.mark.parametrize("by", ["purge", "retention"])
async def test_how_a_mail_was_read_goes_with_it(
    room: Mailroom, api: httpx.AsyncClient, by: removal.By
) -> None:
    room.agent_says(Silence("thanks", assessment=SAID))
    delivery_id = await room.answered()
    await room.do(removal.remove_received, [delivery_id], by, why="asked for")
    assert await room.rows(select(t.assessments.c.turn_id)) == []
    (item,) = (await api.get(f"{ROOTS[0]}/inbox")).json()["items"]
    assert item["summary"] is None


@pytest.mark.parametrize("root", ROOTS)
async def test_a_person_replies(room: Mailroom, api: httpx.AsyncClient, root: str) -> None:
    room.agent_says(Handoff("a refund"))
    delivery_id = await room.answered()
    answer = await api.post(f"{root}/inbox/{delivery_id}/reply", json={"text": "Done."})
    assert answer.status_code == 201, answer.text
    (item,) = (await api.get(f"{root}/inbox")).json()["items"]
    assert (item["status"], item["replies"][0]["text"]) == ("responded", "Done.")


@pytest.mark.parametrize("root", ROOTS)
async def test_a_mail_is_escalated_once_and_a_person_is_told(
    room: Mailroom, api: httpx.AsyncClient, root: str
) -> None:
    room.agent_says(Silence("thanks"))
    delivery_id = await room.answered()
    path, body = f"{root}/inbox/{delivery_id}/escalate", {"reason": "She sounds angry"}
    headers = {"Idempotency-Key": "k1"}
    first = await api.post(path, json=body, headers=headers)
    repeated = await api.post(path, json=body, headers=headers)
    again = await api.post(path, json=body)
    assert first.status_code == 200, first.text
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert (again.json()["status"], again.json()["reason"]) == ("escalated", "She sounds angry")
    told = await room.rows(
        select(t.outbound_recipients.c.address)
        .join(t.outbound_mails, t.outbound_mails.c.id == t.outbound_recipients.c.outbound_id)
        .where(t.outbound_mails.c.purpose == "notice")
    )
    assert [row.address for row in told] == [OWNER]


async def test_what_is_in_work_is_not_escalated(room: Mailroom, api: httpx.AsyncClient) -> None:
    delivery_id = await room.deliver(mail())
    refused = await api.post(f"workspaces/shop/deliveries/{delivery_id}/escalate", json={})
    assert refused.status_code == 404  # only within an agent's inbox
    refused = await api.post(f"{ROOTS[0]}/inbox/{delivery_id}/escalate", json={})
    assert refused.status_code == 409


async def test_a_draft_of_an_escalated_mail_never_fires(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    room.agent_says(Reply("Perhaps.", confidence=0.75))
    delivery_id = await room.answered()
    done = await api.post(f"{ROOTS[0]}/inbox/{delivery_id}/escalate", json={})
    assert done.json()["state"] == "handed to a person"
    states = await room.rows(select(t.approvals.c.state))
    assert [row.state for row in states] == ["stale"]


async def found(api: httpx.AsyncClient, path: str, priority: str) -> list[str]:
    items = (await api.get(path, params={"priority": priority})).json()["items"]
    return [one["id"] for one in items]


@pytest.mark.parametrize("root", ROOTS)
async def test_a_priority_set_by_hand_counts_before_the_agents_and_an_inbox_is_asked_by_it(
    room: Mailroom, api: httpx.AsyncClient, root: str
) -> None:
    room.agent_says(Reply("Soon.", assessment=Assessment(urgency="high")))
    first = await room.answered()
    room.agent_says(Reply("Thank you."))
    second = await room.answered(mail(subject="Another"))
    inbox = f"{root}/inbox"
    assert await found(api, inbox, "high") == [first]
    assert await found(api, inbox, "normal") == [second]

    set_ = await api.patch(f"{inbox}/{first}", json={"priority": "normal"})
    assert (set_.json()["priority"], set_.json()["priority_by"][:4]) == ("normal", "key:")
    await api.patch(f"{inbox}/{second}", json={"priority": "urgent"})
    assert await found(api, inbox, "high") == []
    assert await found(api, inbox, "normal") == [first]
    for path in (inbox, "workspaces/shop/deliveries"):
        assert await found(api, path, "urgent") == [second]

    back = await api.patch(f"workspaces/shop/deliveries/{first}", json={"priority": None})
    assert (back.json()["priority"], back.json()["priority_by"]) == ("high", None)
    for wrong in ({"priority": "very"}, {}, {"priority": "low", "state": "x"}):
        assert (await api.patch(f"{inbox}/{first}", json=wrong)).status_code == 422
    assert (await api.get(inbox, params={"priority": "very"})).status_code == 422


async def test_what_an_agent_reads_later_does_not_undo_what_a_person_set(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    room.agent_says(Silence("no idea", assessment=Assessment(urgency="low")))
    delivery_id = await room.answered()
    inbox = f"{ROOTS[0]}/inbox"
    await api.patch(f"{inbox}/{delivery_id}", json={"priority": "urgent"})
    await api.post(f"{inbox}/{delivery_id}/reprocess")
    await room.work()
    assert await found(api, inbox, "urgent") == [delivery_id]
    story = (await api.get(f"workspaces/shop/deliveries/{delivery_id}/ledger")).json()["lines"]
    assert "Priority: urgent" in [one["what"] for one in story]


async def test_a_priority_takes_the_permission_to_write(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    delivery_id = await room.answered()
    async with open_api(room, await key(room, "message.read")) as reader:
        path = f"{ROOTS[0]}/inbox/{delivery_id}"
        assert (await reader.patch(path, json={"priority": "low"})).status_code == 403
    other = f"workspaces/shop/agents/second/inbox/{delivery_id}"
    await api.post("workspaces/shop/agents", json={"handle": "second"})
    assert (await api.patch(other, json={"priority": "low"})).status_code == 404


@pytest.mark.parametrize("root", ROOTS)
async def test_a_mail_is_archived(room: Mailroom, api: httpx.AsyncClient, root: str) -> None:
    delivery_id = await room.answered()
    done = await api.post(f"{root}/inbox/{delivery_id}/archive")
    assert (done.status_code, done.json()["status"]) == (200, "archived")


@pytest.mark.parametrize("root", ROOTS)
async def test_a_mail_is_reprocessed(room: Mailroom, api: httpx.AsyncClient, root: str) -> None:
    room.agent_says(Silence("no idea"))
    delivery_id = await room.answered()
    room.agent_says(Reply("Now I know."))
    again = await api.post(f"{root}/inbox/{delivery_id}/reprocess")
    assert (again.status_code, again.json()["status"]) == (200, "pending")
    await room.work()
    (item,) = (await api.get(f"{root}/inbox")).json()["items"]
    assert item["replies"][0]["text"] == "Now I know."
    refused = await api.post(f"{root}/inbox/{delivery_id}/reprocess")
    assert refused.status_code == 409


@pytest.mark.parametrize("word", ["reply", "escalate", "archive", "reprocess"])
async def test_a_mail_of_another_agent_is_not_there(
    room: Mailroom, api: httpx.AsyncClient, word: str
) -> None:
    delivery_id = await room.answered()
    await api.post("workspaces/shop/agents", json={"handle": "second"})
    path = f"workspaces/shop/agents/second/inbox/{delivery_id}/{word}"
    refused = await api.post(path, json={"text": "x"} if word == "reply" else {})
    assert refused.status_code == 404


@pytest.mark.parametrize("status", ["pending", "processing", "responded", "escalated", "archived"])
async def test_the_inbox_is_asked_by_each_of_its_words(
    room: Mailroom, api: httpx.AsyncClient, status: str
) -> None:
    await room.answered()
    found = (await api.get(f"{ROOTS[0]}/inbox", params={"status": status})).json()["items"]
    assert len(found) == (status == "responded")


@pytest.mark.parametrize("root", ROOTS)
async def test_email_is_switched_off_and_on_with_a_handle_of_its_own(
    room: Mailroom, api: httpx.AsyncClient, root: str
) -> None:
    off = await api.post(f"{root}/email/disable")
    assert off.json() == {
        "agent_id": room.agent_id,
        "email_enabled": False,
        "email_address": HELLO,
    }
    on = await api.post(f"{root}/email/enable", json={})
    assert (on.json()["email_enabled"], on.json()["email_address"]) == (True, HELLO)
    named = await api.post(f"{root}/email/enable", json={"handle": "orders"})
    again = await api.post(f"{root}/email/enable", json={"handle": "orders"})
    assert named.json()["email_address"] == again.json()["email_address"] == f"orders@shop.{DOMAIN}"


async def test_a_handle_that_is_taken_gets_a_number(api: httpx.AsyncClient) -> None:
    await api.post("workspaces/shop/agents", json={"handle": "desk"})
    named = await api.post(f"{ROOTS[0]}/email/enable", json={"handle": "desk"})
    assert named.json()["email_address"] == f"desk-2@shop.{DOMAIN}"
    refused = await api.post(f"{ROOTS[0]}/email/enable", json={"handle": "postmaster"})
    assert (refused.status_code, refused.json()["field"]) == (422, "handle")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("domain", "customer.example"),
        ("sender", "ann@customer.example"),
        ("subject_contains", "question"),
        ("keyword", "order"),
    ],
)
async def test_a_rule_of_each_kind_is_made_tested_moved_and_removed(
    api: httpx.AsyncClient, kind: str, value: str
) -> None:
    rules = "workspaces/shop/rules"
    body = {"name": kind, "condition": {kind: value}, "agent": "hello", "position": 1}
    made = await api.post(rules, json=body)
    assert made.status_code == 201, made.text
    rule = f"{rules}/{made.json()['id']}"
    tested = await api.post(
        f"{rules}/test",
        json={
            "message": mail(subject="A question").decode(),
            "recipient": f"nobody@shop.{DOMAIN}",
            "condition": {kind: value},
        },
    )
    assert (tested.json()["matched"], tested.json()["decision"]["action"]) == (True, "agent")
    moved = await api.patch(rule, json={"position": 1, "overrides": True})
    assert moved.json()["overrides"] is True
    assert (await api.delete(rule)).status_code == 204
    assert (await api.get(rule)).status_code == 404


async def test_the_settings_of_an_agent_have_their_defaults(api: httpx.AsyncClient) -> None:
    limits = (await api.get(f"{ROOTS[0]}/limits")).json()["effective"]
    shown = {
        name: limits[name]
        for name in (
            "auto_reply",
            "hand_over_below",
            "approve_below",
            "replies_per_agent_a_day",
            "delay_seconds",
            "working_hours",
            "signature",
        )
    }
    assert shown == {
        "auto_reply": True,
        "hand_over_below": 0.7,
        "approve_below": 0.8,
        "replies_per_agent_a_day": 100,
        "delay_seconds": 0,
        "working_hours": None,
        "signature": "",
    }
    changed = await api.patch(ROOTS[0], json={"escalation_address": "eva@shop.example"})
    assert changed.json()["escalation_address"] == "eva@shop.example"


async def test_a_decision_takes_feedback(room: Mailroom, api: httpx.AsyncClient) -> None:
    delivery_id = await room.answered()
    path = f"workspaces/shop/deliveries/{delivery_id}/feedback"
    assert (await api.post(path, json={"rating": 4})).status_code == 201
    assert (await api.post(path, json={"rating": 6})).status_code == 422
