"""What nobody knows is asked of the provider: a yes settles a mail, a no is told to a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from mailagent.flow import lookup, outbox
from mailagent.flow.purge import Whole, purge
from mailagent.mail import Address
from mailagent.outbound import AccountState
from mailagent.outgoing import Outgoing
from mailagent.providers.api import Times
from mailagent.providers.postmark_send import PostmarkSender
from mailagent.providers.raw_store import RawStore
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow, Transaction
from tests.api_server import Fault
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, open_mailroom
from tests.flow.planted import found_in_columns
from tests.postmark_server import TOKEN, PostmarkServer

pytestmark = pytest.mark.asyncio

MESSAGE_ID = f"<news@shop.{DOMAIN}>"


@dataclass(frozen=True)
class Lost:
    """A mail to Ann by Postmark, whose answer never came."""

    room: Mailroom
    server: PostmarkServer

    async def recipient(self) -> AnyRow:
        of = select(t.outbound_recipients).where(
            t.outbound_recipients.c.address == "ann@customer.example"
        )
        (row,) = await self.room.rows(of)
        return row

    async def long_ago(self) -> None:
        then = datetime.now(UTC) - timedelta(hours=2)
        change = update(t.hand_overs).values(started_at=then)
        await self.room.do(lambda tx: tx.execute(change).rowcount)


def _queue(tx: Transaction) -> str:
    outgoing = Outgoing(
        message_id=MESSAGE_ID,
        date=tx.now,
        from_=Address(HELLO),
        to=(Address("ann@customer.example"),),
        subject="News",
        text="We have moved.\n",
    )
    envelope = outbox.Envelope("notice", "mailagent", "agt_hello")
    return outbox.queue(tx, outgoing, envelope, expiry=timedelta(hours=1))


@asynccontextmanager
async def a_lost_mail(url: str) -> AsyncIterator[Lost]:
    async with PostmarkServer(script=[Fault.RESET]) as server:
        sender = PostmarkSender("postmark", TOKEN, base=server.url, times=Times(connect=5, read=5))
        accounts, states = [sender], [AccountState("postmark")]
        async with open_mailroom(
            url, Sandbox(allowed=()), accounts=accounts, states=states
        ) as room:
            await room.do(_queue)
            with capture_logs():
                await room.work()
            yield Lost(room, server)
        await sender.close()


async def test_a_mail_that_the_provider_has_is_sent_and_was_handed_over_once(
    database_url: str,
) -> None:
    async with a_lost_mail(database_url) as lost:
        assert (await lost.recipient()).state == "unknown"
        lost.server.taken.append({"Metadata": {"message_id": MESSAGE_ID}})
        assert await lookup.look_up(lost.room.services, lost.room.workspace_id) == 1
        row = await lost.recipient()
        assert (row.state, row.account, row.reason) == ("sent", "postmark", "found at postmark")
        (mail,) = await lost.room.rows(select(t.outbound_mails))
        assert mail.state == "sent"
        assert [one.method for one in lost.server.requests].count("POST") == 1


async def test_a_mail_that_the_provider_does_not_have_stays_a_persons_to_decide(
    database_url: str,
) -> None:
    async with a_lost_mail(database_url) as lost:
        await lookup.look_up_all(lost.room.services)
        assert "knows nothing" not in (await lost.recipient()).reason  # too early to tell
        await lost.long_ago()
        await lookup.look_up_all(lost.room.services)
        row = await lost.recipient()
        assert row.state == "unknown"
        assert row.reason.endswith("the provider knows nothing of it (postmark)")
        asked = len(lost.server.requests)
        await lookup.look_up_all(lost.room.services)
        assert len(lost.server.requests) == asked


async def test_of_a_mail_that_is_purged_while_its_provider_is_asked_no_word_is_written(
    database_url: str,
) -> None:
    async with a_lost_mail(database_url) as lost:
        room = lost.room
        lost.server.taken.append({"Metadata": {"message_id": MESSAGE_ID}})
        lost.server.held = asyncio.Event()
        asked = len(lost.server.requests)
        asking = asyncio.create_task(lookup.look_up(room.services, room.workspace_id))
        async with asyncio.timeout(8):
            while len(lost.server.requests) == asked:
                await asyncio.sleep(0.01)
        whole = Whole()
        await purge(room.store, room.workspace_id, whole, actor="cli", raw_store=RawStore({}))
        lost.server.held.set()
        assert await asking == 0

        assert list(found_in_columns(room.store, "ann@customer.example")) == []
        asked = len(lost.server.requests)
        await lookup.look_up(room.services, room.workspace_id)
        assert len(lost.server.requests) == asked  # by which words?
