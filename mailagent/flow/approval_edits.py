"""What may a person change of a draft before it is decided, and what is asked of it then?"""

from __future__ import annotations

import difflib
from dataclasses import replace

from sqlalchemy import update

from mailagent.errors import Conflict, Malformed
from mailagent.flow.approval_rows import draft_of, get, name_of, waiting
from mailagent.flow.ledger import note
from mailagent.flow.values import outgoing_to_json
from mailagent.mime import build
from mailagent.outgoing import Outgoing
from mailagent.store.tables import approvals
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["edit"]


def edit(
    tx: Transaction,
    approval_id: str,
    *,
    actor: str,
    text: str | None = None,
    subject: str | None = None,
    digest: str | None = None,
) -> AnyRow:
    """Change the words of a waiting draft; what changed is kept beside it.

    HTML goes with the text it was made for. Raises NotFound, Malformed, Conflict.
    """
    row = waiting(tx, approval_id, digest)
    before = draft_of(row)
    if before is None:
        raise Conflict(f"{approval_id} is a mail that came in: there is no draft to change")
    if text is not None and not text.strip():
        raise Malformed("text", "is empty: write the answer, or reject the draft")
    after = replace(
        before,
        text=before.text if text is None else text,
        html=before.html if text is None or text == before.text else None,
        subject=before.subject if subject is None else subject,
    )
    build.check(after)
    if after.digest() == before.digest():
        raise Malformed("text", "changes nothing: approve the draft as it stands")
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
    }
    tx.execute(update(approvals).where(approvals.c.id == approval_id).values(**values))
    note(
        tx,
        "approve",
        f"the draft was changed by {name_of(actor)}",
        f"{before.digest()[:12]} is now {after.digest()[:12]}",
        actor=actor,
        delivery_id=row.delivery_id,
    )
    return get(tx, approval_id)


def _difference(before: Outgoing, after: Outgoing) -> str:
    old = [f"Subject: {before.subject}", "", *before.text.splitlines()]
    new = [f"Subject: {after.subject}", "", *after.text.splitlines()]
    return "\n".join(difflib.unified_diff(old, new, "draft", "changed", lineterm="", n=2))
