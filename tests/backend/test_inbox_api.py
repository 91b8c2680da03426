"""What a program with a key sees of mail, and what it may do with it, over HTTP."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from backend.access import keys
from backend.api import create_api
from mailagent.outgoing import Handoff, Silence
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from tests.backend.mailroom import HELLO, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

INBOX = "workspaces/shop/agents/hello/inbox"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(sqlite_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(sqlite_url, sandbox) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def api(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key that may do everything in the workspace `shop`."""
    async with client(room, "root:full") as opened:
        yield opened


def client(room: Mailroom, permission: str, workspace_id: str = "wsp_shop") -> httpx.AsyncClient:
    made = room.store.write_now(workspace_id, keys.create, "test", [permission])
    transport = httpx.ASGITransport(app=create_api(room.services, Settings(), room.acceptor))
    return httpx.AsyncClient(
        transport=transport,
        base_url="http://mailagent.example/api/v1/",
        headers={"Authorization": f"Bearer {made.secret}"},
    )


async def items(api: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    answer = await api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


@pytest.mark.parametrize("path", [INBOX, "workspaces/shop/crm/agents/hello/inbox"])
async def test_both_inbox_paths_show_a_mail_in_aexys_words(
    room: Mailroom, api: httpx.AsyncClient, path: str
) -> None:
    delivery_id = await room.answered(mail(subject="Order 7", message_id="<a@customer.example>"))

    (item,) = await items(api, path)

    shown = {name: item[name] for name in ("id", "from", "to", "subject", "status", "priority")}
    assert shown == {
        "id": delivery_id,
        "from": "ann@customer.example",
        "to": HELLO,
        "subject": "Order 7",
        "status": "responded",
        "priority": "normal",
    }
    assert item["message_id"] == "<a@customer.example>"
    (reply,) = item["replies"]
    assert (reply["in_reply_to"], reply["state"]) == ("<a@customer.example>", "sent")


async def test_an_inbox_is_filtered_and_paged(room: Mailroom, api: httpx.AsyncClient) -> None:
    answered = await room.answered()
    room.agent_says(Handoff("a refund"))
    handed = await room.answered()

    assert [one["id"] for one in await items(api, INBOX, status="escalated")] == [handed]
    assert [one["id"] for one in await items(api, INBOX, state="answered")] == [answered]
    assert await items(api, INBOX, since="2999-01-01T00:00:00Z") == []
    first = (await api.get(INBOX, params={"limit": 1})).json()
    second = (await api.get(INBOX, params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert {first["items"][0]["id"], second["items"][0]["id"]} == {answered, handed}
    assert second["next_cursor"] is None
    for wrong in ({"status": "nonsense"}, {"since": "2026-01-01"}, {"cursor": "%%"}):
        assert (await api.get(INBOX, params=wrong)).status_code == 422


async def test_an_inbox_is_searched_page_by_page_and_within_a_filter(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    refund = await room.answered(mail(subject="My refund", text="For order A-77."))
    order = await room.answered(mail(author="refund@shop.example", text="Where is it?"))
    room.agent_says(Silence("a thank-you"))
    thanks = await room.answered(mail(text="Thank you for the refund!"))
    await room.answered(mail(text="Nothing of that."))

    found = [one["id"] for one in await items(api, INBOX, search="REFUND")]
    assert found == [thanks, order, refund]
    assert [one["id"] for one in await items(api, INBOX, search="refund 77")] == [refund]
    silent = await items(api, INBOX, search="refund", state="silent")
    assert [one["id"] for one in silent] == [thanks]
    first = (await api.get(INBOX, params={"search": "refund", "limit": 2})).json()
    query = {"search": "refund", "limit": 2, "cursor": first["next_cursor"]}
    second = (await api.get(INBOX, params=query)).json()
    assert [one["id"] for one in (*first["items"], *second["items"])] == found
    assert second["next_cursor"] is None
    for wrong in ({"search": "…"}, {"search": "refund", "cursor": "WyJhIl0"}):
        assert (await api.get(INBOX, params=wrong)).status_code == 422


async def test_one_delivery_is_shown_whole(room: Mailroom, api: httpx.AsyncClient) -> None:
    delivery_id = await room.answered(mail(text="Where is it?"))
    path = f"workspaces/shop/deliveries/{delivery_id}"

    whole = (await api.get(path)).json()
    story = (await api.get(f"{path}/ledger")).json()
    thread = (await api.get(f"workspaces/shop/threads/{whole['thread_id']}")).json()

    assert whole["content"]["text"].strip() == "Where is it?"
    assert whole["mail_from"] == "ann@customer.example"
    assert whole["authentication"]["judged_by"] == "nobody"
    assert "not checked" in whole["authentication"]["sentence"]
    assert whole["kind"] == "person"
    assert story["lines"][0]["step"] == "arrived"
    assert [entry["by_us"] for entry in thread["entries"]] == [False, True]
    assert [one["id"] for one in await items(api, "workspaces/shop/deliveries")] == [delivery_id]


async def test_what_a_stranger_sent_is_only_ever_a_download(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    raw = mail(attachment=('Rechnung "ü".html', "<script>alert(1)</script>"))
    delivery_id = await room.answered(raw)
    path = f"workspaces/shop/deliveries/{delivery_id}"
    (file,) = (await api.get(path)).json()["content"]["attachments"]

    whole = await api.get(f"{path}/raw")
    part = await api.get(f"{path}/attachments/{file['part']}")

    assert (whole.content, whole.headers["content-type"]) == (raw, "message/rfc822")
    assert part.content.strip() == b"<script>alert(1)</script>"
    for answer in (whole, part):
        assert answer.headers["content-disposition"].startswith('attachment; filename="')
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
    assert (await api.get(f"{path}/attachments/9")).status_code == 404


async def test_a_person_answers_archives_and_drives_again(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    room.agent_says(Handoff("a refund"))
    handed = await room.answered()
    room.agent_says(Silence("thanks"))
    silent = await room.answered()

    sent = await api.post(f"{INBOX}/{handed}/reply", json={"text": "We refund."})
    archived = await api.post(f"{INBOX}/{silent}/archive")
    again = await api.post(f"workspaces/shop/deliveries/{silent}/replay")
    twice = await api.post(f"workspaces/shop/deliveries/{handed}/replay")

    assert sent.status_code == 201
    (answered,) = await items(api, INBOX, state="answered")
    assert answered["replies"][0]["id"] == sent.json()["id"]
    assert answered["replies"][0]["author"].startswith("key:")
    assert (archived.json()["status"], archived.json()["state"]) == ("archived", "silent")
    assert again.json()["state"] == "accepted"
    assert (twice.status_code, "answered already" in twice.json()["detail"]) == (409, True)


async def test_a_new_mail_is_sent_and_followed(room: Mailroom, api: httpx.AsyncClient) -> None:
    message = {
        "to": ["Ann <ann@customer.example>"],
        "bcc": ["boss@shop.example"],
        "subject": "Your order",
        "text": "It left today.",
        "html": "<p>It left today.</p>",
        "headers": {"X-Order": "7"},
        "attachments": [
            {"filename": "a.txt", "content_type": "text/plain", "content_base64": "aGk="}
        ],
    }

    sent = await api.post("workspaces/shop/agents/hello/messages", json=message)
    await room.work()
    mail_ = (await api.get(f"workspaces/shop/outbound/{sent.json()['id']}")).json()

    assert (sent.status_code, sent.json()["from"]) == (201, HELLO)
    assert (mail_["state"], mail_["hand_overs"][0]["account"]) == ("sent", "capture")
    assert base64.b64decode(mail_["outgoing"]["attachments"][0]["content"]) == b"hi"
    assert [one["field"] for one in mail_["recipients"]] == ["to", "bcc"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": ["nobody"]}, "to"),
        ({"to": []}, "to"),
        ({"cc": ["a@b.example, c@d.example"]}, "cc"),
        ({"subject": "a\nBcc: b@c.example"}, "subject"),
        ({"headers": {"Sender": "x@y.example"}}, "headers"),
        (
            {"attachments": [{"filename": "a", "content_base64": "%"}]},
            "attachments.0.content_base64",
        ),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_a_mail_that_cannot_be_sent_names_the_field(
    api: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    message = {"to": ["ann@customer.example"], "subject": "Hi", "text": "x", **change}

    refused = await api.post("workspaces/shop/agents/hello/messages", json=message)

    assert (refused.status_code, refused.json()["field"]) == (422, field)


async def test_a_test_mail_takes_three_fields_and_tells_its_outcome(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    async with room.working():
        sent = await api.post(
            "email/test", json={"to": "ann@customer.example", "subject": "Hi", "body": "x"}
        )
    other = await api.post("email/test", json={"to": "a@b.example", "subject": "", "text": ""})

    told = {name: sent.json()[name] for name in ("account", "from", "state", "captured")}
    assert told == {"account": "capture", "from": HELLO, "state": "sent", "captured": True}
    assert other.status_code == 422


async def test_outbound_mail_is_listed_cancelled_and_suppressed(
    api: httpx.AsyncClient,
) -> None:
    message = {"to": ["ann@customer.example"], "subject": "Hi", "text": "x"}
    sent = (await api.post("workspaces/shop/agents/hello/messages", json=message)).json()

    waiting = await items(api, "workspaces/shop/outbound", state="queued", agent="hello")
    cancelled = await api.post(f"workspaces/shop/outbound/{sent['id']}/cancel")
    unknown = await api.get("workspaces/shop/outbound/unknown")
    not_unknown = await api.post(f"workspaces/shop/outbound/{sent['id']}/again")

    assert [one["id"] for one in waiting] == [sent["id"]]
    assert cancelled.json()["state"] == "cancelled"
    assert (unknown.json(), not_unknown.status_code) == ([], 409)

    address = {"address": "ann@customer.example"}
    assert (await api.post("workspaces/shop/suppressions", json=address)).status_code == 201
    (kept,) = await items(api, "workspaces/shop/suppressions")
    gone = await api.delete("workspaces/shop/suppressions/ann@customer.example")
    assert (kept["reason"], gone.status_code) == ("manual", 204)


async def test_a_key_that_only_reads_is_told_what_it_lacks(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    delivery_id = await room.answered()

    async with client(room, "message.read") as reader:
        seen = await reader.get(f"workspaces/shop/deliveries/{delivery_id}")
        refused = await reader.post(
            f"workspaces/shop/deliveries/{delivery_id}/reply", json={"text": "x"}
        )

    assert (seen.status_code, refused.status_code) == (200, 403)
    assert "message.send" in refused.json()["detail"]


async def test_a_strangers_key_finds_nothing(room: Mailroom, api: httpx.AsyncClient) -> None:
    delivery_id = await room.answered()
    (reply,) = (await items(api, INBOX))[0]["replies"]

    async with client(room, "root:full", "wsp_other") as stranger:
        for workspace in ("shop", "other"):
            for path in (
                f"deliveries/{delivery_id}",
                f"deliveries/{delivery_id}/raw",
                f"deliveries/{delivery_id}/ledger",
                f"outbound/{reply['id']}",
                "agents/hello/inbox",
            ):
                answer = await stranger.get(f"workspaces/{workspace}/{path}")
                assert answer.status_code == 404, path
