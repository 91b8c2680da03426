"""The Mailgun way of working from end to end, by the API and by the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from backend.senders import passwords
from mailagent.sandbox import Sandbox
from mailagent.store.engine import Store
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction
from tests import verified_domain
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import Mailroom, open_mailroom
from tests.backend.test_cli_control import Terminal, acme, mailagent

__all__ = ["acme", "mailagent"]

SUB = "mail.shop.example"
HERE = f"/workspaces/shop/domains/{SUB}"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_COST", 4)


def plant(tx: Transaction, *, verified: bool = True) -> None:
    row: dict[str, Any] = {"id": "dom_1", "name": SUB, "created_at": tx.now}
    state = (
        {
            "state": "verified",
            **verified_domain.columns(tx.now),
        }
        if verified
        else {"state": "pending"}
    )
    tx.insert(domains, {**row, **state})


@pytest_asyncio.fixture
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    sandbox = Sandbox(workers=1)
    async with open_mailroom(database_url, sandbox) as made:
        yield made
    await sandbox.close()


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_by_the_api_a_domain_is_given_its_senders_and_routes(room: Mailroom) -> None:
    await room.do(plant)
    async with open_api(room, await key(room)) as api:
        group = ok(
            await api.post(
                "/workspaces/shop/agent-groups", json={"name": "Desk", "agents": ["hello"]}
            ),
            201,
        )
        assert group["agents"] == [{"id": "agt_hello", "handle": "hello"}]
        given = ok(await api.put(f"{HERE}/owner", json={"group": "Desk"}))
        assert given["owner"] == {"kind": "group", "id": group["id"], "name": "Desk"}
        assert (given["region"], given["dkim_bits"], given["retention_days"]) == ("US", 1024, 3)
        assert given["sender_status"] == "Verified"
        assert ok(await api.patch(f"{HERE}/options", json={"retention_days": 0}))[
            "retention_days"
        ] == 0  # fmt: skip
        refused = await api.patch(f"{HERE}/options", json={"region": "EU"})
        assert refused.status_code == 409
        assert "add a new sub-domain for EU" in refused.json()["detail"]

        made = ok(await api.post(f"{HERE}/senders", json={"user": "orders"}), 201)
        assert made["sender"]["address"] == f"orders@{SUB}"
        assert "password" not in ok(await api.get(f"{HERE}/senders/orders"))
        changed = ok(await api.patch(f"{HERE}/senders/orders", json={"password": "hunter2"}))
        assert changed["password"] == "hunter2"

        body = {"recipient": "orders", "actions": ['forward("https://shop.example/in")', "stop()"]}
        route = ok(await api.post(f"{HERE}/routes", json=body), 201)
        assert route["signing_key"].startswith("rk_")
        path = f"{HERE}/routes/{route['route']['id']}"
        assert ok(await api.patch(path, json={"description": "x"}))["description"] == "x"
        assert ok(await api.post(f"{path}/signing-key"), 201)["signing_key"].startswith("rk_")
        assert len(ok(await api.get(f"{HERE}/routes"))["items"]) == 1
        assert (await api.delete(f"{HERE}/senders/orders")).status_code == 409
        ok(await api.delete(path), 204)
        ok(await api.delete(f"{HERE}/senders/orders"), 204)
        assert ok(await api.get(f"{HERE}/senders"))["items"] == []
        listed = ok(await api.get("/workspaces/shop/agent-groups"))["items"]
        assert [one["domains"] for one in listed] == [[SUB]]
        assert (await api.delete(f"/workspaces/shop/agent-groups/{group['id']}")).status_code == 409


async def test_the_eleventh_is_a_409_with_the_number(room: Mailroom) -> None:
    await room.do(plant)
    async with open_api(room, await key(room)) as api:
        ok(await api.put(f"{HERE}/owner", json={"agent": "hello"}))
        for number in range(10):
            ok(await api.post(f"{HERE}/senders", json={"user": f"s{number}"}), 201)
        refused = await api.post(f"{HERE}/senders", json={"user": "s10"})
        assert refused.status_code == 409
        assert "has 10 senders, 10 are the most" in refused.json()["detail"]


async def test_what_is_not_verified_is_said_and_so_is_the_permission(room: Mailroom) -> None:
    await room.do(plant, verified=False)
    async with open_api(room, await key(room)) as api:
        ok(await api.put(f"{HERE}/owner", json={"agent": "hello"}))
        for path, body, said in (
            ("senders", {"user": "orders"}, "sender records"),
            ("routes", {"recipient": "orders", "actions": ["store()"]}, "receiver records"),
        ):
            refused = await api.post(f"{HERE}/{path}", json=body)
            assert refused.status_code == 409
            assert said in refused.json()["detail"]
    async with open_api(room, await key(room, "domain.read")) as api:
        refused = await api.post(f"{HERE}/senders", json={"user": "orders"})
        assert refused.status_code == 403
        assert "domain.manage" in refused.json()["detail"]


async def test_a_repeated_post_makes_one_sender_with_one_password(room: Mailroom) -> None:
    await room.do(plant)
    async with open_api(room, await key(room)) as api:
        ok(await api.put(f"{HERE}/owner", json={"agent": "hello"}))
        headers = {"Idempotency-Key": "one"}
        first, second = [
            ok(await api.post(f"{HERE}/senders", json={"user": "orders"}, headers=headers), 201)
            for _ in range(2)
        ]
        assert first == second


def test_by_the_command_line_too(
    acme: Terminal, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILAGENT_SECRET_KEY", "a secret of the tests that is long enough")
    store = Store(sqlite_url)
    workspace = acme("workspace", "show", "acme", "--json").json["id"]
    store.write_now(workspace, plant)
    store.close()

    group = acme.ok("agent-group", "create", "Desk", "hello")
    assert group.startswith("grp_")
    acme.ok("agent", "create", "sales")
    assert "hello, sales" in acme.ok("agent-group", "add", "Desk", "sales")
    assert "sales" not in acme.ok("agent-group", "take-out", "Desk", "sales")
    assert "Front" in acme.ok("agent-group", "rename", "Desk", "Front")
    assert acme("agent-group", "list", "--json").json[0]["name"] == "Front"

    given = acme("domain-options", "give", SUB, "--group", "Front", "--json").json
    assert given["owner"]["name"] == "Front"
    assert "7 days" in acme.ok("domain-options", "set", SUB, "--retention-days", "7")
    refused = acme("domain-options", "set", SUB, "--region", "EU")
    assert (refused.code, refused.out) == (1, "")
    assert "add a new sub-domain" in refused.err
    assert "Verified" in acme.ok("domain-options", "show", SUB)

    password = acme.ok("sender", "create", SUB, "orders")
    assert len(password) >= 20
    assert acme.ok("sender", "password", SUB, "orders", "--password", "hunter2") == "hunter2"
    assert f"orders@{SUB}" in acme.ok("sender", "list", SUB)

    forward = 'forward("https://shop.example/in")'
    route, signing_key = acme.ok("route", "create", SUB, "orders", forward, "stop()").split()
    assert signing_key.startswith("rk_")
    assert acme.ok("route", "set", SUB, route, "--action", "store()").endswith("store()")
    assert acme.ok("route", "new-key", SUB, route) != signing_key
    assert acme("route", "list", SUB, "--json").json[0]["actions"] == ["store()"]
    acme.ok("route", "remove", SUB, route)
    assert "has senders" in acme("domain-options", "release", SUB).err
    acme.ok("sender", "remove", SUB, "orders")
    assert "has domains" in acme("agent-group", "remove", "Front").err
