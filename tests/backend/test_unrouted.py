"""The operator looks through the mail that webhooks brought for nobody, and removes it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from backend.access import sign_in
from backend.paging import Window
from backend.unrouted import service
from mailagent.errors import NotFound
from mailagent.flow import unrouted
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.sandbox import Sandbox
from mailagent.store.engine import Store
from tests.backend.api_client import key, open_api, session
from tests.backend.mailroom import OWNER, Mailroom, open_mailroom
from tests.operation.terminal import Terminal

PATH = "/email-infrastructure/unrouted"
OPERATOR = "wsp_other"
"""The mailroom's first workspace by time and id."""
_NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def mail(number: int, raw: bytes = b"Subject: x\r\n\r\nHi \xff\r\n") -> Inbound:
    envelope = Envelope("ann@customer.example", (f"n{number}@shop.example",))
    origin = Origin(_NOON + timedelta(minutes=number))
    return Inbound(envelope, raw, "mailgun", f"source-{number}", origin)


@pytest_asyncio.fixture
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, Sandbox(allowed=())) as opened:
        for number in range(3):
            await opened.store.write_unscoped(unrouted.remember, mail(number))
        yield opened


@pytest.mark.asyncio
async def test_the_operator_lists_shows_and_removes_them(room: Mailroom) -> None:
    async with open_api(room, await key(room, workspace=OPERATOR)) as api:
        first = (await api.get(PATH, params={"limit": 2})).json()
        rest = (await api.get(PATH, params={"cursor": first["next_cursor"]})).json()
        listed = first["items"] + rest["items"]
        assert [one["recipients"] for one in listed] == [
            ["n2@shop.example"],
            ["n1@shop.example"],
            ["n0@shop.example"],
        ]
        assert "content_base64" not in listed[0]
        one = f"{PATH}/{listed[0]['id']}"
        shown = (await api.get(one)).json()
        assert base64.b64decode(shown["content_base64"]) == mail(2).raw
        assert (shown["whole"], shown["mail_from"]) == (True, "ann@customer.example")
        assert (await api.delete(one)).status_code == 204
        assert (await api.delete(one)).status_code == 404
        assert (await api.get(one)).status_code == 404
        assert len((await api.get(PATH)).json()["items"]) == 2


@pytest.mark.asyncio
async def test_nobody_else_sees_them(room: Mailroom) -> None:
    for secret in (await key(room), await key(room, "message.read", workspace=OPERATOR)):
        async with open_api(room, secret) as api:
            assert (await api.get(PATH)).status_code == 403
    async with open_api(room) as api:
        api.cookies.set(sign_in.SESSION_COOKIE, await session(room, OWNER))
        assert (await api.get(PATH)).status_code == 403
    reader = await key(room, "unrouted.read", workspace=OPERATOR)
    async with open_api(room, reader) as api:
        (first, *_) = (await api.get(PATH)).json()["items"]
        assert (await api.delete(f"{PATH}/{first['id']}")).status_code == 403


@pytest.mark.asyncio
async def test_several_are_removed_or_none(room: Mailroom) -> None:
    ids = [one.id for one in (await room.store.read_unscoped(service.listing, Window())).items]
    with pytest.raises(NotFound, match="unr_none"):
        await room.store.write_unscoped(service.remove, [*ids, "unr_none"])
    assert len((await room.store.read_unscoped(service.listing, Window())).items) == 3
    assert await room.store.write_unscoped(service.remove, [*ids, ids[0]]) == 3


@pytest.fixture
def plant(sqlite_url: str) -> Callable[[Inbound], None]:
    def work(one: Inbound) -> None:
        store = Store(sqlite_url)
        store.write_now(None, unrouted.remember, one)
        store.close()

    return work


def test_the_commands_show_foreign_bytes_without_what_steers_a_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    sqlite_url: str,
    plant: Callable[[Inbound], None],
) -> None:
    mailagent = Terminal(capsys, monkeypatch).on(sqlite_url)
    assert mailagent.ok("unrouted", "list") == "none"
    plant(mail(1, b"Subject: \x1b[2Jgr\xc3\xbc\xc3\x9fe\x07\r\n\r\nHi\r\n"))
    plant(mail(2, b"x" * (1024 * 1024 + 1)))
    large, small = mailagent("unrouted", "list", "--json").json
    assert "from ann@customer.example to n1@shop.example" in mailagent.ok("unrouted", "list")
    shown = mailagent.ok("unrouted", "show", small["id"])
    assert shown.startswith("Subject: \ufffd[2Jgr\u00fc\u00dfe\ufffd\n\nHi")
    cut = mailagent("unrouted", "show", large["id"], "--json")
    assert (cut.json["whole"], "the first 1,048,576 are kept" in cut.err) == (False, True)
    assert mailagent("unrouted", "remove", small["id"], "unr_none").code == 1
    assert mailagent.ok("unrouted", "remove", small["id"], large["id"]) == "removed 2"
    assert mailagent.ok("unrouted", "list") == "none"
