"""What was acknowledged before a backup began is there after a restore, on either database, and
nothing that may have been sent since is sent by it.
"""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from backend.inboxes import handling
from backend.operation.backup import back_up, whole_file
from backend.operation.backup_file import Header
from backend.operation.restore import Restored, Wish, restore
from backend.outbound import deciding
from mailagent.agents import Turn
from mailagent.errors import Conflict
from mailagent.outgoing import Reply
from mailagent.store import mail_search
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets
from tests.databases import PostgresDatabases, SqliteDatabases
from tests.flow.house import DOMAIN, House, Space, keep_house, mail, polite

SECRETS = Secrets(["test-key-" * 5])  # the house's


@pytest.fixture(params=["sqlite", "postgresql"])
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An empty database to restore into; the test runs once on each kind."""
    if request.param == "sqlite":
        sqlite: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        yield sqlite.create_empty(tmp_path)
    else:
        postgres: PostgresDatabases = request.getfixturevalue("postgres_databases")
        with postgres.create_empty() as url:
            yield url


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Where a test's backup is."""
    return tmp_path / "today.backup"


def back_up_to(path: Path, url: str) -> Header:
    store = Store(url)
    try:
        with whole_file(path) as file:
            return back_up(store, SECRETS, file, default_domain=DOMAIN)
    finally:
        store.close()


async def backed_up(path: Path, house: House) -> Header:
    """A backup beside a running system, as the command makes it."""
    url = house.store.engine.url.render_as_string(hide_password=False)
    return await asyncio.to_thread(back_up_to, path, url)


async def restored(path: Path, url: str, **wish: bool) -> Restored:
    def work() -> Restored:
        with path.open("rb") as file:
            return restore(url, file, SECRETS, Wish(DOMAIN, **wish), now=datetime.now(UTC))

    return await asyncio.to_thread(work)


@asynccontextmanager
async def moved_in(url: str, before: Space) -> AsyncIterator[Space]:
    """The restored installation, running, with the same workspace."""
    async with keep_house(url) as house:
        house._agents.minds[before.domain] = polite
        await house.services.directory.refresh()
        yield Space(house, before.id, before.slug, before.agent_id)


async def test_a_backup_under_load_holds_all_that_was_acknowledged_before_it(
    database_url: str, target_url: str, backup: Path
) -> None:
    raws: dict[str, bytes] = {}
    async with keep_house(database_url) as house:
        space = await house.workspace()
        first = mail(to=space.address, subject="Zebra crossing", body="é € 𝄞 \x7f")
        asked = await space.receive(first)
        answer = await space.answer_to(asked)
        raws[asked] = first
        going = True

        async def load() -> None:
            while going:
                raw = mail(to=space.address, body="x" * 5_000)
                raws[await space.receive(raw)] = raw

        writers = [asyncio.create_task(load()) for _ in range(3)]
        await house.until(lambda: _more_than(raws, 30))
        acknowledged = dict(raws)
        header = await backed_up(backup, house)
        assert await house.until(lambda: _more_than(raws, len(acknowledged)))
        going = False
        await asyncio.gather(*writers)

    done = await restored(backup, target_url)
    assert done.header == header
    assert not done.migrated
    async with moved_in(target_url, space) as again:
        kept = {
            row.id: row.content
            for row in await house_rows(again, t.deliveries.join(t.raw_messages))
        }
        assert {id_: kept.get(id_) for id_ in acknowledged} == acknowledged
        assert await counts(again) >= {("agents", 1), ("workspaces", 1), ("people", 1)}
        found = await again.house.store.read(
            again.id, mail_search.matching, again.agent_id, "zebra", limit=5
        )
        assert len(found) == 1
        # A person answers the answer that the lost machine sent: the same thread goes on.
        reply = mail(
            to=answer.outgoing["reply_to"][0]["address"],
            headers={"In-Reply-To": answer.message_id},
        )
        follow = await again.receive(reply)
        assert (await again.answer_to(follow)).thread_id == answer.thread_id
        stored = await again.rows(t.deliveries, t.deliveries.c.id == asked)
        assert stored[0].state == "answered"


async def _more_than(raws: dict[str, bytes], number: int) -> bool:
    return len(raws) > number


async def house_rows(space: Space, joined: Any) -> Any:
    statement = select(t.deliveries.c.id, t.raw_messages.c.content).select_from(joined)
    return await space.house.store.read_unscoped(lambda tx: tx.rows(statement))


async def counts(space: Space) -> set[tuple[str, int]]:
    def count(tx: Any) -> set[tuple[str, int]]:
        return {
            (name, tx.value(select(func.count()).select_from(table)))
            for name, table in t.metadata.tables.items()
        }

    found: set[tuple[str, int]] = await space.house.store.read_unscoped(count)
    return found


async def test_what_was_under_way_waits_for_a_person_and_goes_on_when_told(
    database_url: str, sqlite_databases: SqliteDatabases, tmp_path: Path, backup: Path
) -> None:
    let_go = asyncio.Event()

    async def slow(turn: Turn) -> Reply:
        if "slow" in turn.mails[-1].content.subject:
            await let_go.wait()
        return polite(turn)

    async with keep_house(database_url) as house:
        space = await house.workspace(slow)
        house.script["RCPT"] = "451 4.3.0 not now"
        waiting = await space.receive()
        await space.delivery(waiting, "answered")
        thinking = await space.receive(mail(to=space.address, subject="slow"))
        await house.until(lambda: _is(space, thinking, "thinking"))
        await backed_up(backup, house)
        let_go.set()
        await space.delivery(thinking, "answered")

    target = sqlite_databases.create(tmp_path)
    done = await restored(backup, target)
    assert (done.aftermath.unknown, done.aftermath.held) == (1, 1)
    async with moved_in(target, space) as again:
        (held,) = await again.rows(t.deliveries, t.deliveries.c.id == thinking)
        assert held.state == "held"
        assert held.reason.startswith("restored from a backup of 20")
        assert held.reason.endswith("UTC: it may have been answered since")
        (reply,) = await again.outbound()
        assert reply.state == "unknown"
        # The rest of the house works: only these two rest.
        await again.answered()
        assert len(again.house.sink.taken) == 1

        await again.write(lambda tx: handling.replay(tx, thinking, actor="cli"))
        await again.answer_to(thinking)
        await again.write(
            lambda tx: deciding.send_again(tx, reply.id, actor="cli", expiry=timedelta(hours=1))
        )
        await again.sent_off(reply.id, "sent")
        assert len(again.house.sink.taken) == 3
        assert "restore: held" in await again.story(thinking)


async def _is(space: Space, delivery_id: str, state: str) -> bool:
    (row,) = await space.rows(t.deliveries, t.deliveries.c.id == delivery_id)
    return bool(row.state == state)


async def test_where_nothing_ran_since_the_work_goes_on_and_what_was_being_sent_stays_unknown(
    sqlite_url: str, postgres_url: str, backup: Path
) -> None:
    async with keep_house(sqlite_url) as house:
        space = await house.workspace()
        house.script["RCPT"] = "451 4.3.0 not now"
        queued = await space.receive()
        await space.delivery(queued, "answered")
        sending = await space.send("bob@customer.example")
        await house.until(lambda: _tried(space, sending))
        await space.write(
            lambda tx: tx.execute(
                update(t.outbound_recipients)
                .where(t.outbound_recipients.c.outbound_id == sending)
                .values(state="sending")
            )
        )
        await backed_up(backup, house)

    done = await restored(backup, postgres_url, send_queued=True)
    assert (done.aftermath.unknown, done.aftermath.held) == (1, 0)
    async with moved_in(postgres_url, space) as again:
        await again.house.later(timedelta(minutes=5))
        await again.answer_to(queued)
        (cut_off,) = await again.outbound(t.outbound_mails.c.id == sending)
        assert cut_off.state == "unknown"
        assert len(again.house.sink.taken) == 1


async def _tried(space: Space, outbound_id: str) -> bool:
    recipients = await space.recipients(outbound_id)
    return any(one.attempts for one in recipients.values())


async def test_a_database_that_somebody_works_on_is_left_alone(
    database_url: str, sqlite_url: str, backup: Path
) -> None:
    await asyncio.to_thread(back_up_to, backup, sqlite_url)
    busy = Store(database_url)
    await busy.read_unscoped(lambda tx: tx.rows(select(t.workspaces)))
    try:
        with pytest.raises(Conflict, match="in use: stop every mailagent"):
            await restored(backup, database_url, replace=True)
    finally:
        busy.close()
    assert (await restored(backup, database_url, replace=True)).header.rows_of("workspaces") == 0


async def test_a_session_that_is_just_ending_is_waited_for(
    postgres_url: str, sqlite_url: str, backup: Path
) -> None:
    await asyncio.to_thread(back_up_to, backup, sqlite_url)
    busy = Store(postgres_url)
    await busy.read_unscoped(lambda tx: tx.rows(select(t.workspaces)))
    asyncio.get_running_loop().call_later(0.1, busy.close)
    assert (await restored(backup, postgres_url, replace=True)).header.rows_of("workspaces") == 0


def test_a_large_mail_is_the_most_that_a_backup_keeps_in_memory(
    database_url: str, backup: Path
) -> None:
    size, many = 4_000_000, 8
    store = Store(database_url)
    moment = store.now()
    workspace = {"id": "w", "slug": "w", "name": "w", "settings": {}, "created_at": moment}
    store.write_now(None, lambda tx: tx.insert(t.workspaces, workspace))
    for number in range(many):
        content = hashlib.sha256(str(number).encode()).digest() * (size // 32)
        row = {
            "id": f"raw_{number}",
            "sha256": "",
            "size_bytes": size,
            "received_at": moment,
            "content": content,
        }
        store.write_now("w", Transaction.insert, t.raw_messages, row)
    store.close()
    del content, row
    tracemalloc.start()
    back_up_to(backup, database_url)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4.5 * size
