"""What may a person change of a draft before it is decided, and what is asked of it then?

Words, recipients, files. The changed draft is frozen anew and held against the policy again: what
it has beyond the one before, and the policy does not give, stands among its reasons, and is for
people only who may send a mail themselves. No lapse of time approves it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select, update

from mailagent.agents.trust import Action, Do, decide
from mailagent.errors import Conflict, Malformed
from mailagent.flow import drafts, policies
from mailagent.flow.approval_rows import draft_of, get, name_of, waiting
from mailagent.flow.ledger import note
from mailagent.flow.limits import of_agent
from mailagent.flow.services import Services
from mailagent.flow.standing import judge_thread
from mailagent.flow.values import load_mails, outgoing_to_json
from mailagent.mail import Address
from mailagent.mime import build
from mailagent.outgoing import Outgoing, OutgoingAttachment
from mailagent.store.tables import agents, approvals
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Changes", "edit"]

_MOST_RECIPIENTS = 50
_MOST_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of a draft; None of a field leaves it."""

    text: str | None = None
    subject: str | None = None
    to: tuple[Address, ...] | None = None
    cc: tuple[Address, ...] | None = None
    bcc: tuple[Address, ...] | None = None
    add: tuple[OutgoingAttachment, ...] = ()
    """Files that go along as well."""
    drop: tuple[str, ...] = ()
    """Names of files that go along no more."""


def edit(
    tx: Transaction,
    services: Services,
    approval_id: str,
    changes: Changes,
    *,
    actor: str,
    widening: Callable[[Sequence[str]], None],
    digest: str | None = None,
) -> AnyRow:
    """Change a waiting draft; the difference is kept beside it, and it goes on waiting.

    HTML goes with the text it was made for. `widening` is called with what the change adds that
    the policy does not give, and raises for whoever may not add it. Raises NotFound, Malformed,
    Conflict.
    """
    row = waiting(tx, approval_id, digest)
    before = draft_of(row)
    if before is None:
        raise Conflict(f"{approval_id} waits with a {row.kind}: there is no draft to change")
    after = _changed(before, changes)
    build.check(after)
    if after.digest() == before.digest():
        raise Malformed("text", "changes nothing: approve the draft as it stands")
    added = list(_added(tx, services, row, before, after))
    if added:
        widening(added)
    changed = {
        "at": tx.now.isoformat(),
        "by": actor,
        "from": before.digest(),
        "to": after.digest(),
        "difference": _difference(before, after),
    }
    values = {
        "outgoing": outgoing_to_json(after),
        "digest": after.digest(),
        "edits": [*row.edits, changed],
        "reasons": [*row.reasons, *(f"an edit added: {one}" for one in added)],
        "at_expiry": "reject" if added else row.at_expiry,
    }
    tx.execute(update(approvals).where(approvals.c.id == approval_id).values(**values))
    why = f"{before.digest()[:12]} is now {after.digest()[:12]}"
    note(
        tx,
        "approve",
        f"the draft was changed by {name_of(actor)}",
        "; ".join([why, *added]),
        actor=actor,
        delivery_id=row.delivery_id,
    )
    return get(tx, approval_id)


def _changed(before: Outgoing, changes: Changes) -> Outgoing:
    text = changes.text
    if text is not None and not text.strip():
        raise Malformed("text", "is empty: write the answer, or reject the draft")
    kept = tuple(one for one in before.attachments if one.filename not in changes.drop)
    missing = set(changes.drop) - {one.filename for one in before.attachments}
    if missing:
        known = ", ".join(one.filename for one in before.attachments) or "it has none"
        raise Malformed("drop", f"no file is called {min(missing)[:80]!r}: {known}")
    after = replace(
        before,
        text=before.text if text is None else text,
        html=before.html if text is None or text == before.text else None,
        subject=before.subject if changes.subject is None else changes.subject,
        to=before.to if changes.to is None else changes.to,
        cc=before.cc if changes.cc is None else changes.cc,
        bcc=before.bcc if changes.bcc is None else changes.bcc,
        attachments=(*kept, *changes.add),
    )
    if not after.to:
        raise Malformed("to", "is empty: name somebody, or reject the draft")
    if len(after.to) + len(after.cc) + len(after.bcc) > _MOST_RECIPIENTS:
        raise Malformed("to", f"with cc and bcc has more than {_MOST_RECIPIENTS} recipients")
    if sum(len(one.content) for one in after.attachments) > _MOST_BYTES:
        raise Malformed("add", f"the files are more than {_MOST_BYTES:,} octets together")
    return after


def _added(
    tx: Transaction, services: Services, row: AnyRow, before: Outgoing, after: Outgoing
) -> Iterator[str]:
    """What the policy does not give by itself, of that which only the changed draft has."""
    limits = of_agent(tx, row.agent_id)

    def found(draft: Outgoing) -> Collection[tuple[str | None, str]]:
        looked = drafts.findings(
            tx, services, draft, row.thread_id, sources=(), amount=limits.amount
        )
        return dict.fromkeys((one.action, one.words) for one in looked)

    known = found(before)
    fresh = [one for one in found(after) if one not in known]
    if not fresh:
        return
    handle = tx.value(select(agents.c.handle).where(agents.c.id == row.agent_id))
    policy = policies.of_agent(tx, row.agent_id, handle)
    mails = load_mails(tx, [row.delivery_id])
    standing = judge_thread(tx, row.thread_id, mails, answers=True).standing
    for action, words in fresh:
        if action is None:
            yield words
            continue
        verdict = decide(policy, standing, Action(action))
        if not isinstance(verdict, Do):
            yield f"{words} ({verdict.rule})"


def _difference(before: Outgoing, after: Outgoing) -> str:
    old, new = list(_lines(before)), list(_lines(after))
    return "\n".join(difflib.unified_diff(old, new, "draft", "changed", lineterm="", n=2))


def _lines(draft: Outgoing) -> Iterator[str]:
    for field, mailboxes in (("To", draft.to), ("Cc", draft.cc), ("Bcc", draft.bcc)):
        if mailboxes:
            yield f"{field}: {', '.join(one.address for one in mailboxes)}"
    yield f"Subject: {draft.subject}"
    for file in draft.attachments:
        yield f"File: {file.filename} ({file.content_type}, {len(file.content):,} octets)"
    yield ""
    yield from draft.text.splitlines()
