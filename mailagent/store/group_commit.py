"""How do many accepted mails become durable in one transaction?

Prepared SQL on a connection of its own, no ORM and no SQLAlchemy in between: acceptance has about
0.4 ms of Python per mail in all. A mail is one raw row for each workspace that gets it and one
delivery for each recipient; the delivery in state `accepted` is itself the order to read it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import generators
from sqlalchemy.engine import make_url

from mailagent.inbound import Accepted, Duplicate, Later, Outcome, Replayed, Unrouted
from mailagent.store.postgres import OPTIONS
from mailagent.store.sqlite import PRAGMAS
from mailagent.store.types import microseconds
from mailagent.tokens import new_id

__all__ = ["Destination", "GroupCommit", "Waiting"]

_RAW = ("id", "workspace_id", "sha256", "size_bytes", "received_at", "content")
_DELIVERY = (
    "id", "workspace_id", "raw_id", "source", "source_id", "recipient", "mail_from", "origin",
    "place", "agent_id", "received_at", "state", "not_before",
)  # fmt: skip
_REPLAY_TOKEN = ("source", "token", "sha256", "at")
_STORAGE_AWAY = (
    sqlite3.OperationalError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    sqlite3.ProgrammingError,
)


@dataclass(frozen=True, slots=True)
class Destination:
    """One recipient and where it leads. Without a workspace, `outbound_recipient_id` finds it."""

    recipient: str
    origin_json: str
    """What the door knows, without what it knows of other recipients: they may be a stranger's."""
    place: str
    workspace_id: str | None
    agent_id: str | None = None
    outbound_recipient_id: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """One mail that waits for its commit."""

    raw: bytes
    source: str
    source_id: str
    mail_from: str | None
    received_at: datetime
    destinations: tuple[Destination, ...]
    may_repeat: bool
    """The source may hand the same mail over again under the same id: look before inserting."""
    replay_token: str | None = None
    """A single-use token: kept with the mail, and refused with other content."""


class GroupCommit:
    """A connection that does nothing but accept. Used by one thread at a time."""

    def __init__(self, url: str, *, busy_seconds: float = 5) -> None:
        parsed = make_url(url)
        self.on_sqlite = parsed.get_backend_name() == "sqlite"
        self._address = (
            str(parsed.database)
            if self.on_sqlite
            else url.replace("postgresql+psycopg://", "postgresql://")
        )
        self._busy_seconds = busy_seconds
        self._connection: Any = None
        mark = "?" if self.on_sqlite else "%s"
        self._insert_raw = _insert("raw_messages", _RAW, mark)
        self._insert_delivery = _insert("deliveries", _DELIVERY, mark)
        self._find = (
            f"SELECT recipient, id FROM deliveries WHERE source = {mark} AND source_id = {mark}"  # noqa: S608
        )
        self._used = f"SELECT sha256 FROM replay_tokens WHERE source = {mark} AND token = {mark}"  # noqa: S608
        self._use = _insert("replay_tokens", _REPLAY_TOKEN, mark)
        self._whose = f"SELECT workspace_id FROM outbound_recipients WHERE id = {mark}"  # noqa: S608

    def commit(self, mails: Sequence[Waiting]) -> list[Outcome]:
        """Make all of them durable, one outcome for each. Never raises.

        A batch that fails is repeated mail by mail, so that one bad mail costs no neighbour its
        yes; when the storage itself is away or full, all are told `Later` at once.
        """
        try:
            return self._together(mails)
        except _STORAGE_AWAY as error:
            self._drop()
            return [Later(f"{type(error).__name__}: {error}")] * len(mails)
        except (sqlite3.Error, psycopg.Error, ValueError) as error:
            # ValueError is a text that no database takes: an unpaired surrogate, a NUL.
            self._drop()
            if len(mails) == 1:
                return [Later(f"{type(error).__name__}: {error}")]
        return [self.commit([mail])[0] for mail in mails]

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    def _together(self, mails: Sequence[Waiting]) -> list[Outcome]:
        cursor = self._cursor()
        try:
            if self.on_sqlite:
                cursor.execute("BEGIN IMMEDIATE")
                outcomes = self._keep(cursor, mails)
                cursor.execute("COMMIT")
            else:
                outcomes = self._keep_in_one_round_trip(cursor, mails)
        finally:
            cursor.close()
        return outcomes

    def _keep_in_one_round_trip(self, cursor: Any, mails: Sequence[Waiting]) -> list[Outcome]:
        """All is sent to PostgreSQL before the first answer is read; the driver's own `commit`
        would wait for one in between.
        """
        with self._connection.pipeline():
            cursor.execute("BEGIN")
            outcomes = self._keep(cursor, mails)
            cursor.execute("COMMIT")
            # A pipeline writes once for each command and then waits for answers, though the server
            # that has not read all of a large mail yet has none to give: so all is written first.
            self._connection.wait(generators.send(self._connection.pgconn))
        return outcomes

    def _keep(self, cursor: Any, mails: Sequence[Waiting]) -> list[Outcome]:
        raws: list[tuple[Any, ...]] = []
        deliveries: list[tuple[Any, ...]] = []
        outcomes = [self._place(cursor, mail, raws, deliveries) for mail in mails]
        for statement, rows in ((self._insert_raw, raws), (self._insert_delivery, deliveries)):
            for row in rows:
                cursor.execute(statement, row)
        return outcomes

    def _place(
        self,
        cursor: Any,
        mail: Waiting,
        raws: list[tuple[Any, ...]],
        deliveries: list[tuple[Any, ...]],
    ) -> Outcome:
        known: dict[str, str] = {}
        if mail.may_repeat:
            cursor.execute(self._find, (mail.source, mail.source_id))
            known = dict(cursor.fetchall())
        at: Any = microseconds(mail.received_at) if self.on_sqlite else mail.received_at
        if mail.replay_token is not None and not self._is_first_use(cursor, mail, at):
            return Replayed()
        raw_ids: dict[str, str] = {}
        ids: list[str] = []
        fresh = False
        for destination in mail.destinations:
            if (id_ := known.get(destination.recipient)) is not None:
                ids.append(id_)
                continue
            workspace_id = destination.workspace_id or self._owner(cursor, destination)
            if workspace_id is None:
                continue
            raw_id = raw_ids.get(workspace_id)
            if raw_id is None:
                raw_id = raw_ids[workspace_id] = new_id("raw")
                digest = hashlib.sha256(mail.raw).hexdigest()
                raws.append((raw_id, workspace_id, digest, len(mail.raw), at, mail.raw))
            id_ = new_id("dlv")
            deliveries.append(
                (
                    id_, workspace_id, raw_id, mail.source, mail.source_id, destination.recipient,
                    mail.mail_from, destination.origin_json, destination.place,
                    destination.agent_id, at, "accepted", at,
                )
            )  # fmt: skip
            ids.append(id_)
            fresh = True
        if not ids:
            return Unrouted(tuple(one.recipient for one in mail.destinations))
        return Accepted(tuple(ids)) if fresh else Duplicate(tuple(ids))

    def _is_first_use(self, cursor: Any, mail: Waiting, at: Any) -> bool:
        """Keep the token; False when it came with other content before."""
        token = (mail.source, mail.replay_token)
        digest = hashlib.sha256(mail.raw).hexdigest()
        cursor.execute(self._used, token)
        row = cursor.fetchone()
        if row is None:
            cursor.execute(self._use, (*token, digest, at))
        return row is None or bool(row[0] == digest)

    def _owner(self, cursor: Any, destination: Destination) -> str | None:
        cursor.execute(self._whose, (destination.outbound_recipient_id,))
        row = cursor.fetchone()
        return row[0] if row else None

    def _cursor(self) -> Any:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection.cursor()

    def _connect(self) -> Any:
        if not self.on_sqlite:
            return psycopg.connect(
                self._address, autocommit=True, connect_timeout=5, options=OPTIONS
            )
        connection = sqlite3.connect(
            self._address,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()  # rolls back what was open
            self._connection = None


def _insert(table: str, columns: Sequence[str], mark: str) -> str:
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
