"""The pages of domains: what stands wrong first, values to copy, and a look that is asked for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from backend.access.sign_in import create_link
from backend.domains import adding, placing
from backend.domains.adding import Wanted
from backend.domains.desk import Desk
from backend.web import create_web
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store.tables import memberships, people
from mailagent.store.transaction import Transaction
from tests.backend.mailroom import OWNER, Mailroom, open_mailroom
from tests.backend.test_web import Loaded
from tests.dns_server import DnsServer
from tests.domains.api import desk_of
from tests.domains.town import NAME, serve

SITE = "http://127.0.0.1:8000"


@pytest.fixture
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    sandbox = Sandbox(allowed=("mailagent.reading",))
    async with open_mailroom(database_url, sandbox) as opened:
        yield opened
    await sandbox.close()


@pytest.fixture
def desk(room: Mailroom, dns: DnsServer) -> Desk:
    serve(dns, NAME)
    return desk_of(room, dns)


@pytest.fixture
async def browser(room: Mailroom, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    app = create_web(room.services, Settings(public_url=SITE), desk)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url=SITE, headers={"Origin": SITE}
    ) as client:
        yield client


async def sign_in(room: Mailroom, browser: httpx.AsyncClient, email: str = OWNER) -> None:
    token = await room.store.write_unscoped(create_link, email)
    await browser.post("/sign-in", data={"token": token})


async def token_of(browser: httpx.AsyncClient, path: str) -> str:
    found = re.search(r'name="token" value="([a-z2-7]+)"', (await browser.get(path)).text)
    assert found
    return found.group(1)


async def added(room: Mailroom, desk: Desk) -> str:
    return (await adding.add(desk, room.workspace_id, Wanted(NAME), actor="person:test")).id


async def check(browser: httpx.AsyncClient, path: str) -> httpx.Response:
    form = {"token": await token_of(browser, path)}
    return await browser.post(f"{path}/check", data=form)


async def test_without_a_domain_the_page_says_how_to_add_one(
    room: Mailroom, browser: httpx.AsyncClient
) -> None:
    await sign_in(room, browser)
    assert "mailagent domain add" in (await browser.get("/domains")).text
    assert 'href="/domains"' in (await browser.get("/")).text


async def test_records_are_shown_checked_and_what_is_wrong_is_named(
    room: Mailroom, browser: httpx.AsyncClient, desk: Desk, dns: DnsServer
) -> None:
    await sign_in(room, browser)
    path = f"/domains/{await added(room, desk)}"
    assert path in (await browser.get("/domains")).text
    page = (await browser.get(path)).text
    assert "not looked at" in page
    assert re.search(r'<code class="value">aexy-verify=[0-9a-f]+</code>', page)
    loaded = Loaded(page)
    assert (loaded.inline, loaded.fetched) == ([], ["/static/style.css", "/static/icon.svg"])

    dns.add({NAME: {"NS": ["ada.ns.cloudflare.com.", "bob.ns.cloudflare.com."]}})
    looked = await check(browser, path)
    assert (looked.status_code, looked.headers["location"]) == (303, path)
    page = (await browser.get(path)).text
    assert "What to publish at Cloudflare" in page
    assert re.search(r'class="problem">[^<]*_aexy-verification.acme.example', page)
    assert "_aexy-verification.acme.example" in (await browser.get("/domains")).text

    found: dict[str, dict[str, list[str]]] = {}
    for each in await placing.records_of(desk, room.workspace_id, NAME):
        dot = "." if each.record.type == "MX" else ""
        types = found.setdefault(each.name, {})
        types.setdefault(each.record.type, []).append(f"{each.text}{dot}")
    dns.add(found)
    await check(browser, path)
    page = (await browser.get(path)).text
    assert 'responded">verified' in page
    assert "escalated" not in page


async def test_who_may_only_read_cannot_check_and_a_stranger_sees_nothing(
    room: Mailroom, browser: httpx.AsyncClient, desk: Desk
) -> None:
    path = f"/domains/{await added(room, desk)}"
    assert (await browser.get(path)).headers["location"] == "/sign-in"
    await room.do(_viewer)
    await sign_in(room, browser, "vic@shop.example")
    page = await browser.get(path)
    assert (page.status_code, "Check now" in page.text) == (200, False)
    refused = await check(browser, path)
    assert (refused.status_code, "domain.verify" in refused.text) == (403, True)

    wish = Wanted("other.example")
    theirs = (await adding.add(desk, "wsp_other", wish, actor="person:test")).id
    for unknown in (theirs, "dom_0"):
        assert (await browser.get(f"/domains/{unknown}")).status_code == 404
    assert "other.example" not in (await browser.get("/domains")).text


async def test_a_form_of_another_site_looks_at_nothing(
    room: Mailroom, browser: httpx.AsyncClient, desk: Desk, dns: DnsServer
) -> None:
    await sign_in(room, browser)
    path = f"/domains/{await added(room, desk)}"
    form = {"token": await token_of(browser, path)}
    asked = len(dns.asked)
    evil = {"Origin": "https://evil.example"}
    assert (await browser.post(f"{path}/check", data=form, headers=evil)).status_code == 401
    assert (await browser.post(f"{path}/check", data={"token": "0" * 64})).status_code == 401
    assert len(dns.asked) == asked


def _viewer(tx: Transaction) -> None:
    row = {"id": "prs_vic", "email": "vic@shop.example", "name": "Vic", "created_at": tx.now}
    tx.insert(people, row)
    tx.insert(memberships, {"person_id": "prs_vic", "role": "viewer"})
