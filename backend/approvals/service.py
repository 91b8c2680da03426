"""How do people see what waits for their yes, and decide it?

An agent's own key sees nothing of what waits of that agent: it must not judge itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from backend.access.principal import Forbidden
from backend.naming import checked_text
from backend.paging import Page, Window, page
from mailagent.errors import NotFound
from mailagent.flow import approval_edits, approval_rows, approvals, asked_calls
from mailagent.flow.approval_edits import Changes
from mailagent.flow.approval_rows import Kind, State
from mailagent.flow.asked_calls import CallOfTool
from mailagent.flow.services import Services
from mailagent.flow.values import load_mails
from mailagent.mail import Mail
from mailagent.outgoing import Outgoing
from mailagent.store import tables
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Approval", "Edit", "Incoming", "approve", "edit", "get", "listing", "reject"]

_REASON_CHARACTERS = 500
_TEXT_CHARACTERS = 500_000


@dataclass(frozen=True, slots=True)
class Edit:
    """What somebody changed of a draft before it was decided."""

    at: datetime
    by: str
    from_digest: str
    to_digest: str
    difference: str
    """A unified difference of subject and text."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """The mail that is answered, or that waits itself."""

    delivery_id: str
    from_address: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Approval:
    """One thing that waits, or waited, for a person's yes."""

    id: str
    kind: str
    """`draft`: of an answer; `call`: of a tool; `mail`: one that came in and is held."""
    state: str
    agent_id: str | None
    agent: str | None
    """None for a mail that a rule holds and that would reach no agent without it."""
    thread_id: str | None
    reasons: tuple[str, ...]
    digest: str
    """Of what waits as it stands: give it with a decision, so that no other draft is decided."""
    draft: Outgoing | None
    call: CallOfTool | None
    incoming: Incoming | None
    """None when its content was removed."""
    assessment: Mapping[str, Any] | None
    edits: tuple[Edit, ...]
    created_at: datetime
    expires_at: datetime
    at_expiry: str
    decided_at: datetime | None
    decided_by: str | None
    decision: str
    outbound_id: str | None


def listing(
    tx: Transaction,
    window: Window,
    *,
    state: State | None = None,
    kind: Kind | None = None,
    but_agent: str | None = None,
    newest_first: bool = True,
) -> Page[Approval]:
    """What waits or waited, without what is `but_agent`'s own."""
    table = tables.approvals
    statement = select(table)
    if state is not None:
        statement = statement.where(table.c.state == state)
    if kind is not None:
        statement = statement.where(table.c.kind == kind)
    if but_agent is not None:
        statement = statement.where(table.c.agent_id.is_distinct_from(but_agent))
    found = page(tx, statement, window, by=table.c.id, newest_first=newest_first)
    return found.map(lambda row: _approval(tx, row))


def get(tx: Transaction, approval_id: str, *, but_agent: str | None = None) -> Approval:
    """One of them. Raises NotFound, also for `but_agent`'s own."""
    row = approval_rows.get(tx, approval_id)
    if but_agent is not None and row.agent_id == but_agent:
        raise NotFound(f"there is no approval {approval_id[:80]!r}")
    return _approval(tx, row)


def approve(
    tx: Transaction,
    services: Services,
    approval_id: str,
    *,
    actor: str,
    digest: str | None = None,
    but_agent: str | None = None,
) -> Approval:
    """Say yes. Raises NotFound; Conflict when it was decided, is stale, or was changed since."""
    get(tx, approval_id, but_agent=but_agent)
    approvals.approve(tx, services, approval_id, actor=actor, digest=digest)
    return get(tx, approval_id)


def reject(
    tx: Transaction,
    approval_id: str,
    *,
    actor: str,
    reason: str = "",
    but_agent: str | None = None,
) -> Approval:
    """Say no. Raises NotFound, Malformed, Conflict."""
    get(tx, approval_id, but_agent=but_agent)
    said = checked_text("reason", reason, at_most=_REASON_CHARACTERS)
    approvals.reject(tx, approval_id, actor=actor, reason=said)
    return get(tx, approval_id)


def edit(
    tx: Transaction,
    services: Services,
    approval_id: str,
    changes: Changes,
    *,
    actor: str,
    may_send: bool,
    digest: str | None = None,
    but_agent: str | None = None,
) -> Approval:
    """Change a draft. Who may not send mail themselves (`may_send`) adds nothing that the policy
    does not give. Raises NotFound, Forbidden, Malformed, Conflict.
    """
    get(tx, approval_id, but_agent=but_agent)
    if changes.text is not None:
        checked_text("text", changes.text, at_most=_TEXT_CHARACTERS)

    def widening(added: Sequence[str]) -> None:
        if not may_send:
            raise Forbidden(f"this needs the permission message.send: {'; '.join(added)}")

    approval_edits.edit(
        tx, services, approval_id, changes, actor=actor, widening=widening, digest=digest
    )
    return get(tx, approval_id)


def _approval(tx: Transaction, row: AnyRow) -> Approval:
    agents = tables.agents
    mails = load_mails(tx, [row.delivery_id])
    return Approval(
        id=row.id,
        kind=row.kind,
        state=row.state,
        agent_id=row.agent_id,
        agent=tx.value(select(agents.c.handle).where(agents.c.id == row.agent_id)),
        thread_id=row.thread_id,
        reasons=tuple(row.reasons),
        digest=row.digest,
        draft=approval_rows.draft_of(row),
        call=asked_calls.of_approval(tx, row),
        incoming=_incoming(mails[0]) if mails else None,
        assessment=row.assessment,
        edits=tuple(
            Edit(
                datetime.fromisoformat(one["at"]),
                one["by"],
                one["from"],
                one["to"],
                one["difference"],
            )
            for one in row.edits
        ),
        created_at=row.created_at,
        expires_at=row.expires_at,
        at_expiry=row.at_expiry,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        decision=row.decision,
        outbound_id=row.outbound_id,
    )


def _incoming(mail: Mail) -> Incoming:
    content = mail.content
    author = content.from_[0].address if content.from_ else ""
    return Incoming(mail.delivery_id, author, content.subject, content.text)
