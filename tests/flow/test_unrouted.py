"""What a webhook brought for nobody is kept for a week, and its tokens as long as they repeat."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from mailagent.flow import unrouted
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.store import tables as t
from mailagent.tokens import new_id
from tests.flow.house import House

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_mail_for_nobody_is_kept_once_and_forgotten_after_a_week(house: House) -> None:
    name = new_id("src")
    origin = Origin(house.store.now() - timedelta(days=6))
    mail = Inbound(Envelope(None, ("nobody@x.example",)), b"raw", "mailgun", name, origin)

    async def kept() -> list[bytes]:
        statement = select(t.unrouted_mails.c.content).where(t.unrouted_mails.c.source_id == name)
        return [
            row.content for row in await house.store.read_unscoped(lambda tx: tx.rows(statement))
        ]

    for _ in range(2):
        await house.store.write_unscoped(unrouted.remember, mail)
    await house.store.write_unscoped(unrouted.forget)
    assert await kept() == [b"raw"]
    await house.later(timedelta(days=2))
    await house.store.write_unscoped(unrouted.forget)
    assert await kept() == []


async def test_single_use_tokens_are_kept_two_days(house: House) -> None:
    space = await house.workspace()
    token = new_id("tok")
    await house.accept(
        b"Subject: x\r\n\r\nx", f"hello@{space.domain}", source="mailgun", replay_token=token
    )

    async def kept() -> int:
        statement = select(t.replay_tokens).where(t.replay_tokens.c.token == token)
        return len(await house.store.read_unscoped(lambda tx: tx.rows(statement)))

    await house.store.write_unscoped(unrouted.forget)
    assert await kept() == 1
    await house.later(timedelta(days=3))
    await house.store.write_unscoped(unrouted.forget)
    assert await kept() == 0
