"""What still names a person once their mails are gone, and what becomes of it?

Lines of the ledger and events that belong to no mail of theirs, and who takes part where. A
suppression stays, as a pseudonym: a purge is no reason to write to the address again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, literal, or_, select, true, update

from mailagent.flow import removal
from mailagent.flow.purge_search import Person, Whole, contains
from mailagent.flow.suppression import is_pseudonym, pseudonym
from mailagent.store.tables import (
    answer_invitations,
    approval_invitations,
    approvals,
    contact_notes,
    deliveries,
    evaluation_cases,
    evaluation_runs,
    events,
    ledger,
    list_entries,
    participants,
    policies,
    questions,
    suppressions,
    turns,
)
from mailagent.store.transaction import Transaction

__all__ = ["Lines", "hush_lines", "left_turns", "lines", "others", "remove_others"]

_WINDOW = 2_000
_SOMEBODY = "person:(removed)"


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of the ledger in one window, and where the next one begins; None after the last."""

    ids: Sequence[int]
    next_cursor: int | None


def left_turns(tx: Transaction, delivery_ids: Collection[str]) -> Sequence[str]:
    """Turns that had only purged mails before them, and not as their last: a mail that was driven
    again, or was waited with, names no more than its last one.
    """
    came = tx.rows(
        select(deliveries.c.thread_id, deliveries.c.received_at).where(
            deliveries.c.id.in_(delivery_ids), deliveries.c.thread_id.is_not(None)
        )
    )
    if not came:
        return ()
    stays = exists().where(
        deliveries.c.workspace_id == turns.c.workspace_id,
        deliveries.c.turn_id == turns.c.id,
        deliveries.c.content_removed_by.is_distinct_from("purge"),
    )
    found = tx.rows(
        select(turns.c.id).where(
            turns.c.started_at >= min(row.received_at for row in came),
            turns.c.thread_id.in_({row.thread_id for row in came}),
            ~stays,
        )
    )
    return [row.id for row in found]


def lines(tx: Transaction, target: Whole | Person, before: datetime, after: int) -> Lines:
    """The ledger's lines that say something of a target, in the window after an id."""
    said = (ledger.c.what, ledger.c.why, ledger.c.actor)
    window = [
        row.id
        for row in tx.rows(
            select(ledger.c.id)
            .where(ledger.c.id > after, ledger.c.at <= before)
            .order_by(ledger.c.id)
            .limit(_WINDOW)
        )
    ]
    if not window:
        return Lines((), None)
    within = select(ledger.c.id, *said).where(ledger.c.id.between(window[0], window[-1]))
    if isinstance(target, Person):
        named = or_(*(contains(tx, one, target.lower) for one in said))
        rows = [row for row in tx.rows(within.where(named)) if target.named_in(" ".join(row[1:]))]
    else:
        rows = list(tx.rows(within.where(removal.has_words())))
    return Lines([row.id for row in rows], window[-1] if len(window) == _WINDOW else None)


def hush_lines(tx: Transaction, target: Whole | Person, ids: Sequence[int]) -> None:
    """Leave of these lines only our own words; of who acted, only when it was somebody else."""
    removal.hush(tx, ledger.c.id.in_(ids))
    if isinstance(target, Person):
        by_them = func.lower(ledger.c.actor) == f"person:{target.lower}"
        tx.execute(update(ledger).where(ledger.c.id.in_(ids), by_them).values(actor=_SOMEBODY))


@dataclass(frozen=True, slots=True)
class Others:
    """Ids of other rows that name a target."""

    event_ids: Sequence[str]
    turn_ids: Sequence[str]
    suppressions: Sequence[tuple[str, str, str]]
    """Id, address, and which of ours it stops."""
    invitation_ids: Sequence[str]
    asked_ids: Sequence[str]
    """Invitations to decide about a draft."""
    listed_ids: Sequence[str]
    """Entries of lists that are a whole address."""
    thread_ids: Sequence[str]
    """Conversations that list the person as taking part."""
    note_ids: Sequence[str]
    """Notes of agents about the person."""
    question_ids: Sequence[str]
    """Threads in which an agent asked the person something."""

    @property
    def count(self) -> int:
        """How many rows."""
        parts = (self.event_ids, self.turn_ids, self.suppressions, self.invitation_ids)
        more = (self.thread_ids, self.asked_ids, self.listed_ids, self.note_ids, self.question_ids)
        return sum(map(len, (*parts, *more)))


def others(tx: Transaction, target: Whole | Person) -> Others:
    """Rows beside mails and ledger that name a target."""
    match target:
        case Person():
            who = target.lower
            by_event = or_(
                func.lower(events.c.recipient) == who,
                events.c.outbound_id.is_(None) & contains(tx, events.c.raw, who),
            )
            by_turn = turns.c.sender == who
            by_address = suppressions.c.address == who
            by_invitation = func.lower(answer_invitations.c.person) == who
            by_question = func.lower(approval_invitations.c.person) == who
            in_list = list_entries.c.pattern == who
            in_thread = participants.c.address == who
            about, of_question = contact_notes.c.address == who, questions.c.person == who
        case Whole():
            by_event, by_turn = events.c.outbound_id.is_(None), turns.c.sender != ""
            by_address = by_invitation = by_question = about = of_question = true()
            in_list = list_entries.c.pattern.like("%_@%") & ~list_entries.c.pattern.startswith("*")
            in_thread = literal(1) == 0  # they went with their conversations
    columns = suppressions.c
    stopped = tx.rows(select(columns.id, columns.address, columns.from_address).where(by_address))
    return Others(
        [row.id for row in tx.rows(select(events.c.id).where(by_event))],
        [row.id for row in tx.rows(select(turns.c.id).where(by_turn, turns.c.state != "running"))],
        [tuple(row) for row in stopped if not is_pseudonym(row.address)],
        [row.id for row in tx.rows(select(answer_invitations.c.id).where(by_invitation))],
        [row.id for row in tx.rows(select(approval_invitations.c.id).where(by_question))],
        [row.id for row in tx.rows(select(list_entries.c.id).where(in_list))],
        [row.thread_id for row in tx.rows(select(participants.c.thread_id).where(in_thread))],
        [row.id for row in tx.rows(select(contact_notes.c.id).where(about))],
        [row.thread_id for row in tx.rows(select(questions.c.thread_id).where(of_question))],
    )


def remove_others(tx: Transaction, target: Whole | Person, found: Others) -> None:
    """Take the target out of these rows."""
    of_event = events.c.id.in_(found.event_ids)
    tx.execute(update(events).where(of_event).values(recipient=None, detail="", raw={}))
    removal.empty_turns(tx, found.turn_ids, "purge")
    tx.execute(delete(contact_notes).where(contact_notes.c.id.in_(found.note_ids)))
    tx.execute(delete(questions).where(questions.c.thread_id.in_(found.question_ids)))
    tx.execute(delete(answer_invitations).where(answer_invitations.c.id.in_(found.invitation_ids)))
    asked = approval_invitations.c.id.in_(found.asked_ids)
    tx.execute(delete(approval_invitations).where(asked))
    tx.execute(delete(list_entries).where(list_entries.c.id.in_(found.listed_ids)))
    if isinstance(target, Person):
        _forget_decider(tx, target)
        tx.execute(
            delete(participants).where(
                participants.c.thread_id.in_(found.thread_ids),
                participants.c.address == target.lower,
            )
        )
    assert tx.workspace_id is not None
    for id_, address, from_address in found.suppressions:
        form = pseudonym(tx.workspace_id, address)
        # One that was purged before, and stopped again since, stands there already.
        tx.execute(
            delete(suppressions).where(
                suppressions.c.address == form, suppressions.c.from_address == from_address
            )
        )
        tx.execute(
            update(suppressions).where(suppressions.c.id == id_).values(address=form, detail="")
        )


def _forget_decider(tx: Transaction, target: Person) -> None:
    """Somebody decided about a draft, set a policy, listed an address: no longer who."""
    them = f"person:{target.lower}"
    for table, name in (
        (approvals, "decided_by"),
        (deliveries, "priority_by"),
        (policies, "author"),
        (list_entries, "author"),
        (evaluation_cases, "author"),
        (evaluation_runs, "author"),
    ):
        by_them = func.lower(table.c[name]) == them
        tx.execute(update(table).where(by_them).values({name: _SOMEBODY}))
