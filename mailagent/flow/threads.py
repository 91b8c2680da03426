"""Which conversation does a mail belong to?

Three anchors, looked up within workspace and agent only: our signed reply address, our own
Message-IDs and the ids a provider gave them, and the ids of mails that came in, or that those name:
mail comes in any order. The subject never threads. A token or an id proves the thread, never the
person: who is not an authenticated participant gets a new thread with a `related` link and none of
its history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, select, update

from mailagent.flow.directory import normalised
from mailagent.mail import Mail, Thread, ThreadEntry
from mailagent.mime import threading as anchoring
from mailagent.store.tables import (
    anchors,
    deliveries,
    messages,
    outbound_mails,
    participants,
    threads,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id, new_reply_key

__all__ = [
    "Joined",
    "anchor",
    "has_waiting",
    "history",
    "join",
    "named_by",
    "participate",
    "replies_within",
    "set_ready",
    "set_ready_if_waited_for",
]

_TOKEN_TAG = "+t."  # noqa: S105 - the mark before a token, not a token
_ENTRIES = 200
_ENTRY_CHARACTERS = 20_000
_EXPECTED_OF_A_MAIL = 20
"""Of the mails that one names, the nearest: an older one has come, or never will."""
_LONGEST_ID = 998


@dataclass(frozen=True, slots=True)
class Joined:
    """The thread of a mail; `why` names the anchor, or why there was none."""

    thread_id: str
    new: bool
    why: str


def join(
    tx: Transaction, secrets: Secrets, mail: Mail, agent_id: str, *, authenticated: bool
) -> Joined:
    """Find the mail's thread with this agent, or open one."""
    known = _known(tx, mail, agent_id)
    found, why = _by_token(tx, secrets, mail, agent_id)
    if found is None:
        found, why = _by_ids(mail, known)
    author = mail.content.from_[0].address.lower() if len(mail.content.from_) == 1 else ""
    related = None
    if found is not None:
        if authenticated and _takes_part(tx, found, author):
            _enter(tx, found, mail, agent_id, known)
            at = mail.received_at
            tx.execute(_LATER, {"thread": found, "last_at_before": at, "last_at": at})
            return Joined(found, new=False, why=why)
        related, why = found, f"{why}, but the sender is no authenticated participant of it"
    thread_id = new_id("thr")
    tx.insert(
        threads,
        {
            "id": thread_id,
            "agent_id": agent_id,
            "subject": mail.content.subject,
            "reply_key": new_reply_key(),
            "related_thread_id": related,
            "created_at": tx.now,
            "last_at": mail.received_at,
            "ready": False,
            "not_before": tx.now,
        },
    )
    if author:
        participate(tx, thread_id, [author], authenticated=authenticated)
    _enter(tx, thread_id, mail, agent_id, known)
    return Joined(thread_id, new=True, why=why)


def participate(
    tx: Transaction, thread_id: str, addresses: Iterable[str], *, authenticated: bool
) -> None:
    """Note who takes part: who wrote with proof, and whom we wrote to."""
    # What was proven once stays so.
    write = tx.insert_or_update if authenticated else tx.insert_new
    for address in addresses:
        row = {
            "thread_id": thread_id,
            "address": address.lower(),
            "authenticated": authenticated,
        }
        write(participants, row, unique=["thread_id", "address"])


def anchor(tx: Transaction, agent_id: str, thread_id: str, message_ids: Iterable[str]) -> None:
    """Let a later mail find this thread by any of these Message-IDs."""
    for message_id in message_ids:
        # What is there goes before what was only expected, wherever that was.
        row = _anchor(agent_id, thread_id, message_id, expected=False)
        tx.insert_or_update(anchors, row, unique=_BY_NAME, only=anchors.c.expected)


_BY_NAME = ("agent_id", "message_id")


def _anchor(
    agent_id: str, thread_id: str, message_id: str, *, expected: bool
) -> Mapping[str, object]:
    return {
        "agent_id": agent_id,
        "message_id": message_id,
        "thread_id": thread_id,
        "expected": expected,
    }


_THREAD = update(threads).where(threads.c.id == bindparam("thread"))
_LATER = _THREAD.where(threads.c.last_at < bindparam("last_at_before"))


def set_ready(tx: Transaction, thread_id: str) -> None:
    """Make the thread due for a turn now."""
    tx.execute(_THREAD, {"thread": thread_id, "ready": True})
    tx.wake("think")


_CAME = (
    select(messages.c.from_address, messages.c.at, messages.c.subject, messages.c.written)
    .join(deliveries, deliveries.c.id == messages.c.delivery_id)
    .where(
        messages.c.thread_id == bindparam("thread"),
        messages.c.kind == "person",
        messages.c.delivery_id.not_in(bindparam("without", expanding=True)),
        deliveries.c.state.not_in(["quarantined", "duplicate", "merged", "rejected"]),
    )
    .order_by(messages.c.at.desc())
    .limit(_ENTRIES)
)
_WENT = (
    select(
        outbound_mails.c.from_address,
        outbound_mails.c.created_at,
        outbound_mails.c.subject,
        outbound_mails.c.outgoing["text"].as_string(),
    )
    .where(
        outbound_mails.c.thread_id == bindparam("thread"),
        outbound_mails.c.purpose.in_(["reply", "person", "new", "tool"]),
    )
    .order_by(outbound_mails.c.created_at.desc())
    .limit(_ENTRIES)
)


def foresee_history(
    tx: Transaction, thread_id: str, *, without: Iterable[str], answered: bool
) -> None:
    """Foresee what `history` asks."""
    tx.foresee(_CAME, {"thread": thread_id, "without": list(without)})
    if answered:
        tx.foresee(_WENT, {"thread": thread_id})


def history(
    tx: Transaction,
    thread_id: str,
    subject: str,
    *,
    without: Iterable[str],
    answered: bool = True,
) -> Thread:
    """The conversation before the mails of this turn, oldest first, at most 200 entries.

    Not `answered`: nothing has gone out in it, and nothing is looked for.
    """
    came = tx.rows(_CAME, {"thread": thread_id, "without": list(without)})
    went = tx.rows(_WENT, {"thread": thread_id}) if answered else ()
    entries = [ThreadEntry(r[0], False, r[1], r[2], r[3][:_ENTRY_CHARACTERS]) for r in came]
    entries += [ThreadEntry(r[0], True, r[1], r[2], r[3][:_ENTRY_CHARACTERS]) for r in went]
    entries.sort(key=lambda entry: entry.at)
    return Thread(thread_id, subject, tuple(entries[-_ENTRIES:]))


_OF_KEY = select(threads.c.id).where(
    threads.c.reply_key == bindparam("key"), threads.c.agent_id == bindparam("agent")
)


def _by_token(
    tx: Transaction, secrets: Secrets, mail: Mail, agent_id: str
) -> tuple[str | None, str]:
    local, domain = normalised(mail.recipient)
    base, mark, token = local.partition(_TOKEN_TAG)
    key = secrets.read_reply_token(token, f"{base}@{domain}") if mark else None
    if key is None:
        return None, "a new conversation"
    return tx.value(_OF_KEY, {"key": key, "agent": agent_id}), "our reply address names the thread"


_OF_IDS = select(anchors.c.message_id, anchors.c.thread_id, anchors.c.expected).where(
    anchors.c.agent_id == bindparam("agent"),
    anchors.c.message_id.in_(bindparam("message_ids", expanding=True)),
)


def named_by(tx: Transaction, agent_id: str, message_ids: Iterable[str]) -> str | None:
    """The agent's thread of the first of these Message-IDs that it knows."""
    ids = list(message_ids)
    rows = tx.rows(_OF_IDS, {"agent": agent_id, "message_ids": ids}) if ids else []
    found = {row.message_id: row.thread_id for row in rows if not row.expected}
    return next((found[one] for one in ids if one in found), None)


def _known(tx: Transaction, mail: Mail, agent_id: str) -> Mapping[str, AnyRow]:
    """The anchors there are of a mail's own Message-ID and of those that it names."""
    asked = _anchors_of(mail, agent_id)
    rows = tx.rows(_OF_IDS, asked) if asked["message_ids"] else []
    return {row.message_id: row for row in rows}


def foresee(tx: Transaction, mail: Mail, agent_id: str) -> None:
    """Foresee what `join` asks."""
    asked = _anchors_of(mail, agent_id)
    if asked["message_ids"]:
        tx.foresee(_OF_IDS, asked)


def _anchors_of(mail: Mail, agent_id: str) -> Mapping[str, object]:
    own = mail.content.message_id
    ids = [*anchoring.anchors(mail.content), *([own] if own else [])]
    return {"agent": agent_id, "message_ids": ids}


def _by_ids(mail: Mail, known: Mapping[str, AnyRow]) -> tuple[str | None, str]:
    candidates = anchoring.anchors(mail.content)
    for message_id in candidates:
        if (row := known.get(message_id)) is not None:
            also = ", as an earlier mail does" if row.expected else ""
            return row.thread_id, f"it answers {message_id}{also}"
    own = known.get(mail.content.message_id or "")
    if own is not None and own.expected:
        return own.thread_id, "a mail that answers it came before it"
    if not candidates:
        return None, "a new conversation"
    return None, "a new conversation: it answers nothing that this agent knows"


_AUTHENTICATED = select(participants.c.authenticated).where(
    participants.c.thread_id == bindparam("thread"), participants.c.address == bindparam("author")
)


def _takes_part(tx: Transaction, thread_id: str, author: str) -> bool:
    return bool(tx.value(_AUTHENTICATED, {"thread": thread_id, "author": author}))


def _enter(
    tx: Transaction, thread_id: str, mail: Mail, agent_id: str, known: Mapping[str, AnyRow]
) -> None:
    if mail.content.message_id:
        anchor(tx, agent_id, thread_id, [mail.content.message_id])
    for message_id in anchoring.anchors(mail.content)[:_EXPECTED_OF_A_MAIL]:
        if message_id not in known and len(message_id) <= _LONGEST_ID:
            expected = _anchor(agent_id, thread_id, message_id, expected=True)
            tx.insert_unless_there(anchors, expected, unique=_BY_NAME)


_REPLIES = (
    select(func.count())
    .select_from(outbound_mails)
    .where(
        outbound_mails.c.thread_id == bindparam("thread"),
        outbound_mails.c.purpose == "reply",
        outbound_mails.c.created_at >= bindparam("since"),
    )
)


def replies_within(tx: Transaction, thread_id: str, since: datetime) -> int:
    """How many automatic answers the thread has had since a time."""
    return int(tx.value(_REPLIES, {"thread": thread_id, "since": since}))


_ONE_WAITING = (
    select(deliveries.c.id)
    .where(deliveries.c.thread_id == bindparam("thread"), deliveries.c.state == "routed")
    .limit(1)
)


_READY_IF_WAITED_FOR = _THREAD.where(
    _ONE_WAITING.where(deliveries.c.workspace_id == threads.c.workspace_id)
    .correlate(threads)
    .exists()
)


def set_ready_if_waited_for(tx: Transaction, thread_id: str) -> None:
    """Make the thread due for a turn if mails of it wait for one."""
    tx.execute(_READY_IF_WAITED_FOR, {"thread": thread_id, "ready": True})


def has_waiting(tx: Transaction, thread_id: str) -> bool:
    """Whether mails of the thread wait for a turn."""
    return tx.row(_ONE_WAITING, {"thread": thread_id}) is not None
