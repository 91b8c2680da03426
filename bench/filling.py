"""How does a database come to hold a million mails, each with all the rows that a real one has?

A few mails go through the real system; their rows, with new ids, times, senders and words, are
written in bulk. What is open (mail to read, threads to think about) stays the same at every size.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import smtplib
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Table, create_engine, func, select

from bench.node import AGENT, QUESTION, Node, furnish
from mailagent.flow.states import FINAL
from mailagent.store import tables as t
from mailagent.store.engine import driver_url
from mailagent.store.mail_search import words_of
from mailagent.store.migrations import upgrade
from mailagent.store.types import microseconds
from mailagent.tokens import new_id, new_reply_key

__all__ = ["OPEN", "House", "Story", "fill", "furnished", "stories"]

OPEN = 100
"""Mails to read, and threads to think about, at every size."""

_BODY, _SUBJECT, _SENDER = "qqbodyqq", "qqsubjectqq", "qqsenderqq"
_BATCH = 5_000
_YEAR = timedelta(days=365)
NEVER = datetime.max.replace(tzinfo=UTC)
_ID = re.compile(
    r"[a-z]{2,5}_[0-9a-f]{32}(?![0-9a-f])|(?<![0-9a-f_])[0-9a-f]{32}(?![0-9a-f])"
    r"|captured-[0-9a-f]{12}"
)
_WAIT_SECONDS = 60
_MIX = ((0.70, QUESTION, ""), (0.24, QUESTION, "Auto-Submitted: auto-generated\r\n"),
        (0.05, QUESTION, "List-Id: <news.client.bench.test>\r\n"),
        (0.01, "Which colour has your house?", ""))  # fmt: skip
"""Share, question and further headers of each kind: answered, silent twice, handed to a person."""
_COPIED = (
    t.raw_messages, t.deliveries, t.threads, t.participants, t.anchors, t.messages,
    t.message_words, t.turns, t.turn_steps, t.outbound_mails, t.outbound_recipients, t.hand_overs,
    t.ledger,
)  # fmt: skip
_SERIAL = {"message_words", "ledger"}
_Batch = dict[str, list[Sequence[Any]]]
"""Table → rows, each with the values of `_columns`."""


@dataclass(frozen=True, slots=True)
class House:
    """Workspaces and their agents; the first agent gets every other mail."""

    agents: tuple[tuple[str, str], ...]
    """(workspace, agent) ids."""

    def of(self, number: int) -> tuple[str, str]:
        """Whose a mail is."""
        return self.agents[0 if number % 2 else 1 + (number // 2) % (len(self.agents) - 1)]


@dataclass(frozen=True, slots=True)
class Story:
    """The rows of one mail that went all its way, ready to be written again."""

    share: float
    at: datetime
    ids: frozenset[str]
    workspace_id: str
    agent_id: str
    rows: tuple[tuple[Table, tuple[tuple[str, Any], ...]], ...]


def mail(number: int, question: str, headers: str) -> bytes:
    """A mail of about 0.7 kB whose words are put in later."""
    return (
        f"From: {_SENDER}{number} <{_SENDER}{number}@client.bench.test>\r\nTo: {AGENT}\r\n"
        f"Subject: {_SUBJECT}\r\nMessage-ID: <{_SENDER}{number}@client.bench.test>\r\n{headers}"
        f"Date: Mon, 02 Mar 2026 09:00:00 +0000\r\n\r\n{question}\r\n\r\n{_BODY}\r\n"
    ).encode()


def stories(folder: Path) -> list[Story]:
    """Have one mail of each kind go through a running node on SQLite, and read what it left."""
    url = f"sqlite:///{folder / 'stories.db'}"
    upgrade(url)
    furnish(url)
    engine = create_engine(driver_url(url))
    with Node(folder, url) as node:
        for number, (_, question, headers) in enumerate(_MIX):
            with smtplib.SMTP("127.0.0.1", node.port, "client.bench.test") as client:
                sender = f"{_SENDER}{number}@client.bench.test"
                client.sendmail(sender, [AGENT], mail(number, question, headers))
        open_mails = select(func.count()).where(t.deliveries.c.state.not_in(FINAL))
        unsent = select(func.count()).where(t.outbound_mails.c.state == "queued")
        end = time.monotonic() + _WAIT_SECONDS
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while any(connection.execute(one).scalar_one() for one in (open_mails, unsent)):
                if time.monotonic() > end:
                    raise SystemExit("the mails that are copied did not end")
                time.sleep(0.1)
    with engine.connect() as connection:
        found = connection.execute(select(t.deliveries).order_by(t.deliveries.c.id)).all()
        made = [
            _story(connection, row, share) for row, (share, _, _) in zip(found, _MIX, strict=True)
        ]
    engine.dispose()
    return made


def _story(connection: Any, delivery: Any, share: float) -> Story:
    of = {
        "raw_messages": t.raw_messages.c.id == delivery.raw_id,
        "deliveries": t.deliveries.c.id == delivery.id,
        "messages": t.messages.c.delivery_id == delivery.id,
        "message_words": t.message_words.c.message_ref == delivery.message_ref,
        "threads": t.threads.c.id == delivery.thread_id,
        "turns": t.turns.c.thread_id == delivery.thread_id,
        "turn_steps": t.turn_steps.c.turn_id == delivery.turn_id,
        "participants": t.participants.c.thread_id == delivery.thread_id,
        "anchors": t.anchors.c.thread_id == delivery.thread_id,
        "outbound_mails": t.outbound_mails.c.answers_delivery_id == delivery.id,
    }
    sent = select(t.outbound_mails.c.id).where(of["outbound_mails"])
    of["outbound_recipients"] = t.outbound_recipients.c.outbound_id.in_(sent)
    of["hand_overs"] = t.hand_overs.c.outbound_id.in_(sent)
    of["ledger"] = (t.ledger.c.delivery_id == delivery.id) | t.ledger.c.outbound_id.in_(sent)
    rows = [
        (table, dict(row._mapping))
        for table in _COPIED
        for row in connection.execute(select(table).where(of[table.name]))
    ]
    ids = set(_ID.findall(json.dumps([list(row.values()) for _, row in rows], default=str)))
    return Story(
        share,
        delivery.received_at,
        frozenset(ids - {delivery.workspace_id, delivery.agent_id}),
        delivery.workspace_id,
        delivery.agent_id,
        tuple((table, tuple(row.items())) for table, row in rows),
    )


def furnished(url: str, *, workspaces: int = 30, agents_each: int = 3) -> House:
    """Migrate the database and put workspaces and agents into it."""
    upgrade(url)
    engine = create_engine(driver_url(url))
    now = datetime.now(UTC)
    pairs = [
        (workspace_id, new_id("agt"))
        for workspace_id in (new_id("wsp") for _ in range(workspaces))
        for _ in range(agents_each)
    ]
    with engine.begin() as connection:
        for number, workspace_id in enumerate(dict.fromkeys(pair[0] for pair in pairs)):
            named = {"slug": f"w{number}", "name": f"Workspace {number}", "settings": {}}
            row = {"id": workspace_id, **named, "created_at": now}
            connection.execute(t.workspaces.insert(), row)
        for number, (workspace_id, agent_id) in enumerate(pairs):
            row = {
                "id": agent_id, "workspace_id": workspace_id, "handle": f"a{number}",
                "name": "Agent", "processor": "builtin", "instructions": "",
                "email_enabled": True, "settings": {}, "created_at": now,
            }  # fmt: skip
            connection.execute(t.agents.insert(), row)
            at = {
                "id": new_id("adr"), "workspace_id": workspace_id, "agent_id": agent_id,
                "local_part": f"a{number}", "domain": "scale.test", "alias": False,
                "created_at": now,
            }  # fmt: skip
            connection.execute(t.addresses.insert(), at)
    engine.dispose()
    return House(tuple(pairs))


class _Vocabulary:
    """Words as a language has them: few are in every mail, most in hardly any."""

    def __init__(self, seed: int, size: int = 20_000) -> None:
        self._random = random.Random(seed)
        letters = "aeioubcdfglmnprst"
        self.words = [f"{''.join(self._random.choices(letters, k=5))}{n}" for n in range(size)]
        self._weights = list(itertools.accumulate(1 / (n + 5) for n in range(size)))

    def some(self, count: int) -> str:
        """So many words, with spaces between."""
        return " ".join(self._random.choices(self.words, cum_weights=self._weights, k=count))


VOCABULARY = _Vocabulary(1)


def fill(url: str, house: House, kinds: Sequence[Story], numbers: range, total: int) -> None:
    """Write the mails of these numbers, and after them what is open.

    The first of them was received a year ago and number `total` now.
    """
    on_sqlite = url.startswith("sqlite")
    writers = [_Writer(kind, on_sqlite=on_sqlite) for kind in kinds]
    weights = [kind.share for kind in kinds]
    chosen = random.Random(numbers.start)
    begin = datetime.now(UTC) - _YEAR
    with _bulk(url) as keep:
        for start in range(numbers.start, numbers.stop, _BATCH):
            batch: _Batch = {}
            for number in range(start, min(start + _BATCH, numbers.stop)):
                writer = chosen.choices(writers, weights)[0]
                writer.write(batch, house.of(number), number, begin + _YEAR * (number / total))
            keep(batch)


class _Writer:
    """Writes one story again and again."""

    def __init__(self, story: Story, *, on_sqlite: bool) -> None:
        self._on_sqlite = on_sqlite
        self._at = story.at
        self._names = {found: f"id{n}" for n, found in enumerate(sorted(story.ids))} | {
            story.workspace_id: "workspace",
            story.agent_id: "agent",
        }
        self._new = {
            name: _maker(found) for found, name in self._names.items() if name.startswith("id")
        }
        self._rows = [
            (table.name, [self._column(table, name, value) for name, value in row
                          if not (table.name in _SERIAL and name == "id")])
            for table, row in story.rows
        ]  # fmt: skip

    def write(
        self, batch: _Batch, whose: tuple[str, str], number: int,
        at: datetime,
    ) -> None:  # fmt: skip
        """Add the rows of one mail to a batch."""
        body, subject, sender = VOCABULARY.some(40), VOCABULARY.some(5), f"sender{number % 5000}"
        values = {name: make() for name, make in self._new.items()}
        values |= {
            "workspace": whose[0],
            "agent": whose[1],
            "body": body,
            "subject": subject,
            "sender": sender,
            "number": str(number),
            "reply_key": new_reply_key(),
            "words": f"{whose[1]} {words_of(subject, sender, QUESTION, body)}",
        }
        moved = at - self._at
        for table, columns in self._rows:
            batch.setdefault(table, []).append([make(values, moved) for make in columns])

    def _column(
        self, table: Table, name: str, value: Any
    ) -> Callable[[dict[str, Any], timedelta], Any]:
        if table.name == "threads" and name == "reply_key":
            return lambda values, _: values["reply_key"]
        if table.name == "message_words" and name == "words":
            return lambda values, _: values["words"]
        if name == "source_id":
            return lambda _values, _moved: uuid.uuid4().hex
        match value:
            case datetime() if self._on_sqlite:
                return lambda _, moved: microseconds(value + moved)
            case datetime():
                return lambda _, moved: value + moved
            case bytes():
                pattern = self._pattern(value.decode())
                return lambda values, _: (pattern % values).encode()
            case dict() | list():
                pattern = self._pattern(json.dumps(value))
                return lambda values, _: pattern % values
            case str():
                pattern = self._pattern(value)
                return (lambda values, _: pattern % values) if "%" in pattern else _same(value)
            case bool() if self._on_sqlite:
                return _same(int(value))
            case _ if value is not None and not isinstance(value, int | bool):
                return _same(str(value))
        return _same(value)

    def _pattern(self, text: str) -> str:
        text = text.replace("%", "%%")
        for found, name in self._names.items():
            text = text.replace(found, f"%({name})s")
        text = text.replace(_BODY, "%(body)s").replace(_SUBJECT, "%(subject)s")
        # A Message-ID and an address of its own each; the sender comes back a few hundred times.
        text = re.sub(rf"<{_SENDER}\d@", "<m%(number)s@", text)
        return re.sub(rf"{_SENDER}\d", "%(sender)s", text)


def _maker(found: str) -> Callable[[], str]:
    """What makes ids like this one."""
    kind, mark, _ = found.partition("_")
    if mark:
        return lambda: new_id(kind)
    if found.startswith("captured-"):
        return lambda: f"captured-{uuid.uuid4().hex[:16]}"
    return lambda: new_id("x")[2:]


def _same(value: Any) -> Callable[[dict[str, Any], timedelta], Any]:
    return lambda _values, _moved: value


def _columns(table: Table) -> list[str]:
    return [one.name for one in table.c if not (table.name in _SERIAL and one.name == "id")]


@contextmanager
def _bulk(url: str) -> Iterator[Callable[[_Batch], None]]:
    """Keeps batches of rows as quickly as the database takes them; at the end as in daily use."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as file:
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF"):
                file.execute(f"PRAGMA {pragma}")
            yield partial(_keep_on_sqlite, file)
        return
    with closing(psycopg.connect(url)) as server:
        # Foreign keys are checked by triggers, one a row.
        server.execute("SET session_replication_role = replica")
        server.execute("SET maintenance_work_mem = '512MB'")
        server.execute("DROP INDEX ix_message_words_words")
        yield partial(_keep_on_postgresql, server)
        server.execute("CREATE INDEX ix_message_words_words ON message_words USING gin (words)")
        server.commit()
        server.autocommit = True
        server.execute("VACUUM ANALYZE")


def _keep_on_sqlite(file: sqlite3.Connection, batch: _Batch) -> None:
    file.execute("BEGIN")
    for table, rows in _ordered(batch):
        columns = _columns(table)
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"
        file.executemany(insert, rows)
    file.execute("COMMIT")


def _keep_on_postgresql(server: psycopg.Connection[Any], batch: _Batch) -> None:
    with server.cursor() as cursor:
        for table, rows in _ordered(batch):
            names = ", ".join(_columns(table))
            with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
    server.commit()


def _ordered(batch: _Batch) -> Iterator[tuple[Table, list[Sequence[Any]]]]:
    return ((table, batch[table.name]) for table in _COPIED if table.name in batch)
