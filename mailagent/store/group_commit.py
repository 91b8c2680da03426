"""What becomes of many accepted mails in one transaction?

A mail is one raw row for each workspace that gets it and one delivery for each recipient; the
delivery in state `accepted` is itself the order to read it. No ORM and no SQLAlchemy in between:
acceptance has about 0.4 ms of Python per mail in all. `sqlite_commit` and `postgres_commit` run it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailagent.inbound import Accepted, Duplicate, Outcome, Replayed, Unrouted
from mailagent.tokens import new_id

__all__ = ["Destination", "Statement", "Statements", "Waiting"]

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""

_RAW = ("id", "workspace_id", "sha256", "size_bytes", "received_at", "content")
_DELIVERY = (
    "id", "workspace_id", "raw_id", "source", "source_id", "recipient", "mail_from", "origin",
    "place", "agent_id", "received_at", "state", "not_before",
)  # fmt: skip
_REPLAY_TOKEN = ("source", "token", "sha256", "at")


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


class Statements:
    """What is asked and written for mails, in the SQL of one database."""

    def __init__(self, mark: Callable[[int], str], moment: Callable[[datetime], object]) -> None:
        """`mark` stands for the n-th value, from 1; `moment` is how a time is kept."""
        self._moment = moment
        first, second = mark(1), mark(2)
        self._find = (
            f"SELECT recipient, id FROM deliveries WHERE source = {first} AND source_id = {second}"  # noqa: S608
        )
        self._used = f"SELECT sha256 FROM replay_tokens WHERE source = {first} AND token = {second}"  # noqa: S608
        self._whose = f"SELECT workspace_id FROM outbound_recipients WHERE id = {first}"  # noqa: S608
        self._insert_raw = _insert("raw_messages", _RAW, mark)
        self._insert_delivery = _insert("deliveries", _DELIVERY, mark)
        self._insert_token = _insert("replay_tokens", _REPLAY_TOKEN, mark)

    def questions(self, mails: Iterable[Waiting]) -> list[Statement]:
        """What must be known before anything of them is written, each once."""
        return list(dict.fromkeys(one for mail in mails for one in self._questions(mail)))

    def plan(
        self, mails: Iterable[Waiting], answers: Mapping[Statement, Sequence[Any]]
    ) -> tuple[list[Outcome], list[Statement]]:
        """What each mail is told once all the statements are committed. `answers` are the rows."""
        writes: list[Statement] = []
        return [self._place(mail, answers, writes) for mail in mails], writes

    def _questions(self, mail: Waiting) -> Iterator[Statement]:
        if mail.may_repeat:
            yield self._find, (mail.source, mail.source_id)
        if mail.replay_token is not None:
            yield self._used, (mail.source, mail.replay_token)
        for destination in mail.destinations:
            if destination.workspace_id is None:
                yield self._whose, (destination.outbound_recipient_id,)

    def _place(
        self, mail: Waiting, answers: Mapping[Statement, Sequence[Any]], writes: list[Statement]
    ) -> Outcome:
        known = dict(answers.get((self._find, (mail.source, mail.source_id)), ()))
        at = self._moment(mail.received_at)
        digest = hashlib.sha256(mail.raw).hexdigest()
        if mail.replay_token is not None:
            token = (mail.source, mail.replay_token)
            if not (used := answers[self._used, token]):
                writes.append((self._insert_token, (*token, digest, at)))
            elif used[0][0] != digest:
                return Replayed()
        raw_ids: dict[str, str] = {}
        ids: list[str] = []
        fresh = False
        for destination in mail.destinations:
            if (id_ := known.get(destination.recipient)) is not None:
                ids.append(id_)
                continue
            workspace_id = destination.workspace_id
            if workspace_id is None:
                owner = answers[self._whose, (destination.outbound_recipient_id,)]
                if not owner:
                    continue
                workspace_id = owner[0][0]
            raw_id = raw_ids.get(workspace_id)
            if raw_id is None:
                raw_id = raw_ids[workspace_id] = new_id("raw")
                raw = (raw_id, workspace_id, digest, len(mail.raw), at, mail.raw)
                writes.append((self._insert_raw, raw))
            id_ = new_id("dlv")
            delivery = (
                id_, workspace_id, raw_id, mail.source, mail.source_id, destination.recipient,
                mail.mail_from, destination.origin_json, destination.place, destination.agent_id,
                at, "accepted", at,
            )  # fmt: skip
            writes.append((self._insert_delivery, delivery))
            ids.append(id_)
            fresh = True
        if not ids:
            return Unrouted(tuple(one.recipient for one in mail.destinations))
        return Accepted(tuple(ids)) if fresh else Duplicate(tuple(ids))


def _insert(table: str, columns: Sequence[str], mark: Callable[[int], str]) -> str:
    marks = ", ".join(mark(number) for number in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
