"""What is said yes to is durable, and one bad mail costs no other mail its yes."""

from __future__ import annotations

import asyncio
import hashlib
import select
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy import select as selecting

from mailagent.inbound import Accepted, Duplicate, Later, Outcome, Replayed, Unrouted
from mailagent.store.engine import Store
from mailagent.store.group_commit import Destination, Waiting
from mailagent.store.postgres_commit import PostgresCommit
from mailagent.store.sqlite_commit import SqliteCommit
from mailagent.store.tables import (
    deliveries,
    outbound_mails,
    outbound_recipients,
    raw_messages,
    workspaces,
)
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

_AT = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)


@pytest.fixture
def spaces(shared_store: Store) -> tuple[str, str]:
    """Two workspaces of this test's own."""
    return _space(shared_store), _space(shared_store)


class Group:
    """The committer under test, of either database."""

    def __init__(self, url: str) -> None:
        on_sqlite = url.startswith("sqlite")
        self._of = SqliteCommit(url, busy_seconds=0.05) if on_sqlite else PostgresCommit(url)

    async def commit(self, mails: Sequence[Waiting]) -> list[Outcome]:
        if isinstance(self._of, SqliteCommit):
            return self._of.commit(mails)
        return await self._of.commit(mails)

    def close(self) -> None:
        self._of.close()


@pytest.fixture
def group(shared_url: str) -> Iterator[Group]:
    with closing(Group(shared_url)) as group:
        yield group


def to(recipient: str, workspace_id: str | None, **more: Any) -> Destination:
    return Destination(recipient, "{}", "agent", workspace_id, **more)


def mail(*destinations: Destination, **changes: Any) -> Waiting:
    given: dict[str, Any] = {
        "raw": b"Subject: hi\r\n\r\nhello \xff\x00\r\n",
        "source": "ses",
        "source_id": new_id("src"),
        "mail_from": "ann@x.example",
        "received_at": _AT,
        "destinations": destinations,
        "may_repeat": True,
    }
    return Waiting(**{**given, **changes})


def kept(store: Store, workspace_id: str) -> list[Any]:
    """Recipient, state, digest and octets of each delivery of a workspace."""
    statement = (
        selecting(
            deliveries.c.recipient,
            deliveries.c.state,
            raw_messages.c.sha256,
            raw_messages.c.content,
            deliveries.c.received_at,
        )
        .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
        .order_by(deliveries.c.recipient)
    )
    return store.read_now(workspace_id, lambda tx: list(tx.rows(statement)))


def raw_ids(tx: Transaction) -> list[str]:
    return [row.id for row in tx.rows(selecting(raw_messages.c.id))]


@pytest.fixture
def slow_url(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of a database whose server reads a few octets at a time, as a busy one does."""
    server = make_url(postgres_url)
    name = ".s.PGSQL.5432"
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / name))
        listening.listen()
        threading.Thread(
            target=_pass_on_slowly, args=(listening, f"{server.query['host']}/{name}"), daemon=True
        ).start()
        yield server.set(query={"host": str(tmp_path)}).render_as_string(hide_password=False)


def _pass_on_slowly(listening: socket.socket, path: str) -> None:
    client, _ = listening.accept()
    with client, closing(socket.socket(socket.AF_UNIX)) as server:
        server.connect(path)
        while True:
            for ready in select.select([client, server], [], [])[0]:
                octets = ready.recv(8_192)
                if not octets:
                    return
                (server if ready is client else client).sendall(octets)
                time.sleep(0.001)


@pytest.mark.timeout(30)
async def test_a_large_mail_is_kept_by_a_server_that_is_slow_to_read_it(
    postgres_url: str, slow_url: str
) -> None:
    with closing(Store(postgres_url)) as store, closing(PostgresCommit(slow_url)) as group:
        workspace_id = _space(store)
        large = mail(to("a@shop.example", workspace_id), raw=b"x" * 3_000_000)
        (outcome,) = await group.commit([large])
        assert isinstance(outcome, Accepted)
        assert [row.content for row in kept(store, workspace_id)] == [large.raw]


async def test_an_accepted_mail_is_kept_to_the_octet(
    group: Group, shared_store: Store, spaces: tuple[str, str]
) -> None:
    given = mail(to("a@x", spaces[0]), may_repeat=False)
    (outcome,) = await group.commit([given])
    assert isinstance(outcome, Accepted)
    (row,) = kept(shared_store, spaces[0])
    digest = hashlib.sha256(given.raw).hexdigest()
    assert tuple(row) == ("a@x", "accepted", digest, given.raw, _AT)


async def test_a_mail_for_two_workspaces_is_kept_once_in_each(
    group: Group, shared_store: Store, spaces: tuple[str, str]
) -> None:
    given = mail(to("a@x", spaces[0]), to("b@x", spaces[0]), to("c@y", spaces[1]))
    (outcome,) = await group.commit([given])
    assert isinstance(outcome, Accepted)
    assert len(outcome.delivery_ids) == 3
    count = selecting(raw_messages.c.id)
    assert [shared_store.read_now(one, lambda tx: len(tx.rows(count))) for one in spaces] == [1, 1]


async def test_the_same_mail_again_is_a_duplicate_with_the_same_ids(
    group: Group, shared_store: Store, spaces: tuple[str, str]
) -> None:
    given = mail(to("a@x", spaces[0]), to("b@x", spaces[0]))
    (first,) = await group.commit([given])
    (second,) = await group.commit([given])
    assert isinstance(first, Accepted)
    assert second == Duplicate(first.delivery_ids)
    assert len(kept(shared_store, spaces[0])) == 2


async def test_the_same_mail_twice_in_one_batch_is_one_mail_and_a_duplicate(
    group: Group, shared_store: Store, spaces: tuple[str, str]
) -> None:
    given = mail(to("a@x", spaces[0]))
    first, second = await group.commit([given, given])
    assert isinstance(first, Accepted)
    assert second == Duplicate(first.delivery_ids)


async def test_a_recipient_that_is_new_to_a_known_mail_gets_it(
    group: Group, shared_store: Store, spaces: tuple[str, str]
) -> None:
    given = mail(to("a@x", spaces[0]))
    (first,) = await group.commit([given])
    assert isinstance(first, Accepted)
    wider = mail(to("a@x", spaces[0]), to("b@x", spaces[0]), source_id=given.source_id)
    (second,) = await group.commit([wider])
    assert isinstance(second, Accepted)
    assert second.delivery_ids[0] == first.delivery_ids[0]
    assert [row.recipient for row in kept(shared_store, spaces[0])] == ["a@x", "b@x"]


async def test_another_source_may_use_the_same_id(group: Group, spaces: tuple[str, str]) -> None:
    given = mail(to("a@x", spaces[0]))
    other = mail(to("a@x", spaces[0]), source="postmark", source_id=given.source_id)
    assert [type(one) for one in await group.commit([given, other])] == [Accepted, Accepted]


@pytest.mark.parametrize(
    "changes",
    [
        {"source": None},
        {"mail_from": "\ud800@x.example"},
        {"source_id": None},
    ],
    ids=["a value is missing", "an unpaired surrogate", "no id"],
)
@pytest.mark.parametrize("may_repeat", [False, True])
async def test_a_bad_mail_costs_its_neighbours_nothing(
    group: Group,
    shared_store: Store,
    spaces: tuple[str, str],
    changes: dict[str, Any],
    may_repeat: bool,
) -> None:
    good, last = (mail(to(f"{one}@x", spaces[0]), may_repeat=may_repeat) for one in "ac")
    bad = mail(to("b@x", spaces[0]), may_repeat=may_repeat, **changes)
    outcomes = await group.commit([good, bad, last])
    assert [type(one) for one in outcomes] == [Accepted, Later, Accepted]
    assert [row.recipient for row in kept(shared_store, spaces[0])] == ["a@x", "c@x"]
    assert len(shared_store.read_now(spaces[0], raw_ids)) == 2
    # The committer's connection is not left inside a transaction: others may write.
    assert shared_store.write_now(None, lambda tx: tx.value(text("SELECT 1"))) == 1


async def test_a_return_address_leads_to_the_workspace_of_its_mail(
    group: Group, shared_store: Store, spaces: tuple[str, str]
) -> None:
    recipient_id = _sent(shared_store, spaces[1])
    bounce = mail(
        Destination("b.t@return", "{}", "return", None, outbound_recipient_id=recipient_id),
        mail_from=None,
    )
    (outcome,) = await group.commit([bounce])
    assert isinstance(outcome, Accepted)
    assert [row.recipient for row in kept(shared_store, spaces[1])] == ["b.t@return"]


@pytest.mark.parametrize("recipient_id", [None, "rcp_unknown"])
async def test_a_return_address_of_no_mail_leads_nowhere(
    group: Group, recipient_id: str | None
) -> None:
    lost = Destination("b.t@return", "{}", "return", None, outbound_recipient_id=recipient_id)
    assert await group.commit([mail(lost)]) == [Unrouted(("b.t@return",))]


def test_a_full_disk_is_later_until_there_is_room(sqlite_url: str) -> None:
    store, group = Store(sqlite_url), SqliteCommit(sqlite_url)
    workspace_id = _space(store)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as file:
        (pages,) = file.execute("PRAGMA page_count").fetchone()
    large = mail(to("a@x", workspace_id), raw=b"x" * 1_000_000)
    assert group.commit([]) == []
    assert group._connection is not None
    group._connection.execute(f"PRAGMA max_page_count={pages}")
    assert [type(one) for one in group.commit([large])] == [Later]
    assert kept(store, workspace_id) == []
    # The connection was dropped with the fault; a new one has all the room of the disk.
    assert [type(one) for one in group.commit([large])] == [Accepted]
    group.close()
    store.close()


def test_a_lock_held_by_another_process_is_later(sqlite_url: str) -> None:
    store, group = Store(sqlite_url), SqliteCommit(sqlite_url, busy_seconds=0.05)
    given = mail(to("a@x", _space(store)))
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert [type(one) for one in group.commit([given])] == [Later]
        other.execute("ROLLBACK")
    assert [type(one) for one in group.commit([given])] == [Accepted]
    group.close()
    store.close()


async def test_a_server_that_ends_our_session_is_later_and_then_well(
    module_postgres_url: str, postgres_url: str
) -> None:
    store, group = Store(postgres_url), PostgresCommit(postgres_url)
    workspace_id = _space(store)
    assert isinstance((await group.commit([mail(to("a@x", workspace_id))]))[0], Accepted)
    _end_sessions(module_postgres_url, postgres_url)
    given = mail(to("b@x", workspace_id))
    assert [type(one) for one in await group.commit([given, given])] == [Later, Later]
    assert isinstance((await group.commit([given]))[0], Accepted)
    assert [row.recipient for row in kept(store, workspace_id)] == ["a@x", "b@x"]
    group.close()
    store.close()


@pytest.mark.parametrize("together", [1, 3])
async def test_what_fails_at_the_commit_itself_is_later_and_not_kept(
    postgres_url: str, together: int
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'not at the insert, at the commit'; END $$"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON deliveries "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    with closing(Store(postgres_url)) as store, closing(PostgresCommit(postgres_url)) as group:
        workspace_id = _space(store)
        given = [mail(to("a@x", workspace_id), may_repeat=False) for _ in range(together)]
        assert [type(one) for one in await group.commit(given)] == [Later] * together
        assert store.read_now(workspace_id, raw_ids) == []
        assert kept(store, workspace_id) == []


async def test_a_text_that_would_end_early_on_its_way_is_not_cut_but_refused(
    postgres_url: str,
) -> None:
    with closing(Store(postgres_url)) as store, closing(PostgresCommit(postgres_url)) as group:
        workspace_id = _space(store)
        cut = mail(to("a@x", workspace_id), mail_from="ann@x.example\0.evil.example")
        outcomes = await group.commit([cut, mail(to("b@x", workspace_id))])
        assert [type(one) for one in outcomes] == [Later, Accepted]
        assert [row.recipient for row in kept(store, workspace_id)] == ["b@x"]


async def test_a_commit_that_is_given_up_leaves_the_next_one_well(postgres_url: str) -> None:
    with (
        closing(Store(postgres_url)) as store,
        closing(PostgresCommit(postgres_url)) as group,
        psycopg.connect(postgres_url) as other,
    ):
        workspace_id = _space(store)
        assert isinstance((await group.commit([mail(to("a@x", workspace_id))]))[0], Accepted)
        other.execute("LOCK TABLE deliveries")
        given_up = asyncio.create_task(group.commit([mail(to("b@x", workspace_id))]))
        await asyncio.sleep(0.1)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        other.rollback()
        assert isinstance((await group.commit([mail(to("c@x", workspace_id))]))[0], Accepted)
        assert [row.recipient for row in kept(store, workspace_id)] == ["a@x", "c@x"]


async def test_an_address_where_no_database_is_says_later() -> None:
    group = PostgresCommit("postgresql://nobody@127.0.0.1:1/none")
    assert [type(one) for one in await group.commit([mail(to("a@x", "wsp"))])] == [Later]
    group.close()


def _end_sessions(from_url: str, of_url: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(of_url)["dbname"]
    with psycopg.connect(from_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )


def _space(store: Store) -> str:
    id_ = new_id("wsp")
    row = {"id": id_, "slug": id_, "name": id_, "settings": {}, "created_at": _AT}
    store.write_now(None, lambda tx: tx.insert(workspaces, row))
    return id_


def _sent(store: Store, workspace_id: str) -> str:
    outbound_id, recipient_id = new_id("out"), new_id("rcp")
    sent = {
        "id": outbound_id,
        "purpose": "new",
        "message_id": f"<{outbound_id}@x>",
        "subject": "s",
        "from_address": "a@x",
        "outgoing": {},
        "digest": "0",
        "state": "sent",
        "author": "test",
        "created_at": _AT,
        "expires_at": _AT,
        "not_before": _AT,
    }
    recipient = {
        "id": recipient_id,
        "outbound_id": outbound_id,
        "address": "b@y",
        "field": "to",
        "state": "sent",
        "not_before": _AT,
    }

    def write(tx: Transaction) -> None:
        tx.insert(outbound_mails, sent)
        tx.insert(outbound_recipients, recipient)

    store.write_now(workspace_id, write)
    return recipient_id


async def test_a_single_use_token_is_good_for_one_content(
    group: Group, spaces: tuple[str, str]
) -> None:
    token = new_id("tok")
    given = mail(to("a@x", spaces[0]), replay_token=token)
    (kept,) = await group.commit([given])
    (again,) = await group.commit([given])
    (copied,) = await group.commit([mail(to("a@x", spaces[0]), raw=b"other", replay_token=token)])
    assert isinstance(kept, Accepted)
    assert again == Duplicate(kept.delivery_ids)
    assert copied == Replayed()
