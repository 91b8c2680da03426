"""A POST that is sent again has its effect once, whatever happened to the first answer."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from mailagent.flow import chores
from mailagent.outgoing import Reply, Silence
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests import verified_domain
from tests.backend.api_client import key, open_api, session
from tests.backend.mailroom import OWNER, Mailroom, mail, open_mailroom
from tests.dns_server import DnsServer

WITHOUT_KEY = {
    "/workspaces/{ws}/rules/test",  # changes nothing
    "/workspaces/{ws}/agents/{agent}/try",
    "/workspaces/{ws}/agents/{agent}/try/past",
    "/workspaces/{ws}/agents/{agent}/http-tools/operations",  # lists them
    "/workspaces/{ws}/agents/{agent}/evaluations/{set_name}/run",  # keeps its score, sends nothing
    "/workspaces/{ws}/purge",  # in many transactions; what is gone stays gone
    "/email-infrastructure/providers/{name}/pause",  # repeated, changes nothing more
    "/email-infrastructure/providers/{name}/resume",
    "/email-infrastructure/providers/{name}/test",  # sends nothing
    "/email-infrastructure/providers/{name}/check",  # changes nothing
    "/email-infrastructure/providers/{name}/setup",  # looks first, and makes nothing twice
    "/email-infrastructure/domain/check",  # looks again
    *(
        f"{one}/{{domain}}/{doing}"
        for one in ("/workspaces/{ws}/domains", "/domains")
        # Ask for the same again, go on with what is under way, or change nothing.
        for doing in ("resubmit", "pause", "rotate-dkim", "compare")
    ),
    "/callbacks/{token}",  # the token is one turn's, and answers it once
}
AGENT = {"handle": "helper"}
SUB = "mail.shop.example"
MESSAGE = {"to": ["ann@customer.example"], "subject": "News", "text": "We have moved."}


@pytest.fixture
async def mailroom(database_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, Sandbox()) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
async def api(mailroom: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(mailroom, await key(mailroom)) as client:
        yield client


def with_key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


async def everything(mailroom: Mailroom) -> Mapping[str, list[str]]:
    """All rows of all tables, but for what every request touches."""

    used = t.api_keys.c.last_used_at

    def rows(tx: Transaction) -> Mapping[str, list[str]]:
        return {
            table.name: sorted(
                str(row) for row in tx.rows(select(*(one for one in table.c if one is not used)))
            )
            for table in t.metadata.sorted_tables
        }

    return await mailroom.store.read_unscoped(rows)


async def posts(client: httpx.AsyncClient) -> Mapping[str, Any]:
    document = (await client.get("http://mailagent.example/openapi.json")).json()
    return {
        path.removeprefix("/api/v1"): methods["post"]
        for path, methods in document["paths"].items()
        if "post" in methods
    }


async def test_every_post_that_creates_or_sends_declares_the_header(api: httpx.AsyncClient) -> None:
    found = await posts(api)

    declaring = {
        path
        for path, operation in found.items()
        if any(
            (one["in"], one["name"]) == ("header", "Idempotency-Key")
            for one in operation.get("parameters", [])
        )
    }
    assert declaring == found.keys() - WITHOUT_KEY


@pytest.mark.asyncio(loop_scope="module")
async def test_every_post_that_creates_or_sends_honours_the_key(
    sqlite_url: str, sandbox: Sandbox, dns: DnsServer
) -> None:
    async with (
        open_mailroom(sqlite_url, sandbox) as mailroom,
        open_api(mailroom, await key(mailroom), mailagent_resolver=dns.address) as api,
    ):
        requests = await furnished(mailroom, api)
        assert {one[0] for one in requests} == (await posts(api)).keys() - WITHOUT_KEY

        for template, path, given in requests:
            # A text is a file; all others are JSON.
            as_file = isinstance(given, str)
            body: Any = {"content": given} if as_file else {"json": given}
            headers = with_key(template) | ({"Content-Type": "text/csv"} if as_file else {})
            # The test mail is the last, because its answer waits until it has been sent.
            async with mailroom.working() if path == "/email/test" else nullcontext():
                first = await api.post(path, headers=headers, **body)
            before = await everything(mailroom)
            again = await api.post(path, headers=headers, **body)

            assert first.is_success, (path, first.text)
            assert (again.status_code, again.content) == (first.status_code, first.content), path
            assert again.headers["idempotency-replayed"] == "true", path
            assert "idempotency-replayed" not in first.headers, path
            assert await everything(mailroom) == before, path


async def furnished(mailroom: Mailroom, api: httpx.AsyncClient) -> list[tuple[str, str, Any]]:
    """For each POST with a key its path in the document, one to call, and a body that fits."""
    # The oldest workspace is the operator's, who may make others.
    long_ago = mailroom.store.now() - timedelta(days=1)
    await mailroom.do(Transaction.execute, update(t.workspaces).values(created_at=long_ago))
    mailroom.agent_says(Reply("Yes.", ask="look"))
    for _ in range(3):
        await mailroom.deliver(mail(subject="asked about"))
    await mailroom.work()
    approve, reject, edit = [
        f"/workspaces/shop/approvals/{row.id}" for row in await mailroom.rows(select(t.approvals))
    ]
    mailroom.agent_says(Silence("nothing to say"))
    names = ("reply", "crm reply", "own reply", "archive", "crm archive", "own archive", "replay",
             "escalate", "crm escalate", "reprocess", "crm reprocess", "feedback")  # fmt: skip
    came = {name: await mailroom.deliver(mail(subject=name)) for name in names}
    await mailroom.work()
    written = [
        (await api.post("/workspaces/shop/agents/hello/messages", json=MESSAGE)).json()["id"]
        for _ in range(3)
    ]
    lost = t.outbound_recipients.c.outbound_id.in_(written[1:])
    await mailroom.do(
        Transaction.execute, update(t.outbound_recipients).where(lost).values(state="unknown")
    )
    ws, hello = "/workspaces/{ws}", "/workspaces/shop/agents/hello"
    inbox, crm = f"{ws}/agents/{{agent}}/inbox/{{delivery}}", "/workspaces/shop/crm/agents/hello"
    text = {"text": "It is on its way."}
    warm_ups = "/email-infrastructure/warm-ups"
    warm_up = f"{warm_ups}/{{account}}/{{domain}}"
    route = await sender_and_route(mailroom, api)
    domain, own = f"{ws}/domains/{{domain}}", f"/workspaces/shop/domains/{SUB}"
    return [
        ("/workspaces", "/workspaces", {"slug": "third", "name": "3", "owner_email": OWNER}),
        ("/workspaces/{workspace}/retire", "/workspaces/other/retire", None),
        ("/workspaces/{workspace}/reopen", "/workspaces/other/reopen", None),
        (f"{ws}/keys", "/workspaces/shop/keys", {"name": "CI", "permissions": ["agent.read"]}),
        (f"{ws}/members", "/workspaces/shop/members", {"email": "b@c.example", "role": "viewer"}),
        (f"{ws}/agents", "/workspaces/shop/agents", AGENT),
        (f"{ws}/agents/{{agent}}/aliases", f"{hello}/aliases", {"address": "sales"}),
        (f"{ws}/agent-groups", "/workspaces/shop/agent-groups", {"name": "Desk"}),
        (f"{ws}/domains", "/workspaces/shop/domains", {"name": "one.example"}),
        ("/domains", "/domains", {"name": "two.example"}),
        (f"{domain}/verify", f"{own}/verify", None),
        ("/domains/{domain}/verify", f"/domains/{SUB}/verify", None),
        (f"{domain}/allow", f"{own}/allow", {"name": f"a.{SUB}", "workspace": "other"}),
        ("/domains/{domain}/allow", f"/domains/{SUB}/allow",
         {"name": f"b.{SUB}", "workspace": "other"}),
        (f"{domain}/senders", f"{own}/senders", {"user": "orders"}),
        (f"{domain}/routes", f"{own}/routes", {"recipient": "info", "actions": ["stop()"]}),
        (f"{domain}/routes/{{route}}/signing-key", f"{own}/routes/{route}/signing-key", None),
        (f"{ws}/rules", "/workspaces/shop/rules", {
            "name": "all", "condition": {"subject_contains": "x"}, "action": "hold"}),
        (f"{ws}/documents", "/workspaces/shop/documents", {"name": "a.md", "text": "# A"}),
        (f"{ws}/agents/{{agent}}/messages", f"{hello}/messages", MESSAGE),
        (f"{inbox}/reply", f"{hello}/inbox/{came['reply']}/reply", text),
        (f"{inbox.replace('/agents', '/crm/agents')}/reply",
         f"{crm}/inbox/{came['crm reply']}/reply", text),
        (f"{ws}/deliveries/{{delivery}}/reply",
         f"/workspaces/shop/deliveries/{came['own reply']}/reply", text),
        (f"{inbox}/archive", f"{hello}/inbox/{came['archive']}/archive", None),
        (f"{inbox.replace('/agents', '/crm/agents')}/archive",
         f"{crm}/inbox/{came['crm archive']}/archive", None),
        (f"{ws}/deliveries/{{delivery}}/archive",
         f"/workspaces/shop/deliveries/{came['own archive']}/archive", None),
        (f"{ws}/deliveries/{{delivery}}/replay",
         f"/workspaces/shop/deliveries/{came['replay']}/replay", None),
        (f"{ws}/outbound/{{outbound}}/cancel",
         f"/workspaces/shop/outbound/{written[0]}/cancel", None),
        (f"{ws}/outbound/{{outbound}}/sent", f"/workspaces/shop/outbound/{written[1]}/sent", None),
        (f"{ws}/outbound/{{outbound}}/again",
         f"/workspaces/shop/outbound/{written[2]}/again", None),
        (f"{ws}/agents/{{agent}}/secrets", f"{hello}/secrets", {"name": "webhook"}),
        (f"{ws}/agents/{{agent}}/http-tools", f"{hello}/http-tools", {
            "name": "find_order", "description": "Looks an order up.", "effect": "reads",
            "input_schema": {"type": "object"}, "method": "GET", "url": "https://a.example/"}),
        (f"{ws}/agents/{{agent}}/http-tools/import", f"{hello}/http-tools/import", {
            "operations": ["*"], "document": "{openapi: 3.1.0, servers: [{url: https://a.example}],"
            " paths: {/a: {get: {operationId: a, summary: Looks at it.}}}}"}),
        (f"{ws}/suppressions", "/workspaces/shop/suppressions", {"address": "x@y.example"}),
        (f"{ws}/suppressions/import", "/workspaces/shop/suppressions/import",
         "address\nz@y.example\n"),
        (f"{ws}/lists", "/workspaces/shop/lists", {
            "pattern": "x.example", "what": "send", "verdict": "block"}),
        (f"{ws}/lists/import", "/workspaces/shop/lists/import", {
            "lines": ["y.example"], "what": "send", "verdict": "block"}),
        (f"{ws}/approvals/{{approval}}/approve", f"{approve}/approve", {}),
        (f"{ws}/approvals/{{approval}}/reject", f"{reject}/reject", {"reason": "no"}),
        (f"{ws}/approvals/{{approval}}/edit", f"{edit}/edit", {"text": "No."}),
        ("/email-infrastructure/providers", "/email-infrastructure/providers", {
            "kind": "postmark", "settings": {"POSTMARK_SERVER_TOKEN": "a-token-of-this-test"}}),
        (warm_ups, warm_ups, {"account": "postmark", "domain": "x.example", "days": 7}),
        (f"{warm_up}/pause", f"{warm_ups}/postmark/x.example/pause", {"reason": "we move"}),
        (f"{warm_up}/resume", f"{warm_ups}/postmark/x.example/resume", None),
        ("/email/test", "/email/test", {"to": "a@b.example", "subject": "1", "body": "2"}),
        *_inbox_and_trust(came),
    ]  # fmt: skip


def _inbox_and_trust(came: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    ws, shop = "/workspaces/{ws}", "/workspaces/shop"
    expected = {"name": "one", "message": "Subject: x\n\nHello", "expected": {"decision": "reply"}}
    return [
        *(
            (f"{ws}/{crm}agents/{{agent}}/inbox/{{delivery}}/{word}",
             f"{shop}/{crm}agents/hello/inbox/{came[name]}/{word}", {})
            for crm, word, name in (
                ("", "escalate", "escalate"), ("crm/", "escalate", "crm escalate"),
                ("", "reprocess", "reprocess"), ("crm/", "reprocess", "crm reprocess"))
        ),
        (f"{ws}/deliveries/{{delivery}}/feedback",
         f"{shop}/deliveries/{came['feedback']}/feedback", {"rating": 4}),
        (f"{ws}/agents/{{agent}}/evaluations/{{set_name}}/cases",
         f"{shop}/agents/hello/evaluations/mine/cases", expected),
        (f"{ws}/agents/import", f"{shop}/agents/import", {"template": "sales", "handle": "new"}),
        *(
            (f"{ws}/{crm}agents/{{agent}}/email/{word}",
             f"{shop}/{crm}agents/hello/email/{word}", {"handle": f"{word}{bool(crm)}".lower()}
             if word == "enable" else None)
            for crm in ("", "crm/") for word in ("enable", "disable")
        ),
    ]  # fmt: skip


async def sender_and_route(mailroom: Mailroom, api: httpx.AsyncClient) -> str:
    """A domain of the agent with the sender `info` and a route for it, whose id this is."""

    def plant(tx: Transaction) -> None:
        row = {"id": "dom_1", "name": SUB, "state": "verified", "created_at": tx.now}
        tx.insert(
            t.domains,
            {
                **row,
                **verified_domain.columns(tx.now),
                "agent_id": mailroom.agent_id,
            },
        )

    await mailroom.do(plant)
    own = f"/workspaces/shop/domains/{SUB}"
    await api.post(f"{own}/senders", json={"user": "info"})
    made = await api.post(f"{own}/routes", json={"recipient": "info", "actions": ["store()"]})
    return str(made.json()["route"]["id"])


async def test_without_a_key_nothing_is_kept(mailroom: Mailroom, api: httpx.AsyncClient) -> None:
    await api.post("/workspaces/shop/agents", json=AGENT)

    again = await api.post("/workspaces/shop/agents", json=AGENT)
    assert again.status_code == 409
    assert await mailroom.rows(select(t.idempotency_keys)) == []


async def test_the_same_key_with_another_body_is_a_conflict(api: httpx.AsyncClient) -> None:
    path = "/workspaces/shop/agents"
    await api.post(path, json=AGENT, headers=with_key("k"))

    other = await api.post(path, json={"handle": "another"}, headers=with_key("k"))
    assert other.status_code == 409
    assert "Idempotency-Key: was used with another body" in other.json()["detail"]


async def test_another_key_principal_or_path_is_another_request(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    path = "/workspaces/shop/agents/hello/messages"
    answers = [
        await api.post(path, json=MESSAGE, headers=with_key("k")),
        await api.post(path, json=MESSAGE, headers=with_key("K")),
        await api.post(path.replace("hello", "agt_hello"), json=MESSAGE, headers=with_key("k")),
    ]
    async with open_api(mailroom, await key(mailroom)) as other:
        answers.append(await other.post(path, json=MESSAGE, headers=with_key("k")))

    assert {one.status_code for one in answers} == {201}
    assert len({one.json()["id"] for one in answers}) == 4


async def test_a_session_has_keys_of_its_own(mailroom: Mailroom) -> None:
    async with open_api(mailroom) as client:
        client.cookies.set("mailagent_session", await session(mailroom, OWNER))
        path = "/workspaces/shop/agents"
        first = await client.post(path, json=AGENT, headers=with_key("k"))
        again = await client.post(path, json=AGENT, headers=with_key("k"))

    assert (first.status_code, again.content) == (201, first.content)


async def test_what_failed_had_no_effect_and_is_tried_again(api: httpx.AsyncClient) -> None:
    path, wish = "/workspaces/shop/agents/helper/messages", MESSAGE
    assert (await api.post(path, json=wish, headers=with_key("k"))).status_code == 404
    await api.post("/workspaces/shop/agents", json=AGENT)

    assert (await api.post(path, json=wish, headers=with_key("k"))).status_code == 201


async def test_who_may_no_longer_ask_is_not_told_the_kept_answer(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    path = "/workspaces/shop/agents"
    await api.post(path, json=AGENT, headers=with_key("k"))
    fewer = update(t.api_keys).values(permissions=["agent.read"])
    await mailroom.do(Transaction.execute, fewer)

    assert (await api.post(path, json=AGENT, headers=with_key("k"))).status_code == 403


async def test_twenty_clients_at_once_send_one_mail(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    path = "/workspaces/shop/agents/hello/messages"
    answers = await asyncio.gather(
        *(api.post(path, json=MESSAGE, headers=with_key("k")) for _ in range(20))
    )

    assert {one.status_code for one in answers} == {201}
    assert len({one.content for one in answers}) == 1
    assert sum("idempotency-replayed" not in one.headers for one in answers) == 1
    assert len(await mailroom.rows(select(t.outbound_mails))) == 1


async def test_a_process_killed_after_its_commit_has_done_it_and_the_next_one_says_so(
    database_url: str, mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    path, body = "/workspaces/shop/agents/hello/messages", json.dumps(MESSAGE)
    secret = api.headers["Authorization"].removeprefix("Bearer ")
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.backend.dying_api", database_url, secret, path, "k", body],
        check=False,
    )
    (sent,) = await mailroom.rows(select(t.outbound_mails))

    headers = {**with_key("k"), "Content-Type": "application/json"}
    answer = await api.post(path, content=body, headers=headers)
    assert died.returncode == -signal.SIGKILL
    assert (answer.status_code, answer.json()["id"]) == (201, sent.id)
    assert answer.headers["idempotency-replayed"] == "true"
    assert len(await mailroom.rows(select(t.outbound_mails))) == 1


async def test_a_test_mail_whose_outcome_nobody_heard_is_followed_and_not_sent_again(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    body = {"to": "ann@customer.example", "subject": "One", "body": "Two"}
    headers, url = with_key("k"), "/email/test"
    dies = asyncio.create_task(api.post(url, json=body, headers=headers))
    while not await mailroom.rows(select(t.outbound_mails)):
        await asyncio.sleep(0.01)
    dies.cancel()  # nobody sends: it waits for an outcome

    async with mailroom.working():
        answers = [await api.post(url, json=body, headers=headers) for _ in range(2)]

    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json()["state"] == "sent"
    assert answers[0].content == answers[1].content
    assert len(await mailroom.rows(select(t.outbound_mails))) == 1


async def test_a_secret_that_is_shown_once_is_kept_sealed(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    wish = {"name": "CI", "permissions": ["agent.read"]}
    made = await api.post("/workspaces/shop/keys", json=wish, headers=with_key("k"))
    secret = made.json()["secret"]

    (row,) = await mailroom.rows(select(t.idempotency_keys))
    again = await api.post("/workspaces/shop/keys", json=wish, headers=with_key("k"))
    assert secret.encode() not in row.answer
    assert again.json()["secret"] == secret


async def test_an_answer_whose_secret_key_is_gone_is_a_conflict_and_no_second_effect(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    await api.post("/workspaces/shop/agents", json=AGENT, headers=with_key("k"))
    foreign = update(t.idempotency_keys).values(answer=b"z" + bytes(60))
    await mailroom.do(Transaction.execute, foreign)

    again = await api.post("/workspaces/shop/agents", json=AGENT, headers=with_key("k"))
    assert again.status_code == 409
    assert "was done already" in again.json()["detail"]


@pytest.mark.parametrize("bad", ["", "x" * 256, "tab\tinside", "caf\u00e9", "nul\x00"])
async def test_a_bad_key_is_a_bad_request_that_names_the_header(
    mailroom: Mailroom, api: httpx.AsyncClient, bad: str
) -> None:
    headers = [(b"Idempotency-Key", bad.encode("latin-1"))]
    answer = await api.post("/workspaces/shop/agents", json=AGENT, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["field"] == "Idempotency-Key"
    assert len(await mailroom.rows(select(t.agents))) == 1


async def test_two_keys_on_one_request_are_a_bad_request(api: httpx.AsyncClient) -> None:
    two = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    answer = await api.post("/workspaces/shop/agents", json=AGENT, headers=two)
    assert answer.status_code == 400
    assert "more than once" in answer.json()["detail"]


async def test_a_kept_answer_is_forgotten_after_a_day(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    table = t.idempotency_keys
    for name in ("old", "new"):
        await api.post("/workspaces/shop/agents", json={"handle": name}, headers=with_key(name))
    rows = await mailroom.rows(select(table).order_by(table.c.created_at))
    aged = rows[0].created_at - timedelta(hours=24, minutes=1)
    await mailroom.do(
        Transaction.execute,
        update(table).where(table.c.name == rows[0].name).values(created_at=aged),
    )

    await mailroom.store.write_unscoped(chores.forget_idempotency_keys)
    left = await mailroom.rows(select(table.c.name))
    assert [row.name for row in left] == [rows[1].name]
