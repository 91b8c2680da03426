"""Whatever goes wrong, a program gets one form of answer; a stranger learns nothing."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from backend.access.sign_in import SESSION_COOKIE
from backend.api.requests import MOST_BODY_BYTES
from backend.workspaces import members
from mailagent.sandbox import Sandbox
from tests.backend.api_client import key, open_api, session
from tests.backend.mailroom import OWNER, Mailroom, open_mailroom


@pytest.fixture
async def mailroom(sqlite_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(sqlite_url, Sandbox()) as opened:
        yield opened


@pytest.fixture
async def api(mailroom: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(mailroom, await key(mailroom)) as client:
        yield client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The answer as RFC 9457 has it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["type"].startswith("urn:mailagent:problem:")
    assert body["instance"] == response.request.url.path
    return body


async def test_without_a_key_the_answer_says_how_to_send_one(mailroom: Mailroom) -> None:
    async with open_api(mailroom) as client:
        response = await client.get("/workspaces/shop")

    assert "Authorization: Bearer" in problem(response, 401)["detail"]
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_wrong_key_is_not_known(mailroom: Mailroom) -> None:
    async with open_api(mailroom, "ma_wrong") as client:
        assert "not known" in problem(await client.get("/me"), 401)["detail"]


async def test_a_missing_permission_is_named_with_who_gives_it(mailroom: Mailroom) -> None:
    async with open_api(mailroom, await key(mailroom, "agent.read")) as client:
        response = await client.post("/workspaces/shop/agents", json={"handle": "new"})

    detail = problem(response, 403)["detail"]
    assert "agent.manage" in detail
    assert "owner of the workspace" in detail


async def test_every_path_of_a_workspace_is_not_found_for_a_stranger(mailroom: Mailroom) -> None:
    stranger = await key(mailroom, workspace="wsp_other")
    async with open_api(mailroom, stranger) as client:
        paths = (await client.get("http://mailagent.example/openapi.json")).json()["paths"]
        answers = {
            (method, path, reference): await client.request(
                method,
                "http://mailagent.example"
                + re.sub(r"{\w+}", "hello", path.replace("{ws}", reference)),
                json={},
            )
            for path, methods in paths.items()
            if "{ws}" in path
            for method in methods
            for reference in ("shop", "wsp_shop", "nowhere")
        }

    assert len(answers) > 60
    assert {key: one.status_code for key, one in answers.items() if one.status_code != 404} == {}
    for one in answers.values():
        assert "there is no workspace" in problem(one, 404)["detail"]


async def test_every_path_asks_who_it_is(mailroom: Mailroom) -> None:
    async with open_api(mailroom) as client:
        paths = (await client.get("http://mailagent.example/openapi.json")).json()["paths"]
        open_to_all = [
            (method, path)
            for path, methods in paths.items()
            for method in methods
            if path.startswith("/api/v1/")
            for response in [
                await client.request(method, f"http://mailagent.example{path}", json={})
            ]
            if response.status_code != 401
        ]

    # What answers a turn later is known by the token in its path.
    assert open_to_all == [("post", "/api/v1/callbacks/{token}")]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "handle"),
        ({"handle": 5}, "handle"),
        ({"handle": "UPPER"}, "handle"),
        ({"handle": "new", "colour": "red"}, "colour"),
        ({"handle": "new", "processor": "oracle"}, "processor"),
        ([], "body"),
    ],
)
async def test_a_bad_field_is_named(api: httpx.AsyncClient, body: object, field: str) -> None:
    found = problem(await api.post("/workspaces/shop/agents", json=body), 422)

    assert found["field"] == field
    assert found["detail"].startswith(f"{field}: ")


async def test_a_body_that_is_no_json_is_a_bad_request(api: httpx.AsyncClient) -> None:
    response = await api.post(
        "/workspaces/shop/agents", content=b"{", headers={"content-type": "application/json"}
    )

    assert problem(response, 400)["field"] == "body"


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=nonsense"])
async def test_a_bad_page_is_named(api: httpx.AsyncClient, query: str) -> None:
    found = problem(await api.get(f"/workspaces/shop/agents?{query}"), 422)

    assert found["field"] == query.partition("=")[0]


async def test_what_is_taken_is_a_conflict(api: httpx.AsyncClient) -> None:
    response = await api.post("/workspaces/shop/agents", json={"handle": "hello"})

    assert "hello@shop.aexy.example" in problem(response, 409)["detail"]


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(api: httpx.AsyncClient) -> None:
    assert problem(await api.get("/nothing"), 404)["detail"] == "there is no /api/v1/nothing here"
    assert problem(await api.put("/me"), 405)["title"] == "Method Not Allowed"


async def test_a_body_past_the_limit_is_refused(api: httpx.AsyncClient) -> None:
    response = await api.post("/workspaces/shop/documents", content=b" " * (MOST_BODY_BYTES + 1))

    assert "more than 41,943,040 bytes" in problem(response, 413)["detail"]


async def test_a_mistake_of_ours_shows_nothing_internal(mailroom: Mailroom) -> None:
    secret = await key(mailroom)
    mailroom.store.close()
    async with open_api(mailroom, secret) as client:
        found = problem(await client.get("/me"), 500)

    assert found["detail"] == "this is in the log under the request's id"


async def test_a_signed_in_person_uses_the_api_by_cookie(mailroom: Mailroom) -> None:
    secret = await session(mailroom, OWNER)
    async with open_api(mailroom) as client:
        client.cookies.set(SESSION_COOKIE, secret)
        me = (await client.get("/me")).json()

    assert (me["kind"], me["name"]) == ("person", OWNER)
    assert [one["slug"] for one in me["workspaces"]] == ["shop"]


async def test_a_form_of_another_site_does_nothing_with_a_session(mailroom: Mailroom) -> None:
    secret = await session(mailroom, OWNER)
    async with open_api(mailroom) as client:
        client.cookies.set(SESSION_COOKIE, secret)
        foreign = await client.delete(
            "/workspaces/shop/agents/hello", headers={"Sec-Fetch-Site": "cross-site"}
        )
        own = await client.get("/workspaces/shop/agents/hello")

    assert "another site" in problem(foreign, 403)["detail"]
    assert own.status_code == 200


async def test_a_key_cannot_make_a_stronger_one(mailroom: Mailroom) -> None:
    async with open_api(mailroom, await key(mailroom, "key.*")) as client:
        weaker = await client.post(
            "/workspaces/shop/keys", json={"name": "a", "permissions": ["key.read"]}
        )
        stronger = await client.post(
            "/workspaces/shop/keys", json={"name": "b", "permissions": ["root:full"]}
        )

    assert weaker.status_code == 201
    problem(stronger, 403)


async def test_who_is_no_owner_cannot_unseat_one_or_become_one(mailroom: Mailroom) -> None:
    async with open_api(mailroom, await key(mailroom, "member.*")) as client:
        problem(await client.delete(f"/workspaces/shop/members/{OWNER}"), 403)
        problem(
            await client.patch(f"/workspaces/shop/members/{OWNER}", json={"role": "viewer"}), 403
        )
        problem(
            await client.post(
                "/workspaces/shop/members", json={"email": "me@x.example", "role": "owner"}
            ),
            403,
        )


async def test_a_revoked_key_is_refused_at_its_next_request(api: httpx.AsyncClient) -> None:
    made = (
        await api.post(
            "/workspaces/shop/keys", json={"name": "a", "permissions": ["root:readonly"]}
        )
    ).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    before = await api.get("/me", headers=headers)
    await api.delete(f"/workspaces/shop/keys/{made['key']['id']}")

    assert before.status_code == 200
    assert "revoked" in problem(await api.get("/me", headers=headers), 401)["detail"]
    listed = (await api.get("/workspaces/shop/keys")).json()["items"]
    assert made["secret"] not in json.dumps(listed)
    assert listed[1]["last_used_at"] is not None


async def test_only_the_operator_makes_workspaces(mailroom: Mailroom) -> None:
    new = {"slug": "fresh", "name": "Fresh", "owner_email": "f@fresh.example"}
    async with open_api(mailroom, await key(mailroom, workspace="wsp_other")) as client:
        refused = await client.post("/workspaces", json=new)
    # Both were made at one moment, so that the id decides which is the older.
    async with open_api(mailroom, await key(mailroom)) as client:
        allowed = await client.post("/workspaces", json=new)

    statuses = sorted([refused.status_code, allowed.status_code])
    assert statuses == [201, 403]


async def test_only_the_operator_changes_names_and_retires(mailroom: Mailroom) -> None:
    asked = (
        ("PUT", "/workspaces/fresh/slug", {"slug": "fresher"}),
        ("POST", "/workspaces/fresher/retire", None),
        ("POST", "/workspaces/fresher/reopen", None),
    )
    statuses: dict[str, list[int]] = {}
    for workspace in ("wsp_shop", "wsp_other"):
        secret = await key(mailroom, workspace=workspace)
        async with open_api(mailroom, secret) as client:
            new = {"slug": "fresh", "name": "Fresh", "owner_email": "f@fresh.example"}
            await client.post("/workspaces", json=new)
            answers = [
                await client.request(method, path, json=body) for method, path, body in asked
            ]
        statuses[workspace] = [one.status_code for one in answers]
    assert sorted(statuses.values()) == [[200, 200, 200], [403, 403, 403]]


async def test_a_person_of_two_workspaces_sees_both_and_no_other(mailroom: Mailroom) -> None:
    await mailroom.store.write("wsp_other", members.add_member, OWNER, "viewer")
    secret = await session(mailroom, OWNER)
    async with open_api(mailroom) as client:
        client.cookies.set(SESSION_COOKIE, secret)
        seen = (await client.get("/workspaces")).json()
        read = await client.get("/workspaces/other/agents")
        changed = await client.patch("/workspaces/other", json={"name": "Mine"})

    assert {one["slug"] for one in seen["items"]} == {"shop", "other"}
    assert read.status_code == 200
    problem(changed, 403)


async def test_pages_follow_one_another(api: httpx.AsyncClient) -> None:
    for number in range(4):
        await api.post("/workspaces/shop/agents", json={"handle": f"agent{number}"})

    seen: list[str] = []
    cursor = ""
    while True:
        found = (await api.get(f"/workspaces/shop/agents?limit=2{cursor}")).json()
        seen += [one["handle"] for one in found["items"]]
        if found["next_cursor"] is None:
            break
        cursor = f"&cursor={found['next_cursor']}"

    assert sorted(seen) == ["agent0", "agent1", "agent2", "agent3", "hello"]


async def test_times_are_iso_8601_in_utc(api: httpx.AsyncClient) -> None:
    workspace = (await api.get("/workspaces/shop")).json()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", workspace["created_at"])


async def test_an_agents_life_by_the_api(api: httpx.AsyncClient) -> None:
    path = "/workspaces/shop/agents"
    made = await api.post(path, json={"handle": "sales", "name": "Sales"})
    patched = await api.patch(f"{path}/sales", json={"email_enabled": False})
    aliased = await api.post(f"{path}/sales/aliases", json={"address": "buy"})
    unaliased = await api.delete(f"{path}/sales/aliases/buy@shop.aexy.example")
    removed = await api.delete(f"{path}/{made.json()['id']}")

    assert (made.status_code, made.json()["address"]) == (201, "sales@shop.aexy.example")
    assert patched.json()["email_enabled"] is False
    assert len(aliased.json()["addresses"]) == 2
    assert len(unaliased.json()["addresses"]) == 1
    assert removed.status_code == 204
    problem(await api.get(f"{path}/sales"), 404)


async def test_a_documents_life_by_the_api(api: httpx.AsyncClient) -> None:
    path = "/workspaces/shop/documents"
    made = (await api.post(path, json={"name": "faq.md", "text": "# FAQ"})).json()
    listed = (await api.get(path)).json()["items"]
    read = (await api.get(f"{path}/{made['id']}")).json()
    removed = await api.delete(f"{path}/{made['id']}")

    assert listed == [made]
    assert (read["text"], made["size_bytes"]) == ("# FAQ", 5)
    assert removed.status_code == 204


async def test_the_documentation_page_lists_every_path_and_asks_no_other_host(
    api: httpx.AsyncClient,
) -> None:
    page = (await api.get("http://mailagent.example/docs")).text
    paths = (await api.get("http://mailagent.example/openapi.json")).json()["paths"]

    assert [path for path in paths if f"<code>{path}</code>" not in page] == []
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
