"""What happened to every mail of a fault run? Read from rows, the sink's log and the writers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, Select, create_engine, exists, func, select, text
from sqlalchemy.exc import OperationalError

from mailagent.flow.states import FINAL, NEEDS_A_PERSON, RecipientState
from mailagent.store.engine import driver_url
from mailagent.store.tables import (
    deliveries,
    messages,
    outbound_mails,
    outbound_recipients,
    raw_messages,
)

__all__ = ["Counts", "Evidence", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Counts:
    """The outcome of a run in numbers."""

    acknowledged: int
    """Mails that a writer has a 250 for."""
    read: int
    answered: int
    handed_over: int
    """Mails that wait for a person: quarantined, held and the like."""
    duplicates: int
    """Mails that came again because their 250 did not arrive; kept and not answered."""
    taken: int
    """Replies that the relay took."""
    unknown: int
    """Replies of which nobody knows whether they were taken; never sent again."""
    doubled: int
    lost: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts of a run, and each promise that it broke, in words."""

    counts: Counts
    broken: tuple[str, ...]


class Evidence:
    """The rows of a database, read without disturbing whoever runs on it."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(driver_url(url), poolclass=NullPool)

    def rows(self, statement: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(statement).all())

    def in_flight(self) -> set[str]:
        """The recipients in `sending`, once the killed process's last commit has gone through."""
        if self._engine.dialect.name == "postgresql":
            others = text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            while self.rows(others)[0][0]:
                time.sleep(0.01)
        sending = outbound_recipients.c.state == RecipientState.SENDING
        return {row.id for row in self.rows(select(outbound_recipients.c.id).where(sending))}

    def wait_until_settled(self, seconds: float) -> None:
        """Until nothing goes on by itself any more. Raises AssertionError with what still does."""
        self.wait_until(lambda: not self.unsettled(), seconds, self.unsettled)

    def wait_until(
        self,
        looks: Callable[[], Any],
        seconds: float,
        tell: Callable[[], object] = lambda: "nothing more is known",
    ) -> None:
        """Look until it is so. Raises AssertionError with what `tell` says."""
        end = time.monotonic() + seconds
        while not looks():
            assert time.monotonic() < end, f"not in {seconds} s: {tell()}"
            time.sleep(0.1)

    def unsettled(self) -> list[Any]:
        """The deliveries and outbound mails that still go on by themselves, ten at the most."""
        open_ = (deliveries.c.state, deliveries.c.reason, deliveries.c.attempts)
        moving = select(*open_).where(deliveries.c.state.not_in(FINAL)).limit(10)
        leaving = outbound_mails.c.state == "queued"
        try:
            return [
                *self.rows(moving),
                *self.rows(select(outbound_mails.c.id).where(leaving).limit(10)),
            ]
        except OperationalError as error:
            return [error]  # the database is not back yet


def judge(
    evidence: Evidence,
    acknowledged: Mapping[str, bytes],
    sink: Path,
    *,
    maybe_unknown: Collection[str] = frozenset(),
    may_wait_for_a_person: Callable[[Any], bool] = lambda delivery: False,
    other_ends: Collection[str] = frozenset(),
) -> Verdict:
    """Hold a settled run to what we promise.

    `acknowledged` is sender → raw mail, one mail for each sender. `maybe_unknown` are the
    recipients (ids) whose hand-over had begun when a process was killed or a relay fell silent: all
    others must have an outcome. `may_wait_for_a_person` says of a delivery whether its end with
    a person is right; every other mail that came in must be answered, once. `other_ends` are states
    of a reply that are right besides sent and unknown.
    """
    came = evidence.rows(_deliveries())
    kept = {(row.mail_from, row.content) for row in came}
    lost = sorted(sender for sender, raw in acknowledged.items() if (sender, raw) not in kept)

    lines = sink.read_text().splitlines() if sink.exists() else []
    taken = [line.split() for line in lines]
    by_message, by_recipient = (Counter(line[i] for line in taken) for i in (0, 1))
    twice = sorted(key for key, n in (by_message + by_recipient).items() if n > 1)
    replies = Counter(row.answers_delivery_id for row in evidence.rows(_replies()))
    answered = [row for row in came if row.state == "answered"]
    writers = Counter(row.mail_from for row in answered)
    twice += sorted(sender for sender, n in writers.items() if n > 1)
    of_answered = {row.id for row in answered} == set(replies) and set(replies.values()) <= {1}

    person = [row for row in came if row.state in NEEDS_A_PERSON]
    ended = {row.mail_from for row in [*answered, *filter(may_wait_for_a_person, person)]}
    unanswered = sorted(
        f"{row.mail_from} ({row.state}: {row.reason})" for row in came if row.mail_from not in ended
    )
    silent = [row.id for row in came if row.state not in FINAL or not row.reason]

    went = evidence.rows(select(outbound_recipients))
    said = {row.address for row in went if row.state == RecipientState.SENT}
    unknown = [row for row in went if row.state == RecipientState.UNKNOWN]
    unexplained = [f"{row.address}: {row.reason}" for row in unknown if row.id not in maybe_unknown]
    right = {RecipientState.SENT, RecipientState.UNKNOWN, *other_ends}
    promises: dict[str, Collection[Any]] = {
        "acknowledged and lost": lost,
        "sent or answered twice": twice,
        "answered without exactly one reply": () if of_answered else replies,
        "came in and was never answered": unanswered,
        "neither final nor waiting with a reason": silent,
        "recorded as sent, never taken": said - set(by_recipient),
        "unknown, though no process died in its hand-over": unexplained,
        "a reply with another end": sorted({row.state for row in went} - right),
    }
    counts = Counts(
        acknowledged=len(acknowledged),
        read=sum(row.was_read for row in came),
        answered=len(answered),
        handed_over=len(person),
        duplicates=sum(row.state == "duplicate" for row in came),
        taken=len(taken),
        unknown=len(unknown),
        doubled=len(twice),
        lost=len(lost),
    )
    return Verdict(
        counts, tuple(f"{what}: {list(of)[:5]} of {len(of)}" for what, of in promises.items() if of)
    )


def _deliveries() -> Select[Any]:
    return select(
        deliveries.c.id,
        deliveries.c.mail_from,
        deliveries.c.state,
        deliveries.c.reason,
        raw_messages.c.content,
        exists().where(messages.c.delivery_id == deliveries.c.id).label("was_read"),
    ).join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)


def _replies() -> Select[Any]:
    return (
        select(outbound_mails.c.answers_delivery_id, func.count())
        .where(outbound_mails.c.purpose == "reply")
        .group_by(outbound_mails.c.id)
    )
