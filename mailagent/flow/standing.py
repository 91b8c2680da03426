"""Who wrote this mail, as far as it is proven, and what have people said of them?

Evidence first, then lists, then thread and workspace: a name in a header is nobody's standing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, exists, func, select

from mailagent.agents.lists import Entry, What, narrowest, patterns
from mailagent.agents.trust import Standing
from mailagent.flow.decide import proven
from mailagent.flow.directory import normalised, without_tag
from mailagent.flow.held_mail import let_in
from mailagent.flow.values import load_mails
from mailagent.mail import Mail
from mailagent.store.tables import (
    deliveries,
    list_entries,
    memberships,
    messages,
    outbound_mails,
    participants,
    people,
)
from mailagent.store.transaction import Transaction

__all__ = [
    "Judged",
    "blocked",
    "judge",
    "judge_thread",
    "listed",
    "mailbox_of",
    "stopped_recipients",
]


@dataclass(frozen=True, slots=True)
class Judged:
    """A standing, and the evidence for it in words."""

    standing: Standing
    why: str


def judge(tx: Transaction, mail: Mail, thread_id: str, *, answers: bool) -> Judged:
    """The standing of a mail's author in its thread; `answers` when it joined one that was there.

    More than a correspondent is only who DMARC proves for exactly the domain in From: SPF for an
    envelope sender says nothing of the header (RFC 9989), and a local test nothing at all.
    """
    if (stopped := blocked(tx, mail, answers=answers)) is not None:
        return Judged(Standing.BLOCKED, str(stopped))
    evidence = proven(mail)
    if evidence is None:
        return Judged(Standing.UNPROVEN, "nothing proves who wrote")
    author = mail.content.from_[0]
    verdict = mail.authentication.dmarc
    if mail.authentication.aligned and (verdict.domain or author.domain) == author.domain:
        if tx.value(_IS_MEMBER, {"author": author.address.lower()}):
            return Judged(Standing.MEMBER, f"a person of the workspace; {evidence}")
        entry = listed(tx, author.address, _what(answers), mailbox_of(mail))
        if entry is not None and entry.verdict == "allow":
            return Judged(Standing.ALLOWED, f"{entry}; {evidence}")
    if tx.value(_CORRESPONDS, {"thread": thread_id, "author": author.address.lower()}):
        return Judged(Standing.CORRESPONDENT, f"a person of ours wrote to them; {evidence}")
    return Judged(Standing.STRANGER, evidence)


def foresee_writers(tx: Transaction, thread_id: str) -> None:
    """Foresee what `judge_thread` asks of a thread."""
    tx.foresee(_WRITERS, {"thread": thread_id})


def foresee_judging(tx: Transaction, thread_id: str, mail: Mail, *, answers: bool) -> None:
    """Foresee what `judge` asks of a mail."""
    if not mail.content.from_:
        return
    foresee_blocked(tx, mail, answers=answers)
    author = mail.content.from_[0].address.lower()
    tx.foresee(_CORRESPONDS, {"thread": thread_id, "author": author})


def judge_thread(
    tx: Transaction, thread_id: str, mails: Sequence[Mail], *, answers: bool
) -> Judged:
    """The least standing of everybody whose words the agent was given: the mails of a turn, and the
    newest mail of each other writer of the thread.

    A colleague's question does not lend their standing to what a stranger wrote above it.
    """
    found = [_let_in(tx, one, judge(tx, one, thread_id, answers=answers)) for one in mails]
    known = {one.content.from_[0].address.lower() for one in mails if one.content.from_}
    others: dict[str, str] = {}
    for row in tx.rows(_WRITERS, {"thread": thread_id}):
        if row.from_address.lower() not in known:
            others.setdefault(row.from_address.lower(), row.delivery_id)
    if others:
        earlier = load_mails(tx, list(others.values()))
        found += [_let_in(tx, one, judge(tx, one, thread_id, answers=True)) for one in earlier]
    return min(found, key=lambda one: one.standing)


def _let_in(tx: Transaction, mail: Mail, judged: Judged) -> Judged:
    """Whom a person let in gets what a stranger gets."""
    if judged.standing is Standing.UNPROVEN and let_in(tx, mail.delivery_id):
        return Judged(Standing.STRANGER, f"a person let the mail in; {judged.why}")
    return judged


_WRITERS = (
    select(messages.c.from_address, messages.c.delivery_id)
    .join(deliveries, deliveries.c.id == messages.c.delivery_id)
    .where(
        messages.c.thread_id == bindparam("thread"),
        messages.c.kind == "person",
        deliveries.c.state.not_in(["quarantined", "duplicate", "merged", "rejected"]),
    )
    .order_by(deliveries.c.received_at.desc(), deliveries.c.id.desc())
    .limit(50)
)


def blocked(tx: Transaction, mail: Mail, *, answers: bool) -> Entry | None:
    """The entry that keeps this mail from its agent, by any mailbox that claims to have sent it."""
    what, mailbox = _what(answers), mailbox_of(mail)
    for address in _claimed(mail):
        entry = listed(tx, address, what, mailbox)
        if entry is not None and entry.verdict == "block":
            return entry
    return None


def foresee_blocked(tx: Transaction, mail: Mail, *, answers: bool) -> None:
    """Foresee what `blocked` asks, of the first mailbox."""
    for address in _claimed(mail)[:1]:
        asked = _asked(patterns(address), _what(answers), mailbox_of(mail))
        tx.foresee(_FITTING, asked)


def _claimed(mail: Mail) -> Sequence[str]:
    claimed = [one.address.lower() for one in mail.content.from_]
    if mail.mail_from:
        claimed.append(mail.mail_from.lower())
    return list(dict.fromkeys(claimed))


def listed(tx: Transaction, address: str, what: What, mailbox: str) -> Entry | None:
    """What the lists say of an address, for one of our addresses."""
    return narrowest(_fitting(tx, patterns(address), what, mailbox), address, what, mailbox)


def stopped_recipients(tx: Transaction, from_address: str, to: Sequence[str]) -> Mapping[str, str]:
    """Of these recipients of a mail, those that a list keeps us from: lower-case address → why."""
    mailbox = from_address.lower()
    entries = _fitting(tx, _of_all(to), "send", mailbox)
    found = {one.lower(): narrowest(entries, one, "send", mailbox) for one in to} if entries else {}
    return {
        address: f"a list says: {entry}"
        for address, entry in found.items()
        if entry is not None and entry.verdict == "block"
    }


def foresee_stopped(tx: Transaction, from_address: str, to: Sequence[str]) -> None:
    """Foresee what `stopped_recipients` asks."""
    tx.foresee(_FITTING, _asked(_of_all(to), "send", from_address))


def _of_all(to: Sequence[str]) -> Sequence[str]:
    return sorted({pattern for one in to for pattern in patterns(one)})


def mailbox_of(mail: Mail) -> str:
    """The address of ours that a mail was written to, without a tag."""
    local, domain = normalised(mail.recipient)
    return f"{without_tag(local)}@{domain}"


def _what(answers: bool) -> What:
    return "reply" if answers else "receive"


def _fitting(tx: Transaction, wanted: Iterable[str], what: What, mailbox: str) -> Sequence[Entry]:
    rows = tx.rows(_FITTING, _asked(wanted, what, mailbox))
    return [Entry(row.what, row.verdict, row.pattern, row.mailbox) for row in rows]


def _asked(wanted: Iterable[str], what: What, mailbox: str) -> Mapping[str, object]:
    return {"patterns": list(wanted), "what": what, "any": "", "mailbox": mailbox.lower()}


_FITTING = select(
    list_entries.c.what, list_entries.c.verdict, list_entries.c.pattern, list_entries.c.mailbox
).where(
    list_entries.c.pattern.in_(bindparam("patterns", expanding=True)),
    list_entries.c.what == bindparam("what"),
    list_entries.c.mailbox.in_([bindparam("any"), bindparam("mailbox")]),
)
_IS_MEMBER = (
    select(people.c.id)
    .join(memberships, memberships.c.person_id == people.c.id)
    .where(func.lower(people.c.email) == bindparam("author"))
)
# What an agent wrote by itself makes nobody known: any stranger gets such an answer.
_CORRESPONDS = select(participants.c.address).where(
    participants.c.thread_id == bindparam("thread"),
    participants.c.address == bindparam("author"),
    participants.c.authenticated,
    exists()
    .where(
        outbound_mails.c.workspace_id == participants.c.workspace_id,
        outbound_mails.c.thread_id == participants.c.thread_id,
        outbound_mails.c.purpose.in_(["person", "new"]),
    )
    .correlate(participants),
)
