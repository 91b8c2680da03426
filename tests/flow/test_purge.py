"""After a purge nothing is left of whom it was about, and everything of all others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.agents import Turn
from mailagent.errors import Malformed
from mailagent.flow.purge import Named, Person, Purged, Target, Whole, purge, vacuum
from mailagent.outgoing import Reply
from mailagent.store import tables as t
from tests.flow.house import House, Space, mail
from tests.flow.planted import MARK, PERSON, allow_files, found_in_columns, holds, plant, quoting
from tests.flow.test_sending import someone

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def purged(space: Space, target: Target, *, dry_run: bool = False) -> Purged:
    return await purge(space.house.store, space.id, target, actor="cli", dry_run=dry_run)


def left(house: House, mark: str = MARK) -> list[str]:
    return list(found_in_columns(house.store, mark))


@pytest.mark.parametrize("target", [Whole(), Person(PERSON.upper())], ids=["all", "person"])
async def test_nothing_remains_in_any_column_of_any_table(house: House, target: Target) -> None:
    space = await house.workspace(quoting)
    await plant(space)
    tables = {one.partition(".")[0] for one in left(house)}
    assert {"raw_messages", "deliveries", "messages", "ledger", "outbound_mails"} <= tables

    await purged(space, target)

    assert left(house) == []


async def test_nothing_remains_of_single_mails_in_any_column(house: House) -> None:
    space = await house.workspace(quoting)
    ids = await plant(space)
    (refused,) = [row.id for row in await space.outbound() if row.purpose == "new"]

    await purged(space, Named(ids, (refused,)))

    # An address that bounced stays stopped, and says why: a mail is gone, not the person. So does
    # what people have said of them.
    of_person = ("suppressions.", "list_entries.")
    assert [one for one in left(house) if not one.startswith(of_person)] == []
    await purged(space, Person(PERSON))


async def test_nothing_remains_in_the_file_of_sqlite(house: House) -> None:
    if not house.store.on_sqlite:
        return
    space = await house.workspace(quoting)
    await plant(space)
    file = Path(str(house.store.engine.url.database))

    await purged(space, Whole())
    vacuum(house.store)

    for one in (file, file.with_name(f"{file.name}-wal")):
        assert not holds(one.read_bytes(), MARK), one.name


async def test_ids_times_states_and_hashes_stay(house: House) -> None:
    space = await house.workspace(quoting)
    answered, *_ = await plant(space)
    (before,) = await space.rows(t.deliveries, t.deliveries.c.id == answered)
    (reply,) = await space.outbound(t.outbound_mails.c.answers_delivery_id == answered)

    await purged(space, Whole())

    (row,) = await space.rows(t.deliveries, t.deliveries.c.id == answered)
    (raw,) = await space.rows(t.raw_messages, t.raw_messages.c.id == before.raw_id)
    assert (row.state, row.received_at) == ("answered", before.received_at)
    assert row.content_removed_by == "purge"
    assert raw.content is None
    assert len(raw.sha256) == 64
    told = await space.story(answered)
    assert "decide: answered" in told
    assert "purge: content removed (asked by cli)" in told
    (sent,) = await space.outbound(t.outbound_mails.c.id == reply.id)
    assert (sent.state, sent.message_id) == (reply.state, reply.message_id)


async def test_of_others_nothing_is_lost(house: House) -> None:
    space = await house.workspace(quoting)
    await allow_files(space)
    other = "j" + PERSON
    theirs = await space.receive(mail("Theirs", to=space.address, sender=other), mail_from=other)
    await space.answer_to(theirs)
    await plant(space)

    await purged(space, Person(PERSON))

    (row,) = await space.rows(t.deliveries, t.deliveries.c.id == theirs)
    assert row.content_removed_at is None
    (message,) = await space.rows(t.messages, t.messages.c.delivery_id == theirs)
    assert message.from_address == other
    await purged(space, Whole())


async def test_another_workspace_is_not_touched(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    theirs = await other.receive(mail(to=other.address))
    await other.answer_to(theirs)

    await purged(space, Whole())

    (row,) = await other.rows(t.deliveries)
    assert row.content_removed_at is None


async def test_a_dry_run_counts_what_a_purge_removes_and_changes_nothing(house: House) -> None:
    space = await house.workspace(quoting)
    await plant(space)

    told = await purged(space, Person(PERSON), dry_run=True)
    again = await purged(space, Person(PERSON), dry_run=True)
    done = await purged(space, Person(PERSON))

    assert told == again
    assert (told.received, told.sent) == (done.received, done.sent)
    assert told.received == 7
    assert await purged(space, Person(PERSON)) == Purged(0, 0, 0)


async def test_nothing_is_sent_to_a_purged_person_whose_address_had_bounced(house: House) -> None:
    space = await house.workspace(quoting)
    await plant(space)
    await purged(space, Person(PERSON))

    again = await space.send(PERSON)

    await space.sent_off(again, "suppressed")
    await purged(space, Person(PERSON))


async def test_a_mail_that_the_agent_has_in_hand_is_ended_and_never_answered(house: House) -> None:
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(turn: Turn) -> Reply:
        thinking.set()
        await go_on.wait()
        return Reply("Too late.")

    space = await house.workspace(slowly)
    id_ = await space.receive()
    await thinking.wait()

    await purged(space, Named((id_,)))
    go_on.set()

    row = await space.delivery(id_, "rejected")
    assert "removed by purge" in row.reason
    (turn,) = await space.rows(t.turns)
    assert turn.state == "failed"
    # The next one of the same writer is answered as usual: nothing hangs.
    fine = await space.receive(mail(to=space.address))
    await space.answer_to(fine)
    assert len(await space.outbound(t.outbound_mails.c.purpose == "reply")) == 1


async def test_a_mail_that_waits_to_be_sent_is_cancelled(house: House) -> None:
    space, bob = await house.workspace(), someone("bob")
    house.script["RCPT"] = "451 4.3.0 not now"
    waiting = await space.send(bob)

    async def tried() -> bool:
        (row,) = await space.rows(t.outbound_recipients)
        return bool(row.attempts) and (await space.outbound())[0].claimed_by is None

    await house.until(tried)
    await purged(space, Named(outbound_ids=(waiting,)))
    house.script.clear()
    await house.later(timedelta(hours=1))

    assert (await space.sent_off(waiting, "cancelled")).subject == ""
    assert house.taken(bob) == []


async def test_mail_that_comes_meanwhile_is_kept(house: House) -> None:
    space = await house.workspace()
    early = [await space.receive(mail(to=space.address)) for _ in range(5)]
    for one in early:
        await space.answer_to(one)

    running = asyncio.create_task(purged(space, Whole()))
    await asyncio.sleep(0)
    late = await space.receive(mail("Here is another.", to=space.address))
    await running

    await space.answer_to(late)
    (row,) = await space.rows(t.deliveries, t.deliveries.c.id == late)
    assert row.content_removed_at is None


async def test_an_agents_own_address_is_no_person(house: House) -> None:
    space = await house.workspace()
    with pytest.raises(Malformed, match="not theirs"):
        await purged(space, Person(space.address))
