"""A mail that a provider keeps for us is fetched, becomes a mail like any other, and never lost."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from mailagent.inbound import Accepted
from mailagent.store import tables as t
from tests.flow.house import House, Space, mail
from tests.flow.test_sending import someone

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def told_of(house: House, place: str, *to: str) -> Accepted:
    """A provider's notification that it keeps a mail at `place`."""
    outcome = await house.accept(
        b'{"kept": "elsewhere"}', *to, source="ses", body_format="stored", stored_at=place
    )
    assert isinstance(outcome, Accepted)
    return outcome


def hello(space: Space) -> str:
    return f"hello@{space.domain}"


async def raw_row(space: Space) -> tuple[bytes, str, int]:
    (row,) = await space.rows(t.raw_messages)
    return row.content, row.sha256, row.size_bytes


async def test_a_stored_mail_is_fetched_and_answered_and_its_octets_are_kept(house: House) -> None:
    space, place = await house.workspace(), f"s3://bucket/{someone()}"
    house.stored[place] = mail("When are you open?")
    accepted = await told_of(house, place, hello(space))
    await space.delivery(accepted.delivery_ids[0], "answered")
    digest = hashlib.sha256(house.stored[place]).hexdigest()
    assert await raw_row(space) == (house.stored[place], digest, len(house.stored[place]))


async def test_a_mail_that_is_not_there_yet_waits_and_costs_no_attempt(house: House) -> None:
    space, place = await house.workspace(), f"s3://bucket/{someone()}"
    accepted = await told_of(house, place, hello(space))

    async def has_waited() -> bool:
        lines = await space.rows(t.ledger, t.ledger.c.what == "waits to be fetched")
        return len(lines) == times

    for times in range(1, 8):  # noqa: B007 - `has_waited` looks at it
        await house.until(has_waited)
        await house.later(timedelta(minutes=31))
    house.stored[place] = mail()
    await house.later(timedelta(minutes=31))
    await space.delivery(accepted.delivery_ids[0], "answered")


async def test_what_never_comes_is_a_dead_letter_after_three_days(house: House) -> None:
    space = await house.workspace()
    accepted = await told_of(house, f"s3://bucket/{someone()}", hello(space))

    async def waits() -> bool:
        return any(line.what == "waits to be fetched" for line in await space.rows(t.ledger))

    await house.until(waits)
    await house.later(timedelta(days=4))
    row = await space.delivery(accepted.delivery_ids[0], "failed")
    assert "there is nothing there" in row.reason


async def test_a_place_that_may_not_be_asked_is_never_asked_again(house: House) -> None:
    space = await house.workspace()
    accepted = await told_of(house, "forbidden://bucket/key", hello(space))
    row = await space.delivery(accepted.delivery_ids[0], "failed")
    assert "may not be asked" in row.reason


async def test_one_stored_mail_for_two_agents_is_read_by_both(house: House) -> None:
    space, place = await house.workspace(), f"s3://bucket/{someone()}"
    await space.another_agent("second")
    house.stored[place] = mail()
    accepted = await told_of(house, place, hello(space), f"second@{space.domain}")
    for delivery_id in accepted.delivery_ids:
        await space.delivery(delivery_id, "answered")
