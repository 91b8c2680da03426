"""Which mail of ours is a provider's event about, and what if we do not know it yet?

An event may overtake the commit of its own send. It waits under every id that it names the mail by,
and is merged in the transaction that records the send.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from pydantic import TypeAdapter
from sqlalchemy import bindparam, delete, select

from mailagent.flow import track
from mailagent.mail import Event
from mailagent.store.tables import outbound_mails, outbound_recipients, waiting_events
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["catch_up", "forget", "take"]

_EVENT = TypeAdapter(Event)
_WAITS = timedelta(days=7)


def take(tx: Transaction, events: Sequence[Event]) -> None:
    """Merge what a webhook told, in an unscoped transaction; keep what is about no mail yet."""
    _hold(tx, (name for event in events for name in event.message_ids))
    for event in events:
        named = _recipients(tx, event)
        if not named:
            _wait(tx, event)
            continue
        one = _meant(named, event)
        inside = tx.of(named[0].workspace_id)
        track.record(inside, named[0].outbound_id, one, event)


def catch_up(tx: Transaction, outbound_id: str, names: Sequence[str]) -> None:
    """Merge what was told of a mail before its send is recorded, in the send's own transaction."""
    _hold(tx, names)
    rows = tx.rows(_WAITING, {"names": list(names)})
    told = {(row.source, row.source_event_id): _EVENT.validate_python(row.event) for row in rows}
    for event in told.values():
        track.record(tx, outbound_id, None, event)
    for source, source_event_id in told:
        tx.execute(_DONE, {"of": source, "event_id": source_event_id})


def forget(tx: Transaction) -> None:
    """Drop what has waited a week: it is about no mail of ours."""
    tx.execute(delete(waiting_events).where(waiting_events.c.came_at < tx.now - _WAITS))


_WAITING = select(waiting_events).where(
    waiting_events.c.names.in_(bindparam("names", expanding=True))
)
_DONE = delete(waiting_events).where(
    waiting_events.c.source == bindparam("of"),
    waiting_events.c.source_event_id == bindparam("event_id"),
)
_RECIPIENTS = select(
    outbound_recipients.c.id,
    outbound_recipients.c.workspace_id,
    outbound_recipients.c.outbound_id,
    outbound_recipients.c.address,
    outbound_recipients.c.state,
)
_BY_PROVIDER = _RECIPIENTS.where(
    outbound_recipients.c.provider_id.in_(bindparam("names", expanding=True))
)
_BY_US = _RECIPIENTS.join(
    outbound_mails, outbound_mails.c.id == outbound_recipients.c.outbound_id
).where(outbound_mails.c.message_id.in_(bindparam("names", expanding=True)))


def _hold(tx: Transaction, names: Iterable[str]) -> None:
    """Neither may an event miss a send that is being recorded, nor the send its event."""
    for name in sorted(set(names)):
        tx.lock(f"event {name}")


def _recipients(tx: Transaction, event: Event) -> Sequence[AnyRow]:
    """The recipients of the one mail that the event names."""
    names = {"names": list(event.message_ids)}
    return tx.rows(_BY_PROVIDER, names) or tx.rows(_BY_US, names)


def _meant(rows: Sequence[AnyRow], event: Event) -> AnyRow | None:
    if event.recipient is not None:
        rows = [row for row in rows if row.address.lower() == event.recipient.lower()]
    return rows[0] if len(rows) == 1 else None


def _wait(tx: Transaction, event: Event) -> None:
    for name in event.message_ids:
        tx.insert_new(
            waiting_events,
            {
                "source": event.source,
                "source_event_id": event.source_event_id,
                "names": name[:255],
                "event": _EVENT.dump_python(event, mode="json"),
                "came_at": tx.now,
            },
            unique=["source", "source_event_id", "names"],
        )
