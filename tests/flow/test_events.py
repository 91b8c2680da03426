"""Events of a provider end in the same state, whatever their order, repetition and haste."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from mailagent.flow import events
from mailagent.mail import Event, EventKind
from mailagent.store import tables as t
from tests.flow.house import House, Space
from tests.flow.test_sending import someone

pytestmark = pytest.mark.asyncio(loop_scope="package")


def event(
    name: str, kind: EventKind, *names: str, of: str | None, number: int = 0, house: House
) -> Event:
    at = house.store.now() + timedelta(seconds=number)
    return Event("provider", name, kind, at, of, names, f"{kind} {name}")


async def tell(house: House, *told: Event) -> None:
    await house.store.write_unscoped(events.take, told)


async def state_of(space: Space, outbound_id: str, address: str) -> tuple[str, str]:
    row = (await space.recipients(outbound_id))[address]
    return row.state, row.reason


async def sent(space: Space, *to: str) -> tuple[str, str]:
    outbound_id = await space.send(*to)
    row = await space.sent_off(outbound_id, "sent")
    return outbound_id, row.message_id


async def test_an_event_finds_its_mail_by_our_message_id(house: House) -> None:
    space = await house.workspace()
    to = someone()
    outbound_id, message_id = await sent(space, to)
    await tell(house, event("e1", EventKind.DELIVERED, message_id, of=to.upper(), house=house))
    assert await state_of(space, outbound_id, to) == ("delivered", "delivered e1")


async def test_an_event_about_an_unknown_mail_waits_and_is_forgotten_after_a_week(
    house: House,
) -> None:
    name = someone()
    await tell(house, event(name, EventKind.DELIVERED, name, of="ann@x.example", house=house))
    waiting = await house.store.read_unscoped(lambda tx: tx.rows(t.waiting_events.select()))
    assert [row.names for row in waiting if row.source_event_id == name] == [name]
    await house.store.write_unscoped(
        lambda tx: tx.execute(
            t.waiting_events.update()
            .where(t.waiting_events.c.source_event_id == name)
            .values(came_at=tx.now - timedelta(days=8))
        )
    )
    await house.store.write_unscoped(events.forget)
    left = await house.store.read_unscoped(lambda tx: tx.rows(t.waiting_events.select()))
    assert name not in [row.source_event_id for row in left]


async def test_an_event_that_overtakes_the_record_of_its_send_is_merged_with_it(
    house: House,
) -> None:
    space = await house.workspace()
    to, name = someone(), someone("id")
    told = event(name, EventKind.BOUNCED_HARD, name, of=to, house=house)
    await tell(house, told, told)
    outbound_id, _ = await sent(space, to)
    await house.store.write(space.id, events.catch_up, outbound_id, [name])
    assert await state_of(space, outbound_id, to) == ("bounced", f"bounced_hard {name}")
    assert [row.address for row in await space.rows(t.suppressions)] == [to]
    waiting = await house.store.read_unscoped(lambda tx: tx.rows(t.waiting_events.select()))
    assert name not in [row.source_event_id for row in waiting]


async def test_any_order_with_repetitions_ends_as_in_order(house: House) -> None:
    space = await house.workspace()
    shuffled = random.Random(20261121)
    kinds = list(EventKind)
    ends = []
    for order in range(6):
        to = someone()
        outbound_id, message_id = await sent(space, to)
        told = [
            event(f"{outbound_id}-{n}", kind, message_id, of=to, number=n % 3, house=house)
            for n, kind in enumerate([*kinds[:4], kinds[2], *kinds[-3:]] * 2)
        ]
        if order:
            told += told[::3]
            shuffled.shuffle(told)
        for one in told:
            await tell(house, one)
        state, reason = await state_of(space, outbound_id, to)
        ends.append((state, reason.replace(outbound_id, "")))
    assert len(set(ends)) == 1, ends


@pytest.mark.parametrize(
    ("kind", "state", "reason"),
    [
        (EventKind.OPENED, "delivered", None),
        (EventKind.CLICKED, "delivered", None),
        (EventKind.UNSUBSCRIBED, "delivered", "unsubscribed"),
        (EventKind.BLOCKED, "bounced", None),
        (EventKind.REJECTED, "refused", None),
        (EventKind.UNKNOWN, "sent", None),
        (EventKind.COMPLAINED, "complained", "complaint"),
    ],
)
async def test_each_kind_of_event_moves_and_suppresses_what_it_should(
    house: House, kind: EventKind, state: str, reason: str | None
) -> None:
    space = await house.workspace()
    to = someone()
    outbound_id, message_id = await sent(space, to)
    await tell(house, event(someone(), kind, message_id, of=to, house=house))
    assert (await state_of(space, outbound_id, to))[0] == state
    suppressed = {row.address: row.reason for row in await space.rows(t.suppressions)}
    assert suppressed == ({to: reason} if reason else {})


async def test_an_event_about_somebody_we_did_not_write_to_is_kept_and_moves_nobody(
    house: House,
) -> None:
    space = await house.workspace()
    to = someone()
    outbound_id, message_id = await sent(space, to)
    other = event("e-other", EventKind.BOUNCED_HARD, message_id, of="x@y.example", house=house)
    await tell(house, other)
    assert (await state_of(space, outbound_id, to))[0] == "sent"
    assert [row.recipient for row in await space.rows(t.events)] == ["x@y.example"]
    assert await space.rows(t.suppressions) == []
