"""What happened to every mail of a fault run? Read from rows, the sink's log and the writers."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, Select, create_engine, func, select, text

from mailagent.flow.states import FINAL, RecipientState
from mailagent.store.engine import driver_url
from mailagent.store.tables import deliveries, outbound_mails, outbound_recipients, raw_messages

__all__ = ["Counts", "Evidence", "judge"]


@dataclass(frozen=True, slots=True)
class Counts:
    """The outcome of a run in numbers."""

    kills: int
    acknowledged: int
    deliveries: int
    answered: int
    duplicates: int
    at_the_sink: int
    unknown: int
    in_flight_at_kills: int


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
        end = time.monotonic() + seconds
        while unsettled := self.unsettled():
            assert time.monotonic() < end, f"still going on: {unsettled[:10]}"
            time.sleep(0.1)

    def unsettled(self) -> list[Any]:
        """The deliveries and outbound mails that still go on by themselves."""
        open_ = (deliveries.c.state, deliveries.c.reason, deliveries.c.attempts)
        return [
            *self.rows(select(*open_).where(deliveries.c.state.not_in(FINAL))),
            *self.rows(select(outbound_mails.c.id).where(outbound_mails.c.state == "queued")),
        ]


def judge(
    evidence: Evidence, acknowledged: dict[str, bytes], sink: Path, in_flight: list[set[str]]
) -> Counts:
    """Hold a settled run to what we promise.

    `acknowledged` is sender → raw mail, one for each sender; `in_flight` is, for each kill, the
    recipients whose hand-over had begun. Raises AssertionError with the first
    promise that was broken.
    """
    came = evidence.rows(_deliveries())
    senders = Counter(row.mail_from for row in came)
    kept = {(row.mail_from, row.content) for row in came}
    lost = [sender for sender, raw in acknowledged.items() if (sender, raw) not in kept]
    assert not lost, f"acknowledged and lost: {lost[:5]} of {len(lost)}"

    taken = [line.split() for line in sink.read_text().splitlines()] if sink.exists() else []
    twice = {k: n for k, n in Counter(line[0] for line in taken).items() if n > 1}
    assert not twice, f"sent twice: {twice}"
    answered_twice = {k: n for k, n in Counter(line[1] for line in taken).items() if n > 1}
    assert not answered_twice, f"two answers for one mail: {answered_twice}"

    replies = Counter(row.answers_delivery_id for row in evidence.rows(_replies()))
    answered = [row for row in came if row.state == "answered"]
    assert {row.id: 1 for row in answered} == replies
    assert len({row.mail_from for row in answered}) == len(answered)
    unanswered = set(senders) - {row.mail_from for row in answered}
    assert not unanswered, f"came in and was never answered: {unanswered}"
    silent = [row.id for row in came if row.state not in FINAL or not row.reason]
    assert not silent, f"neither final nor waiting with a reason: {silent}"

    went = evidence.rows(select(outbound_recipients))
    by_state = Counter(row.state for row in went)
    at_sink = {line[1] for line in taken}
    claimed = {row.address for row in went if row.state == RecipientState.SENT}
    assert claimed <= at_sink, f"recorded as sent, never taken: {claimed - at_sink}"
    assert set(by_state) <= {RecipientState.SENT, RecipientState.UNKNOWN}
    unknown = {row.id for row in went if row.state == RecipientState.UNKNOWN}
    assert unknown <= set().union(*in_flight), "unknown without a kill during its hand-over"
    return Counts(
        kills=len(in_flight),
        acknowledged=len(acknowledged),
        deliveries=len(came),
        answered=len(answered),
        duplicates=sum(row.state == "duplicate" for row in came),
        at_the_sink=len(taken),
        unknown=len(unknown),
        in_flight_at_kills=len(set().union(*in_flight)),
    )


def _deliveries() -> Select[Any]:
    return select(
        deliveries.c.id,
        deliveries.c.mail_from,
        deliveries.c.state,
        deliveries.c.reason,
        raw_messages.c.content,
    ).join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)


def _replies() -> Select[Any]:
    return (
        select(outbound_mails.c.answers_delivery_id, func.count())
        .where(outbound_mails.c.purpose == "reply")
        .group_by(outbound_mails.c.id)
    )
