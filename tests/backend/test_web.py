"""What a person sees in the browser, and what another site cannot do with their session."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest
import pytest_asyncio

from backend.access.sign_in import SESSION_COOKIE, create_link
from backend.inboxes.listing import one
from backend.web import create_web
from backend.workspaces import members
from mailagent.outgoing import Handoff, Silence
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store.tables import memberships, people
from mailagent.store.transaction import Transaction
from tests.backend.mailroom import HELLO, OWNER, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = "http://127.0.0.1:8000"


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
async def browser(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    """Nobody is signed in yet."""
    async with _browser(room, SITE) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def eva(room: Mailroom, browser: httpx.AsyncClient) -> httpx.AsyncClient:
    """The owner of the workspace `shop`, signed in."""
    await sign_in(room, browser, OWNER)
    return browser


def _browser(room: Mailroom, url: str) -> httpx.AsyncClient:
    app = create_web(room.services, Settings(public_url=url))
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url=url, headers={"Origin": url})


async def sign_in(room: Mailroom, browser: httpx.AsyncClient, email: str) -> httpx.Response:
    token = await room.store.write_unscoped(create_link, email)
    return await browser.post("/sign-in", data={"token": token})


async def token_of(browser: httpx.AsyncClient, path: str) -> str:
    found = re.search(r'name="token" value="([a-z2-7]+)"', (await browser.get(path)).text)
    assert found
    return found.group(1)


class Loaded(HTMLParser):
    """Collects what a page would have the browser fetch or run, and whether it names its parts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.inline: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = {name: value or "" for name, value in attrs}
        if tag != "a":
            self.fetched += [given[name] for name in ("src", "href", "srcset") if name in given]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self.inline += [tag] if tag in ("script", "style", "iframe", "object", "embed") else []


# --- coming in --------------------------------------------------------------------------------


async def test_who_is_not_signed_in_is_told_how_to_come_in(browser: httpx.AsyncClient) -> None:
    first = await browser.get("/")
    page = await browser.get(first.headers["location"])

    assert (first.status_code, first.headers["location"]) == (303, "/sign-in")
    assert "mailagent sign-in-link" in page.text


async def test_a_mail_scanner_that_follows_the_link_does_not_use_it_up(
    room: Mailroom, browser: httpx.AsyncClient
) -> None:
    token = await room.store.write_unscoped(create_link, OWNER)

    for _ in range(2):
        page = await browser.get("/sign-in", params={"token": token})
        assert token in page.text
        assert "set-cookie" not in page.headers
    entered = await browser.post("/sign-in", data={"token": token})
    again = await browser.post("/sign-in", data={"token": token})

    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert again.status_code == 401
    assert "ask for a new one" in again.text


async def test_over_https_the_cookie_is_never_sent_in_the_clear(room: Mailroom) -> None:
    async with _browser(room, "https://mail.example") as browser:
        entered = await sign_in(room, browser, OWNER)

    assert "Secure" in entered.headers["set-cookie"]


async def test_signing_out_ends_the_session_everywhere(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    session = eva.cookies[SESSION_COOKIE]

    await eva.post("/sign-out", data={"token": await token_of(eva, "/")})
    eva.cookies.set(SESSION_COOKIE, session)

    assert (await eva.get("/")).status_code == 303


# --- seeing -----------------------------------------------------------------------------------


async def test_an_empty_inbox_shows_its_address_and_how_to_send_the_first_mail(
    eva: httpx.AsyncClient,
) -> None:
    page = (await eva.get("/")).text

    assert f'href="mailto:{HELLO}"' in page
    assert f"--mail-rcpt {HELLO}" in page


async def test_the_list_shows_each_mail_with_its_state_and_filters_it(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    await room.answered(mail(author="Ann <ann@customer.example>", subject="Order 7"))
    room.agent_says(Handoff("a refund"))
    await room.answered(mail(subject="Order 8"))

    everything = (await eva.get("/")).text
    escalated = (await eva.get("/", params={"status": "escalated"})).text

    assert "Order 7" in everything
    assert ">answered<" in everything
    assert ">Ann<" in everything
    assert "Order 8" in escalated
    assert "Order 7" not in escalated
    assert "No mail is processing" in (await eva.get("/", params={"status": "processing"})).text
    assert (await eva.get("/", params={"status": "nonsense"})).status_code == 422


async def test_one_mail_is_shown_with_evidence_story_and_reply(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    delivery_id = await room.answered(mail(subject="Order 7", text="Where is it?"))

    page = (await eva.get(f"/deliveries/{delivery_id}")).text

    for shown in (
        "Where is it?",
        "its sender was not checked",
        "by SMTP from 127.0.0.1",
        "It is on its way.",
        "captured: kept and shown, never sent",
    ):
        assert shown in page


async def test_nothing_in_a_mail_becomes_markup_or_a_request(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    evil = '<script>alert(1)</script><img src="https://spy.example/p.gif">'
    delivery_id = await room.answered(
        mail(author='"<b onclick=x>" <ann@customer.example>', subject=evil, text=evil)
    )

    for path in ("/", f"/deliveries/{delivery_id}"):
        page = Loaded((await eva.get(path)).text)
        assert page.inline == []
        assert all(one.startswith("/static/") for one in page.fetched), page.fetched


async def test_every_page_forbids_scripts_frames_and_other_hosts(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    delivery_id = await room.answered()

    for path in ("/", f"/deliveries/{delivery_id}", "/sign-in", "/nowhere", "/static/style.css"):
        answer = await eva.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await eva.get("/")).headers["cache-control"] == "no-store"


async def test_a_page_works_on_a_telephone_and_names_its_parts(eva: httpx.AsyncClient) -> None:
    page = (await eva.get("/")).text
    style = (await eva.get("/static/style.css")).text

    assert {"header", "main", "nav", "h1"} <= Loaded(page).tags
    assert 'name="viewport" content="width=device-width' in page
    assert "prefers-color-scheme: dark" in style
    assert "://" not in style


async def test_a_stranger_is_not_even_told_that_a_mail_exists(
    room: Mailroom, browser: httpx.AsyncClient
) -> None:
    delivery_id = await room.answered()
    await room.store.write("wsp_other", members.add_member, "max@other.example", "owner")
    await sign_in(room, browser, "max@other.example")

    real = await browser.get(f"/deliveries/{delivery_id}")
    none = await browser.get("/deliveries/dlv_none")
    token = await token_of(browser, "/")
    reply = await browser.post(
        f"/deliveries/{delivery_id}/reply", data={"token": token, "text": "x"}
    )

    assert (real.status_code, none.status_code, reply.status_code) == (404, 404, 404)
    assert "Order" not in (await browser.get("/")).text
    assert (await browser.get("/", params={"workspace": "shop"})).status_code == 404


# --- acting -----------------------------------------------------------------------------------


async def test_a_person_answers_from_the_page(room: Mailroom, eva: httpx.AsyncClient) -> None:
    room.agent_says(Handoff("a refund"))
    delivery_id = await room.answered()
    path = f"/deliveries/{delivery_id}"

    sent = await eva.post(
        f"{path}/reply", data={"token": await token_of(eva, path), "text": "We\r\nrefund."}
    )

    item = await room.ask(one, delivery_id)
    assert (sent.status_code, sent.headers["location"]) == (303, path)
    assert (item.state, item.replies[0].text) == ("answered", "We\nrefund.")
    assert item.replies[0].author == f"person:{OWNER}"


async def test_a_person_archives_and_drives_again_from_the_page(
    room: Mailroom, eva: httpx.AsyncClient
) -> None:
    room.agent_says(Silence("nothing to say"))
    delivery_id = await room.answered(mail(subject="Order 7"))
    path = f"/deliveries/{delivery_id}"
    token = await token_of(eva, path)

    await eva.post(f"{path}/archive", data={"token": token})
    put_away = (await eva.get("/")).text
    await eva.post(f"{path}/archive", data={"token": token, "away": "no"})
    back = (await eva.get("/")).text
    await eva.post(f"{path}/replay", data={"token": token})

    assert "Order 7" not in put_away
    assert "Order 7" in back
    assert (await room.ask(one, delivery_id)).state == "accepted"


async def test_a_form_of_another_site_does_nothing(room: Mailroom, eva: httpx.AsyncClient) -> None:
    room.agent_says(Handoff("a refund"))
    delivery_id = await room.answered()
    path = f"/deliveries/{delivery_id}/reply"
    form = {"token": await token_of(eva, f"/deliveries/{delivery_id}"), "text": "gotcha"}

    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        assert (await eva.post(path, data=form, headers=headers)).status_code == 401
    for token in ("", "0" * 64):
        assert (await eva.post(path, data={**form, "token": token})).status_code == 401

    assert (await room.ask(one, delivery_id)).replies == ()


async def test_a_viewer_sees_and_cannot_act(room: Mailroom, browser: httpx.AsyncClient) -> None:
    delivery_id = await room.answered()
    await room.do(_add_viewer)
    await sign_in(room, browser, "vic@shop.example")
    path = f"/deliveries/{delivery_id}"

    page = await browser.get(path)
    token = await token_of(browser, path)
    refused = await browser.post(f"{path}/archive", data={"token": token})

    assert "Send the answer" not in page.text
    assert refused.status_code == 403
    assert "message.send" in refused.text


def _add_viewer(tx: Transaction) -> None:
    row = {"id": "prs_vic", "email": "vic@shop.example", "name": "Vic", "created_at": tx.now}
    tx.insert(people, row)
    tx.insert(memberships, {"person_id": "prs_vic", "role": "viewer"})


async def test_a_wish_that_collides_is_explained(room: Mailroom, eva: httpx.AsyncClient) -> None:
    delivery_id = await room.answered()
    token = await token_of(eva, f"/deliveries/{delivery_id}")

    answered = await eva.post(f"/deliveries/{delivery_id}/replay", data={"token": token})
    empty = await eva.post(f"/deliveries/{delivery_id}/reply", data={"token": token, "text": " "})

    assert answered.status_code == 409
    assert "answered already" in answered.text
    assert empty.status_code == 422
