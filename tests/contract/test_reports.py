"""The sentences of a webhook that tells what became of sent mail, for every provider of one."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from sqlalchemy import select, update

from backend.simulating import Post
from mailagent.errors import Malformed, TransientFailure
from mailagent.flow import events, outbox
from mailagent.mail import Address, EventKind
from mailagent.outgoing import Outgoing
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.contract.cases import NOW, About, Reporting, cases, kinds
from tests.contract.door import HELLO, WORKSPACE, TheDoor, open_door

pytestmark = pytest.mark.parametrize("kind", kinds("REPORTS"))


@pytest.fixture
def reporting(kind: str) -> Reporting:
    of: Reporting = cases(kind, "REPORTS")
    return of


@pytest.fixture
def opened(reporting: Reporting, sqlite_url: str) -> AbstractAsyncContextManager[TheDoor]:
    return open_door(sqlite_url, reporting)


def about(reporting: Reporting, number: int = 1, happened: int = 0) -> About:
    """The mail of that number; `happened` as `About.number`."""
    provider_id, recipient = reporting.provider_id(number), f"ada{number}@customer.example"
    return About(provider_id, f"<reply-{number}@aexy.example>", recipient, happened)


def _sent(tx: Transaction, mail: About, provider_id: str | None) -> str:
    outgoing = Outgoing(
        mail.message_id, NOW, Address(HELLO), (Address(mail.recipient),), "Re: A question", "At 9."
    )
    envelope = outbox.Envelope("new", "person:owner", "agt_hello")
    outbound_id = outbox.queue(tx, outgoing, envelope, expiry=timedelta(hours=72))
    rows, whole = t.outbound_recipients, t.outbound_mails
    state = {"state": "sent", "provider_id": provider_id, "sent_at": tx.now}
    tx.execute(update(rows).where(rows.c.outbound_id == outbound_id).values(state))
    tx.execute(update(whole).where(whole.c.id == outbound_id).values(state="sent"))
    return outbound_id


async def sent(door: TheDoor, mail: About) -> str:
    """A mail that the provider took; its id."""
    return await door.store.write(WORKSPACE, _sent, mail, mail.provider_id)


async def state_of(door: TheDoor, outbound_id: str) -> tuple[str, str]:
    rows = t.outbound_recipients
    found = select(rows).where(rows.c.outbound_id == outbound_id)
    row = await door.store.read(WORKSPACE, lambda tx: tx.row(found))
    assert row is not None
    return row.state, row.reason


async def suppressed(door: TheDoor) -> list[str]:
    found = select(t.suppressions.c.address).order_by(t.suppressions.c.address)
    rows = await door.store.read(WORKSPACE, lambda tx: tx.rows(found))
    return [row.address for row in rows]


async def test_every_word_of_the_table_maps(
    reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    assert reporting.words
    async with opened as door:
        for number, (word, kind) in enumerate(reporting.words.items()):
            mail = about(reporting, number)
            door.told.clear()
            assert (await door.post(reporting.post(word, mail))).status == 200
            assert [told.kind for told in door.told] == ([] if kind is None else [kind]), word
            for told in door.told:
                assert told.recipient == mail.recipient
                assert {mail.provider_id, mail.message_id} & set(told.message_ids), word


async def test_an_unknown_word_is_kept_as_unknown(
    reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    mail = about(reporting)
    async with opened as door:
        outbound_id = await sent(door, mail)
        assert (await door.post(reporting.post(reporting.unknown_word, mail))).status == 200
        (told,) = door.told
        kept = await door.store.read(WORKSPACE, lambda tx: tx.rows(select(t.events)))
        assert (await state_of(door, outbound_id))[0] == "sent"
        assert await suppressed(door) == []
    assert told.kind is EventKind.UNKNOWN
    assert reporting.unknown_word in repr(told.raw)
    assert [row.source_event_id for row in kept] == [told.source_event_id]


async def test_order_and_repetition_do_not_matter(
    reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    shuffled, ends = random.Random(20261121), []
    words = [*reporting.words, reporting.unknown_word]
    async with opened as door:
        for number in range(5):
            mail = about(reporting, number)
            outbound_id = await sent(door, mail)
            posts = [
                reporting.post(word, replace(mail, number=happened))
                for happened, word in enumerate(words)
            ]
            if number:
                posts += posts[::2]
                shuffled.shuffle(posts)
            assert await door.all(posts) == {200}
            state, reason = await state_of(door, outbound_id)
            known = await suppressed(door)
            end = (state, reason.replace(mail.provider_id, ""), mail.recipient in known)
            ends.append(end)
    assert len(set(ends)) == 1, ends


async def test_an_event_that_overtakes_its_own_send_waits_for_it(
    reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    word = _word(reporting, EventKind.DELIVERED)
    mail = about(reporting)
    async with opened as door:
        assert await door.all([reporting.post(word, mail)] * 2) == {200}

        def record(tx: Transaction) -> str:
            outbound_id = _sent(tx, mail, mail.provider_id)
            events.catch_up(tx, outbound_id, [mail.provider_id, mail.message_id])
            return outbound_id

        outbound_id = await door.store.write(WORKSPACE, record)
        assert (await state_of(door, outbound_id))[0] == "delivered"
        waiting = await door.store.read_unscoped(lambda tx: tx.rows(select(t.waiting_events)))
    assert waiting == []


async def test_one_changed_byte_is_unauthentic(
    reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    tried = 0
    async with opened as door:
        for name, post in reporting.forged(about(reporting)):
            said = await door.post(post)
            assert said.status == reporting.refused_with, (name, said)
            tried += 1
    assert tried > 0
    assert door.told == []


async def test_without_credentials_it_is_later_and_health_says_so(
    kind: str, reporting: Reporting, sqlite_url: str
) -> None:
    word = _word(reporting, EventKind.DELIVERED)
    async with open_door(sqlite_url, reporting, settings={}) as door:
        health = (await door.http.get("/health")).json()
        assert await door.all([reporting.post(word, about(reporting))]) == {503}
    assert door.told == []
    assert health["webhooks"][f"/webhooks/email/{kind}"].startswith("answers 503: ")


async def test_each_field_missing_empty_or_of_a_wrong_type_is_malformed(
    kind: str, reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    tried = 0
    async with opened as door:
        malformed = door.door.reporters[kind].answer(Malformed("field", "is wrong"))
        for name, post in reporting.malformed(about(reporting)):
            said = await door.post(post)
            assert said.status == malformed, (name, said)
            assert name.lower() in said.words.lower(), "the refusal names another field"
            tried += 1
    assert tried > 0
    assert door.told == []


async def test_what_is_no_request_of_the_provider_at_all_is_no_crash(
    reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    post = reporting.post(_word(reporting, EventKind.DELIVERED), about(reporting))
    async with opened as door:
        for other in _nonsense(post):
            said = await door.post(other)
            assert said.status != 200
            assert "unforeseen" not in said.words, other


async def test_storage_down_is_later_and_the_next_try_is_kept(
    kind: str, reporting: Reporting, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    post = reporting.post(_word(reporting, EventKind.DELIVERED), about(reporting))
    async with opened as door:
        later = door.door.reporters[kind].answer(TransientFailure("later"))
        await door.break_storage()
        with structlog.testing.capture_logs():
            assert await door.all([post]) == {later} == {503}
        await door.mend_storage()
        assert await door.all([post]) == {200}
    assert len(door.told) == 1


def _word(reporting: Reporting, wanted: EventKind) -> str:
    return next(word for word, kind in reporting.words.items() if kind is wanted)


def _nonsense(post: Post) -> Sequence[Post]:
    bodies = (b"", b"{", b"[[[[", b"\x00\xff", b"null", b"7", b'"x"', b"a=b&c")
    headers: tuple[Mapping[str, str], ...] = (
        post.headers,
        {},
        {"Content-Type": "multipart/form-data"},
    )
    return [replace(post, body=body, headers=of) for body in bodies for of in headers]
