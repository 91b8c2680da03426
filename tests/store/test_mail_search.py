"""A search finds the mails of one agent that hold every word, on both databases alike."""

from __future__ import annotations

from time import sleep

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text

from mailagent.errors import Malformed
from mailagent.flow.states import DeliveryState
from mailagent.store import mail_search
from mailagent.store.engine import Store
from mailagent.store.migrations import upgrade, upgrade_within
from mailagent.store.prepared import Session
from mailagent.store.tables import agents, deliveries, messages, raw_messages, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

_MAILS = {
    "refund": ("Refund for order A-1234", "Ann Müller", "ann@customer.example", "Where is it?"),
    "hours": ("Opening hours", "Bob", "bob@customer.example", "Are you open on Saturday?"),
    "resume": ("Résumé", "Chloé Refund", "chloe@other.example", "My CV is attached."),
    "japanese": ("返品について", "田中", "tanaka@customer.example", "十四日以内に返品できますか"),
}


class Inbox:
    """One agent with some mails in a workspace of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.workspace_id, self.agent_id = new_id("wsp"), new_id("agt")
        store.write_now(None, self._furnish)

    def _furnish(self, tx: Transaction) -> None:
        id_, now = self.workspace_id, tx.now
        tx.insert(
            workspaces, {"id": id_, "slug": id_, "name": id_, "settings": {}, "created_at": now}
        )
        tx.of(id_).insert(agents, agent_row(self.agent_id, now))

    def receive(self, name: str, *, of: str | None = None) -> None:
        """A mail that was read: of this inbox's agent, or of the agent `of`."""
        self.store.write_now(self.workspace_id, self._receive, name, of or self.agent_id)

    def _receive(self, tx: Transaction, name: str, agent_id: str) -> None:
        message_ref = f"msg_{name}_{new_id('x')}"[:48]
        write_message(tx, message_ref, agent_id, *_MAILS[name])
        mail_search.add(tx, message_ref, agent_id, *_MAILS[name])

    def found(self, query: str, **window: int) -> list[str]:
        """The names of the mails found, newest first."""
        given = {"limit": 10, **window}
        rows = self.store.read_now(
            self.workspace_id, mail_search.matching, self.agent_id, query, **given
        )
        return [row.message_ref.split("_")[1] for row in rows]


def agent_row(agent_id: str, now: object) -> dict[str, object]:
    return {
        "id": agent_id,
        "handle": "hello",
        "name": "Hello",
        "processor": "",
        "instructions": "",
        "email_enabled": True,
        "settings": {},
        "created_at": now,
    }


def write_message(tx: Transaction, message_ref: str, agent_id: str, *texts: str) -> None:
    """The rows of a mail that was read."""
    subject, name, address, written = texts
    raw_id, delivery_id = new_id("raw"), new_id("dlv")
    raw = {"id": raw_id, "sha256": "", "size_bytes": 0, "received_at": tx.now, "content": b""}
    tx.insert(raw_messages, raw)
    tx.insert(
        deliveries,
        {
            "id": delivery_id,
            "raw_id": raw_id,
            "source": "smtp",
            "source_id": delivery_id,
            "recipient": "hello@shop.example",
            "origin": {},
            "place": "agent",
            "agent_id": agent_id,
            "received_at": tx.now,
            "state": DeliveryState.ANSWERED,
            "not_before": tx.now,
        },
    )
    tx.insert(
        messages,
        {
            "id": message_ref,
            "delivery_id": delivery_id,
            "agent_id": agent_id,
            "recipient": "hello@shop.example",
            "content_sha256": "",
            "from_address": address,
            "from_name": name,
            "subject": subject,
            "written": written,
            "kind": "person",
            "why_kind": "",
            "content": {},
            "authentication": {},
            "at": tx.now,
        },
    )


@pytest.fixture
def inbox(shared_store: Store) -> Inbox:
    """An inbox with the mails of `_MAILS`, in that order."""
    made = Inbox(shared_store)
    for name in _MAILS:
        made.receive(name)
    return made


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("refund", ["resume", "refund"]),
        ("REFUND order", ["refund"]),
        ("refund saturday", []),
        ("muller", ["refund"]),
        ("Müller", ["refund"]),
        ("resume", ["resume"]),
        ("ann@customer.example", ["refund"]),
        ("customer", ["japanese", "hours", "refund"]),
        ("A-1234", ["refund"]),
        ("satur", []),
        ("satur*", ["hours"]),
        ("返品", ["japanese"]),
        ("以内に返品", ["japanese"]),
        ("田中", ["japanese"]),
        ("日本", []),
    ],
)
def test_every_word_must_stand_in_subject_sender_or_text(
    inbox: Inbox, query: str, names: list[str]
) -> None:
    assert inbox.found(query) == names


@pytest.mark.parametrize("query", ["", "  ", "* - _", "…", "!!"])
def test_a_query_without_a_word_is_malformed(inbox: Inbox, query: str) -> None:
    with pytest.raises(Malformed, match="search"):
        inbox.found(query)


@pytest.mark.parametrize(
    "query", ['"', "refund OR hours", "NEAR(refund)", "refund & !hours", "words:refund", "a'b \\"]
)
def test_what_a_database_would_take_for_an_operator_is_a_word_or_nothing(
    inbox: Inbox, query: str
) -> None:
    try:
        found = inbox.found(query)
    except Malformed:
        found = []
    assert set(found) <= {"refund", "resume"}


@given(st.text(min_size=1, max_size=60))
def test_no_query_is_more_than_a_database_can_read(query: str) -> None:
    words = mail_search.words_of(query).split(" ")
    assert all(len(word) <= 40 and not set(word) & set("'\"\\:*&|!() _") for word in words)


def test_an_agent_finds_its_own_mails_alone(inbox: Inbox, shared_store: Store) -> None:
    other = Inbox(shared_store)
    other.receive("refund")
    inbox.receive("refund", of="agt_somebody")

    assert inbox.found("refund") == ["resume", "refund"]
    assert other.found("refund") == ["refund"]
    # Its id is a word of its mails, but none that can be asked for.
    assert inbox.found(other.agent_id.replace("agt_", "agt*")) == []
    elsewhere = shared_store.read_now(
        other.workspace_id, mail_search.matching, inbox.agent_id, "refund", limit=9
    )
    assert list(elsewhere) == []


def test_pages_follow_each_other(inbox: Inbox, shared_store: Store) -> None:
    (first,) = shared_store.read_now(
        inbox.workspace_id, mail_search.matching, inbox.agent_id, "refund", limit=1
    )
    assert first.message_ref.startswith("msg_resume")
    assert inbox.found("refund", before=first.id) == ["refund"]


def test_a_removed_message_is_found_no_more_and_leaves_no_word(inbox: Inbox) -> None:
    gone = messages.c.from_name == "Bob"
    inbox.store.write_now(
        inbox.workspace_id, lambda tx: tx.execute(delete(messages).where(gone)).rowcount
    )

    assert inbox.found("saturday") == []
    assert inbox.found("customer") == ["japanese", "refund"]
    if inbox.store.on_sqlite:
        # Raises when the index holds a word whose row is gone.
        check = "INSERT INTO message_words_index(message_words_index) VALUES ('integrity-check')"
        inbox.store.write_now(None, lambda tx: tx.execute(text(check)).rowcount)


def test_mails_of_before_are_found_after_the_upgrade(empty_database_url: str) -> None:
    store = Store(empty_database_url)
    with store.engine.connect() as connection:
        upgrade_within(connection, "0003")
        connection.commit()
    now = store.now()
    with store.engine.begin() as connection:
        row = {"id": "w", "slug": "w", "name": "w", "settings": {}, "created_at": now}
        connection.execute(insert(workspaces), row)
        tx = Transaction(Session(connection), "w", now)
        tx.insert(agents, agent_row("agt_1", now))
        write_message(tx, "msg_old", "agt_1", *_MAILS["refund"])

    upgrade(empty_database_url)

    (found,) = store.read_now("w", mail_search.matching, "agt_1", "order muller", limit=5)
    assert found.message_ref == "msg_old"
    store.close()


def test_a_word_of_every_second_mail_is_found_among_the_newest_however_often_it_is_asked_for(
    postgres_url: str,
) -> None:
    store = Store(postgres_url)
    # Every second mail is in one inbox, the others in a hundred; each has a hundred words.
    fill = """
        INSERT INTO message_words (workspace_id, agent_id, message_ref, words)
        SELECT 'w', 'agt_' || n % 2 * n % 200, 'msg_' || n, CAST(
            'w' || n / 2 % 2 || (
                SELECT string_agg(' f' || i || 'x' || n % 200, '') FROM generate_series(1, 100) i
            ) AS tsvector)
        FROM generate_series(1, 20000) n
    """
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # the words alone, no mails
        connection.execute(fill.encode())
        connection.execute("VACUUM ANALYZE message_words")

    def asked(tx: Transaction) -> list[int]:
        return [len(mail_search.matching(tx, "agt_0", "w1", limit=50)) for _ in range(30)]

    assert store.read_now("w", asked) == [50] * 30
    store.close()

    others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
    read = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'message_words'"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        # A session tells what it read when it ends.
        while connection.execute(others, (connection.info.backend_pid,)).fetchone() is not None:
            sleep(0.01)
        row = connection.execute(read).fetchone()
    assert row is not None
    assert 30 * 50 <= row[0] < 30 * 1_000  # of ten thousand in that inbox
