"""How is everything of a person, a mail or a workspace removed, for good and while mail arrives?

In batches, each a transaction of its own: found in a read, removed in a write, so that no door
waits long. Killed, it is started again and goes on with what is left. What is in flight is ended
first; whoever has it in hand has lost it, or keeps no word of it (`flow.after_purge`). Mail that
comes after the start is left alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select, text

from mailagent.errors import Malformed, PermanentFailure
from mailagent.flow import octets, purge_ends, removal
from mailagent.flow.directory import normalised, without_tag
from mailagent.flow.purge_search import (
    Named,
    Person,
    Target,
    Whole,
    Window,
    came,
    copies,
    outside,
    went,
)
from mailagent.providers.raw_store import RawStore
from mailagent.store.engine import Store
from mailagent.store.tables import addresses, deliveries, outbound_mails
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Named", "Person", "Purged", "Target", "Whole", "purge", "vacuum"]

_AT_ONCE = 50
_PAGES_MERGED = 500


@dataclass(frozen=True, slots=True)
class Purged:
    """How much was removed, or by a dry run would be."""

    received: int
    sent: int
    other_rows: int
    """Ledger lines, events and the like beside those of the mails."""

    def __add__(self, other: Purged) -> Purged:
        return Purged(
            self.received + other.received,
            self.sent + other.sent,
            self.other_rows + other.other_rows,
        )


async def purge(
    store: Store,
    workspace_id: str,
    target: Target,
    *,
    actor: str,
    raw_store: RawStore,
    dry_run: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> Purged:
    """Remove from one workspace all that `target` names; `tell` hears of each batch's mails.

    Octets in `raw_store` are looked through for a person; a schedule deletes them there. Raises
    Malformed for an agent's own address; TransientFailure when the storage cannot be read.
    """
    before = store.now()
    if isinstance(target, Person):
        await store.read(workspace_id, _is_no_agents, target)
    run = _Run(store, workspace_id, f"asked by {actor}", dry_run, tell)

    async def look_in(cursor: str) -> Window:
        found = await store.read(workspace_id, came, target, before, cursor)
        if not isinstance(target, Person):
            return found
        rows = await store.read(workspace_id, outside, before, cursor)
        there = [row for row in rows if row.id not in found.ids]
        named = [row.id for row in there if await _names(raw_store, row, target)]
        more = await store.read(workspace_id, copies, named) if named else []
        return replace(found, ids=sorted({*found.ids, *more}))

    async def look_out(cursor: str) -> Window:
        return await store.read(workspace_id, went, target, before, cursor, run.gone)

    async def look_for_notices(cursor: str) -> Window:
        return await store.read(workspace_id, went, Named(), before, cursor, run.gone)

    async for ids in _windows(look_in):
        await run.received(ids)
    async for ids in _windows(look_out):
        await run.sent(ids)
    # People may have been told of a mail after it was looked for, and before it was gone.
    async for ids in _windows(look_for_notices):
        await run.sent(ids)
    other_rows = 0
    if isinstance(target, Named):
        turn_ids = await store.read(workspace_id, purge_ends.left_turns, run.received_ids)
        if not dry_run:
            await store.write(workspace_id, removal.empty_turns, turn_ids, "purge")
    else:
        other_rows = await _ends(store, workspace_id, target, before, dry_run=dry_run)
    if not dry_run:
        while await store.write_unscoped(_merge_words):
            pass
    return Purged(len(run.received_ids), len(run.sent_ids), other_rows)


def vacuum(store: Store) -> None:
    """Rewrite the tables, so that no earlier form of a row stays in their free space.

    They are locked meanwhile: doors answer "later".
    """
    with store.engine.connect() as connection:
        if store.on_sqlite:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        plain = connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in removal.TABLES:
            plain.execute(text(f"VACUUM FULL {table.name}"))


class _Run:
    """One purge, and what it found so far."""

    def __init__(
        self,
        store: Store,
        workspace_id: str,
        why: str,
        dry_run: bool,
        tell: Callable[[int], None],
    ) -> None:
        self._store, self._workspace_id, self._why = store, workspace_id, why
        self._dry_run, self._tell = dry_run, tell
        self.received_ids: set[str] = set()
        self.sent_ids: set[str] = set()

    @property
    def gone(self) -> set[str]:
        """The ids of all mails that were found."""
        return self.received_ids | self.sent_ids

    async def received(self, ids: Sequence[str]) -> None:
        """Remove deliveries with all that answered or told of them."""
        for batch in _batches([one for one in ids if one not in self.received_ids]):
            if self._dry_run:
                with_them = await self._store.read(self._workspace_id, _belonging, batch)
            else:
                with_them = await self._store.write(
                    self._workspace_id, _remove_received, batch, self._why
                )
            self.received_ids.update(batch)
            with_them = [one for one in with_them if one not in self.sent_ids]
            self.sent_ids.update(with_them)
            self._tell(len(batch) + len(with_them))

    async def sent(self, ids: Sequence[str]) -> None:
        """Remove outbound mails."""
        for batch in _batches([one for one in ids if one not in self.sent_ids]):
            if not self._dry_run:
                await self._store.write(
                    self._workspace_id, removal.remove_sent, batch, "purge", why=self._why
                )
            self.sent_ids.update(batch)
            self._tell(len(batch))


async def _names(raw_store: RawStore, row: AnyRow, person: Person) -> bool:
    try:
        found = await octets.whole(raw_store, row)
    except PermanentFailure:
        return False  # the storage has lost them, so there is nothing to remove
    return found is not None and person.named_in(found.decode("latin-1"))


def _is_no_agents(tx: Transaction, person: Person) -> None:
    local, domain = normalised(person.address)
    known = select(addresses.c.id).where(
        addresses.c.local_part == without_tag(local), addresses.c.domain == domain
    )
    if "@" not in person.address or tx.value(known) is not None:
        raise Malformed("address", "must be that of somebody who writes to the agents, not theirs")


def _remove_received(tx: Transaction, delivery_ids: Sequence[str], why: str) -> list[str]:
    """Remove deliveries with what answered or told of them; returns the latter."""
    removal.remove_received(tx, delivery_ids, "purge", why=why)
    # Afterwards: from here on no turn can add to it. At once: the next turn in a conversation would
    # have it as history.
    found = _belonging(tx, delivery_ids)
    removal.remove_sent(tx, found, "purge", why=why)
    return found


def _belonging(tx: Transaction, delivery_ids: Sequence[str]) -> list[str]:
    """Answers to these deliveries, and notices of them."""
    of_them = select(deliveries.c.turn_id).where(deliveries.c.id.in_(delivery_ids))
    turn_ids = [row.turn_id for row in tx.rows(of_them) if row.turn_id]
    columns = outbound_mails.c
    about = columns.answers_delivery_id.in_(delivery_ids) | columns.turn_id.in_(turn_ids)
    rows = tx.rows(
        select(columns.id).where(about, columns.content_removed_by.is_distinct_from("purge"))
    )
    return [row.id for row in rows]


async def _ends(
    store: Store, workspace_id: str, target: Whole | Person, before: datetime, *, dry_run: bool
) -> int:
    count, after = 0, 0
    while True:
        found = await store.read(workspace_id, purge_ends.lines, target, before, after)
        if found.ids and not dry_run:
            await store.write(workspace_id, purge_ends.hush_lines, target, found.ids)
        count += len(found.ids)
        if found.next_cursor is None:
            break
        after = found.next_cursor
    others = await store.read(workspace_id, purge_ends.others, target)
    if not dry_run:
        await store.write(workspace_id, purge_ends.remove_others, target, others)
    return count + others.count


def _merge_words(tx: Transaction) -> bool:
    """Let SQLite's search index drop, a piece at a time, what it has only marked as removed.

    Says whether there is more to merge. Source: SQLite FTS5, "The 'merge' Command".
    """
    if not tx.on_sqlite:
        return False
    changed = text("SELECT total_changes()")
    merge = text(
        "INSERT INTO message_words_index(message_words_index, rank) VALUES ('merge', :pages)"
    )
    before = tx.value(changed)
    tx.execute(merge, {"pages": -_PAGES_MERGED})
    return int(tx.value(changed)) - int(before) >= 2


async def _windows(look: Callable[[str], Awaitable[Window]]) -> AsyncIterator[Sequence[str]]:
    cursor: str | None = ""
    while cursor is not None:
        found = await look(cursor)
        yield found.ids
        cursor = found.next_cursor


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
