"""Whichever way a mail is written, none leaves in the name of another workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from backend.outbound import trial
from mailagent.outgoing import Handoff, Reply
from mailagent.sandbox import Sandbox
from mailagent.store.tables import addresses, hand_overs, outbound_mails, outbound_recipients
from mailagent.store.transaction import Transaction
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import DOMAIN, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = "/workspaces/shop/agents/hello"
MESSAGE = {"to": ["ann@customer.example"], "subject": "Hi", "text": "From the bank."}

Way = Callable[[Mailroom, httpx.AsyncClient], Awaitable[object]]


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


async def an_agents_answer(room: Mailroom, _: httpx.AsyncClient) -> None:
    room.agent_says(Reply("It is on its way."))
    await room.deliver(mail())
    await room.work(sending=False)


async def a_new_mail(_: Mailroom, api: httpx.AsyncClient) -> None:
    assert (await api.post(f"{HELLO}/messages", json=MESSAGE)).status_code == 201


async def a_test_mail(room: Mailroom, _: httpx.AsyncClient) -> None:
    # `POST /email/test` and `send-test` queue it so, and then wait for what becomes of it.
    to = "ann@customer.example"
    await room.do(trial.queue, room.services, to=to, subject="Hi", body="x", author="cli")


async def a_persons_answer(room: Mailroom, api: httpx.AsyncClient) -> None:
    room.agent_says(Handoff("too hard for me"))
    delivery_id = await room.deliver(mail())
    await room.work()
    path = f"{HELLO}/inbox/{delivery_id}/reply"
    assert (await api.post(path, json={"text": "It is."})).status_code == 201


def _steal(tx: Transaction) -> None:
    """Give the workspace's agent an address of another tenant, as only the database can."""
    tx.execute(update(addresses).values(domain=f"other.{DOMAIN}"))


@pytest.mark.parametrize("stolen", ["before it is written", "before it leaves"])
@pytest.mark.parametrize("way", [an_agents_answer, a_new_mail, a_test_mail, a_persons_answer])
async def test_no_way_out_takes_an_address_of_another_workspace(
    room: Mailroom, api: httpx.AsyncClient, way: Way, stolen: str
) -> None:
    if stolen == "before it is written":
        await room.do(_steal)
    await way(room, api)
    wanted = select(outbound_mails).where(outbound_mails.c.purpose != "notice")
    (written,) = await room.rows(wanted)
    if stolen == "before it leaves":
        assert written.from_address == f"hello@shop.{DOMAIN}"
        await room.do(_steal)
    else:
        assert written.from_address == f"hello@other.{DOMAIN}"
    await room.work()
    (mail_,) = await room.rows(wanted)
    assert mail_.state == "refused"
    (recipient,) = await room.rows(
        select(outbound_recipients).where(outbound_recipients.c.outbound_id == mail_.id)
    )
    assert recipient.reason == "From is no address of this workspace"
    handed = select(hand_overs).where(hand_overs.c.outbound_id == mail_.id)
    assert await room.rows(handed) == []


@pytest.mark.parametrize("name", ["From", "Sender", "Resent-From", "Return-Path", "Reply-To"])
async def test_a_field_that_speaks_for_another_is_refused_when_it_is_given(
    room: Mailroom, api: httpx.AsyncClient, name: str
) -> None:
    message = MESSAGE | {"headers": {name: f"ceo@other.{DOMAIN}"}}
    answer = await api.post(f"{HELLO}/messages", json=message)
    assert answer.status_code == 422
    assert "leave it out" in answer.json()["detail"]
    assert await room.rows(select(outbound_mails)) == []
