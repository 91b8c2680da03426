"""What became of our mails is the same in whatever order, how often and how early it is told.

`make test` tells 600 events on SQLite and 150 on PostgreSQL, by the same seed each time.
`make faults` tells 10,000 on SQLite and 1,000 on PostgreSQL, by another seed each time:
MAILAGENT_TEST_SEED repeats it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from mailagent.flow import events, outbox
from mailagent.mail import Address, Event, EventKind
from mailagent.outgoing import Outgoing
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from tests.properties.test_promises import LONG, SEED

_AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
_EVENTS_A_MAIL = 12
_MOST_TOLD_AT_ONCE = 20
"""SendGrid tells of many mails in one request."""


@dataclass(frozen=True)
class _Mail:
    """A mail to two, and the name that its provider has for it in one of the two worlds."""

    number: int
    world: str

    @property
    def message_id(self) -> str:
        return f"<m{self.number}@{self.world}.example>"

    @property
    def provider_id(self) -> str:
        return f"{self.world}-{self.number}"

    @property
    def recipients(self) -> tuple[str, str]:
        # Some addresses have several mails: their suppression has several reasons.
        return f"ann{self.number % 40}@x.example", f"bob{self.number}@y.example"


def _told(mail: _Mail, chance: random.Random) -> list[Event]:
    made = []
    for number in range(_EVENTS_A_MAIL):
        name = f"{mail.provider_id}-{number}"
        kind = chance.choice(list(EventKind))
        at = _AT + timedelta(seconds=chance.randrange(30))  # some at the same second
        names = chance.choice([(mail.provider_id,), (mail.message_id, mail.provider_id)])
        to = chance.choice([*mail.recipients, mail.recipients[0].upper()])
        # The names differ between the worlds by a first part alone, and so order alike.
        made.append(Event("provider", name, kind, at, to, names, f"{kind} {number}"))
    return made


def _queue(tx: Transaction, mail: _Mail) -> str:
    outgoing = Outgoing(
        mail.message_id, _AT, Address("hello@shop.example"), tuple(map(Address, mail.recipients)),
        "News", "We have moved.\n",
    )  # fmt: skip
    envelope = outbox.Envelope("new", "person:owner", "agt_hello")
    return outbox.queue(tx, outgoing, envelope, expiry=timedelta(hours=72))


def _sent(tx: Transaction, outbound_id: str, mail: _Mail) -> None:
    """As the send step records it: the state, unless an event by our own id has told more, then
    what was told by the provider's.
    """
    of = t.outbound_recipients.c
    mine = update(t.outbound_recipients).where(of.outbound_id == outbound_id)
    tx.execute(mine.values(provider_id=mail.provider_id, sent_at=tx.now))
    tx.execute(mine.where(of.state == "queued").values(state="sent", reason=""))
    outbox.resettle(tx, outbound_id)
    events.catch_up(tx, outbound_id, [mail.provider_id, mail.message_id])


def _found(tx: Transaction, world: str) -> None:
    space = {"id": world, "slug": world, "name": world, "settings": {}, "created_at": tx.now}
    tx.insert(t.workspaces, space)
    agent = {
        "id": f"agt_{world}", "handle": "hello", "name": "Hello", "processor": "none",
        "instructions": "", "email_enabled": True, "settings": {}, "created_at": tx.now,
    }  # fmt: skip
    tx.of(world).insert(t.agents, agent)


def _ends(tx: Transaction) -> dict[str, Any]:
    """Everything that events decide, without the names of this world."""
    rows, mails = t.outbound_recipients, t.outbound_mails
    states = tx.rows(
        select(rows.c.address, rows.c.state, rows.c.reason, mails.c.subject, mails.c.state)
        .join(mails, mails.c.id == rows.c.outbound_id)
        .order_by(rows.c.outbound_id, rows.c.address)
    )
    kept = tx.rows(select(t.events.c.kind, t.events.c.at, t.events.c.detail, t.events.c.recipient))
    suppressed = tx.rows(
        select(t.suppressions.c.address, t.suppressions.c.reason, t.suppressions.c.origin)
    )
    return {
        "recipients": [tuple(row) for row in states],
        "events": sorted(map(repr, map(tuple, kept))),
        "suppressed": sorted(tuple(row) for row in suppressed),
    }


def _in_order(store: Store, mails: Sequence[_Mail], chance: random.Random) -> None:
    """Each mail is sent, and its events come one by one by their times."""
    for mail in mails:
        outbound_id = store.write_now(mail.world, _queue, mail)
        store.write_now(mail.world, _sent, outbound_id, mail)
        told = sorted(_told(mail, chance), key=lambda one: (one.at, one.source_event_id))
        store.write_now(None, events.take, told)


def _at_random(
    store: Store, mails: Sequence[_Mail], chance: random.Random, order: random.Random
) -> int:
    """The same events anywhere, half of them twice, before and after each mail's send."""
    told = [event for mail in mails for event in _told(mail, chance)]
    told += order.sample(told, len(told) // 2)
    order.shuffle(told)
    queued = [(store.write_now(mail.world, _queue, mail), mail) for mail in mails]
    order.shuffle(queued)
    early, place = 0, 0
    while place < len(told) or queued:
        if queued and (place >= len(told) or order.random() < len(queued) / (len(told) - place)):
            store.write_now(queued[-1][1].world, _sent, *queued.pop())
            continue
        some = told[place : place + order.randint(1, _MOST_TOLD_AT_ONCE)]
        unsent = {mail.provider_id for _, mail in queued}
        early += sum(event.message_ids[-1] in unsent for event in some)
        store.write_now(None, events.take, some)
        place += len(some)
    return early


def _happen(url: str, count: int) -> None:
    print(f"MAILAGENT_TEST_SEED={SEED}")
    numbers = range(count // _EVENTS_A_MAIL + 1)
    with _opened(url) as store:
        for world in ("ordered", "shuffled"):
            store.write_now(None, _found, world)
        _in_order(store, [_Mail(one, "ordered") for one in numbers], random.Random(SEED))
        shuffled = [_Mail(one, "shuffled") for one in numbers]
        order = random.Random(f"{SEED} order")
        early = _at_random(store, shuffled, random.Random(SEED), order)
        ends = [store.read_now(world, _ends) for world in ("ordered", "shuffled")]
        waiting = store.read_now(None, lambda tx: tx.rows(t.waiting_events.select()))
    total = len(numbers) * _EVENTS_A_MAIL
    assert total / 5 < early, "hardly an event came before its send"
    assert len(ends[0]["events"]) == total
    assert len({state for _, state, *_ in ends[0]["recipients"]}) >= 4, "they all ended alike"
    for what, in_order in ends[0].items():
        assert in_order == ends[1][what], (what, SEED)
    assert waiting == []


@contextmanager
def _opened(url: str) -> Iterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        store.close()


@pytest.mark.timeout(3600 if LONG else 120)
def test_events_in_any_order_end_as_in_order(sqlite_url: str) -> None:
    _happen(sqlite_url, 10_000 if LONG else 600)


@pytest.mark.timeout(3600 if LONG else 120)
def test_events_in_any_order_end_as_in_order_on_postgresql_too(postgres_url: str) -> None:
    _happen(postgres_url, 1_000 if LONG else 150)
