"""What goes when a mail's content is removed, and what stays?

Retention removes what was said: octets, text, HTML, subject, files, the agent's steps. A purge also
removes who said it: names, addresses, Message-IDs of others, and every word of the ledger that is
not ours. Rows stay with their ids, times, states and hashes, so that the story still adds up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, delete, or_, select, update

from mailagent.flow import approvals as approving
from mailagent.flow.directory import ROLES, normalised, without_tag
from mailagent.flow.ledger import note
from mailagent.flow.octets import drop
from mailagent.flow.outbox import settle
from mailagent.flow.states import FINAL, DeliveryState, RecipientState
from mailagent.flow.threads import has_waiting
from mailagent.store.tables import (
    addresses,
    anchors,
    answer_invitations,
    approval_invitations,
    approvals,
    assessments,
    attachments,
    contact_notes,
    deliveries,
    evaluation_cases,
    events,
    hand_overs,
    ledger,
    list_entries,
    message_words,
    messages,
    outbound_mails,
    outbound_recipients,
    participants,
    questions,
    raw_messages,
    reminders,
    suppressions,
    thread_summaries,
    threads,
    tool_calls,
    trial_mails,
    turn_callbacks,
    turn_steps,
    turns,
)
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "COLUMNS",
    "TABLES",
    "By",
    "empty_turns",
    "has_words",
    "hush",
    "in_words",
    "remove_received",
    "remove_sent",
]

By = Literal["retention", "purge"]

_OUR_WORDS = (*DeliveryState, *RecipientState, "driven again", "content removed")
"""What a ledger line may still say after a purge: words that are the same for every mail."""

COLUMNS = (deliveries.c.content_removed_at, deliveries.c.content_removed_by)
"""Of a delivery, what `in_words` tells."""
TABLES = (
    *(raw_messages, deliveries, messages, message_words, attachments, threads, participants),
    *(anchors, turns, turn_steps, outbound_mails, outbound_recipients, hand_overs, events, ledger),
    *(answer_invitations, approvals, approval_invitations, suppressions, list_entries),
    *(evaluation_cases, assessments, trial_mails),
    *(tool_calls, turn_callbacks, thread_summaries, reminders, contact_notes, questions),
)
"""All that hold something of a mail or its people."""


def in_words(row: AnyRow) -> str | None:
    """What became of a mail's content, for people; None while it is there."""
    if row.content_removed_at is None:
        return None
    return f"removed by {row.content_removed_by} on {row.content_removed_at:%Y-%m-%d}"


# --- mail that came in ------------------------------------------------------------------------


def remove_received(tx: Transaction, delivery_ids: Collection[str], by: By, *, why: str) -> None:
    """Remove the content of deliveries; a purge first ends what is in work of them.

    Raw octets go once every delivery of them has gone. `why` stands in the ledger.
    """
    rows = _locked(tx, delivery_ids)
    ids = [row.id for row in rows]
    thread_ids = {row.thread_id for row in rows if row.thread_id}
    turn_ids = {row.turn_id for row in rows if row.turn_id}
    approving.forget(tx, ids, purge=by == "purge")
    read = tx.rows(select(messages).where(messages.c.delivery_id.in_(ids)))
    _drop_attachments(tx, [row.id for row in read])
    if by == "purge":
        turn_ids |= _stop_turns(tx, thread_ids, ids)
        _drop_anchors(tx, read)
        tx.execute(delete(messages).where(messages.c.delivery_id.in_(ids)))
        tx.execute(delete(contact_notes).where(contact_notes.c.delivery_id.in_(ids)))
        hush(tx, ledger.c.delivery_id.in_(ids))
        tx.execute(delete(answer_invitations).where(answer_invitations.c.delivery_id.in_(ids)))
        for row in rows:
            _forget_envelope(tx, row)
    else:
        tx.execute(
            delete(message_words).where(message_words.c.message_ref.in_([row.id for row in read]))
        )
        for row in read:
            _empty_message(tx, row)
    empty_turns(tx, turn_ids, by)
    tx.execute(delete(evaluation_cases).where(evaluation_cases.c.delivery_id.in_(ids)))
    tx.execute(delete(trial_mails).where(trial_mails.c.delivery_id.in_(ids)))
    marks = {"content_removed_at": tx.now, "content_removed_by": by, "held_until": None}
    tx.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(**marks))
    _drop_raw(tx, {row.raw_id for row in rows})
    _leave_threads(tx, thread_ids, by)
    for id_ in ids:
        note(tx, by, "content removed", why, delivery_id=id_)


def _locked(tx: Transaction, delivery_ids: Collection[str]) -> Sequence[AnyRow]:
    """The deliveries, their threads locked before them: in the order in which every step locks."""
    wanted = deliveries.c.id.in_(delivery_ids)
    of_them = tx.rows(select(deliveries.c.thread_id).where(wanted).distinct())
    thread_ids = [row.thread_id for row in of_them if row.thread_id]
    tx.rows(select(threads.c.id).where(threads.c.id.in_(thread_ids)).with_for_update())
    return tx.rows(select(deliveries).where(wanted).order_by(deliveries.c.id).with_for_update())


def _drop_raw(tx: Transaction, raw_ids: Iterable[str]) -> None:
    wanted = set(raw_ids)
    kept = select(deliveries.c.raw_id).where(
        deliveries.c.raw_id.in_(wanted), deliveries.c.content_removed_at.is_(None)
    )
    drop(tx, wanted - {row.raw_id for row in tx.rows(kept)})


def _empty_message(tx: Transaction, row: AnyRow) -> None:
    content = {
        **row.content,
        "subject": "",
        "text": "",
        "written": "",
        "html": None,
        "headers": [],
        "attachments": [],
    }
    tx.execute(
        update(messages)
        .where(messages.c.id == row.id)
        .values(subject="", written="", content=content)
    )


def _forget_envelope(tx: Transaction, row: AnyRow) -> None:
    """Empty what the door and the later steps wrote of the sender, and end what is in work."""
    values: dict[str, Any] = {
        "mail_from": "",
        "recipient": _without_words(tx, row),
        "origin": {"received_at": row.received_at.isoformat()},
        "reason": f"its content was removed by purge on {tx.now:%Y-%m-%d}",
        "archived_at": row.archived_at or tx.now,
        "claimed_by": None,
        "lease_until": None,
    }
    if DeliveryState(row.state) not in FINAL:
        values["state"] = DeliveryState.REJECTED
    tx.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))


def _without_words(tx: Transaction, row: AnyRow) -> str:
    """The recipient without what its sender chose: a tag, or a name that only a catch-all took."""
    local, domain = normalised(row.recipient)
    base = without_tag(local)
    known = select(addresses.c.id).where(addresses.c.local_part == base)
    ours = base in ROLES or tx.value(known.where(addresses.c.domain == domain)) is not None
    if ours and base == local:
        return str(row.recipient)
    # With the delivery's id: two recipients of one mail must not become the same.
    return f"{base if ours else 'removed'}+{row.id.rpartition('_')[2]}@{domain}"


# --- turns and threads ------------------------------------------------------------------------


def _stop_turns(
    tx: Transaction, thread_ids: Collection[str], delivery_ids: Collection[str] = ()
) -> set[str]:
    """End turns that run in conversations of which a mail goes, and return them: whoever thinks
    them has it before the mind, and has lost the claim. Their other mails wait for another turn.
    """
    running = tx.rows(
        select(turns.c.id, turns.c.thread_id).where(
            turns.c.thread_id.in_(list(thread_ids)), turns.c.state == "running"
        )
    )
    for turn in running:
        ended = {"state": "failed", "outcome": "failed", "finished_at": tx.now}
        tx.execute(update(turns).where(turns.c.id == turn.id).values(**ended))
        tx.execute(
            update(deliveries)
            .where(
                deliveries.c.turn_id == turn.id,
                deliveries.c.state == DeliveryState.THINKING,
                deliveries.c.id.not_in(delivery_ids),
            )
            .values(state=DeliveryState.ROUTED, turn_id=None)
        )
        free = {"claimed_by": None, "lease_until": None, "attempts": 0, "not_before": tx.now}
        ready = has_waiting(tx, turn.thread_id)
        tx.execute(
            update(threads).where(threads.c.id == turn.thread_id).values(ready=ready, **free)
        )
        tx.wake("think")
    return {turn.id for turn in running}


# A call that waits for a person, or for its worker, cannot be made any more: nobody knows what it
# was. Of one that a worker makes at this moment, nobody hears.
_MADE = (tool_calls.c.state == "agreed") & tool_calls.c.begun_at.is_not(None)
_UNASKED = case(
    (_MADE, "unknown"),
    (tool_calls.c.state.in_(["asked", "agreed"]), "refused"),
    else_=tool_calls.c.state,
)


def empty_turns(tx: Transaction, turn_ids: Collection[str], by: By) -> None:
    """Drop the steps of finished turns, and the words of their outcomes: they quote the mail."""
    done = tx.rows(
        select(turns.c.id, turns.c.outcome).where(
            turns.c.id.in_(list(turn_ids)), turns.c.state != "running"
        )
    )
    ids = [row.id for row in done]
    for table in (turn_steps, turn_callbacks, assessments):
        tx.execute(delete(table).where(table.c.turn_id.in_(ids)))
    # What an agent did stands in the story; what it did it with quotes the mail.
    tx.execute(
        update(tool_calls)
        .where(tool_calls.c.turn_id.in_(ids))
        .values(wish={}, result=None, why="", state=_UNASKED, claimed_by=None, lease_until=None)
    )
    for row in done:
        values = {"outcome": row.outcome.partition(":")[0]}
        if by == "purge":
            values["sender"] = ""
        tx.execute(update(turns).where(turns.c.id == row.id).values(**values))


def _leave_threads(tx: Transaction, thread_ids: Collection[str], by: By) -> None:
    """Empty the subjects of conversations of which nothing is left; a purge also forgets who took
    part, and by which ids a later mail would find them.
    """
    left = set(thread_ids) - _with_content(tx, thread_ids)
    hushed = left if by == "retention" else set(thread_ids)
    # Both tell of mails that are no longer there.
    for table in (thread_summaries, reminders):
        tx.execute(delete(table).where(table.c.thread_id.in_(list(thread_ids))))
    tx.execute(update(threads).where(threads.c.id.in_(list(hushed))).values(subject=""))
    if by == "purge":
        for table in (participants, anchors):
            tx.execute(delete(table).where(table.c.thread_id.in_(list(left))))


def _with_content(tx: Transaction, thread_ids: Collection[str]) -> set[str]:
    return {
        row.thread_id
        for table in (deliveries, outbound_mails)
        for row in tx.rows(
            select(table.c.thread_id)
            .where(table.c.thread_id.in_(list(thread_ids)), table.c.content_removed_at.is_(None))
            .distinct()
        )
    }


def _drop_anchors(tx: Transaction, read: Sequence[AnyRow]) -> None:
    own = [row.message_id for row in read if row.message_id]
    named = {
        one for row in read for one in (*row.content["in_reply_to"], *row.content["references"])
    }
    of_them = anchors.c.message_id.in_(own)
    # What they name and has not come is theirs too, though others may name it as well.
    expected = anchors.c.expected & anchors.c.message_id.in_(named)
    tx.execute(delete(anchors).where(of_them | expected))


def _drop_attachments(tx: Transaction, owner_ids: Sequence[str]) -> None:
    tx.execute(delete(attachments).where(attachments.c.owner_id.in_(owner_ids)))


def has_words() -> ColumnElement[bool]:
    """Whether a ledger line still says something that `hush` would take away."""
    return or_(ledger.c.why != "", ledger.c.what.not_in((*_OUR_WORDS, "")))


def hush(tx: Transaction, which: Any) -> None:
    """Leave of ledger lines their step, time and actor, and words that are the same for all."""
    what = case((ledger.c.what.in_(_OUR_WORDS), ledger.c.what), else_="")
    tx.execute(update(ledger).where(which, has_words()).values(what=what, why=""))


# --- mail that went out -----------------------------------------------------------------------


def remove_sent(tx: Transaction, outbound_ids: Collection[str], by: By, *, why: str) -> None:
    """Remove the content of mails that went out; a purge first ends what is in work of them.

    Whom a mail is being handed over for at this moment is `unknown` until the far side's answer.
    """
    mine = outbound_mails.c.id.in_(outbound_ids)
    rows = tx.rows(select(outbound_mails).where(mine).with_for_update())
    ids = [row.id for row in rows]
    if by == "purge":
        _forget_recipients(tx, ids)
        hush(tx, ledger.c.outbound_id.in_(ids))
        stopped = _stop_turns(tx, {row.thread_id for row in rows if row.thread_id})
        empty_turns(tx, stopped, by)
    _drop_attachments(tx, ids)
    tx.execute(update(events).where(events.c.outbound_id.in_(ids)).values(raw={}))
    for row in rows:
        values = {
            "subject": "",
            "outgoing": _emptied(row.outgoing, by),
            "content_removed_at": tx.now,
            "content_removed_by": by,
        }
        if by == "purge":
            values |= {"claimed_by": None, "lease_until": None, **settle(tx, row.id)}
        tx.execute(update(outbound_mails).where(outbound_mails.c.id == row.id).values(**values))
    _leave_threads(tx, {row.thread_id for row in rows if row.thread_id}, by)
    for id_ in ids:
        note(tx, by, "content removed", why, outbound_id=id_)


def _emptied(outgoing: dict[str, Any], by: By) -> dict[str, Any]:
    """The frozen mail as a value that still can be read, without what it said (and to whom)."""
    said = dict.fromkeys(("subject", "text"), "")
    lists = ["attachments", "headers"]
    if by == "purge":
        lists += ["to", "cc", "bcc", "reply_to", "references"]
    nothing: dict[str, Any] = {name: [] for name in lists} | {"html": None, "raw": None}
    ids = {"in_reply_to": None} if by == "purge" else {}
    return outgoing | said | nothing | ids


def _forget_recipients(tx: Transaction, outbound_ids: Sequence[str]) -> None:
    of_them = outbound_recipients.c.outbound_id.in_(outbound_ids)
    for was, becomes in (
        (RecipientState.QUEUED, RecipientState.CANCELLED),
        (RecipientState.SENDING, RecipientState.UNKNOWN),
    ):
        tx.execute(
            update(outbound_recipients)
            .where(of_them, outbound_recipients.c.state == was)
            .values(state=becomes)
        )
    tx.execute(update(outbound_recipients).where(of_them).values(address="", reason=""))
    tx.execute(
        update(hand_overs).where(hand_overs.c.outbound_id.in_(outbound_ids)).values(response="")
    )
    tx.execute(
        update(events)
        .where(events.c.outbound_id.in_(outbound_ids))
        .values(recipient=None, detail="")
    )
