"""What waits for a person, and would wait for ever if nobody looked?

Dead letters, quarantined mail, sends of which nobody knows the outcome, hand-overs of which nobody
heard, and what needs a yes. Health and metrics count them, the digest tells them to owners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, select

from mailagent.flow.states import DeliveryState
from mailagent.store.tables import approvals, deliveries, outbound_mails
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.store.types import verbatim

__all__ = ["KINDS", "count", "newest"]

_ARRIVING = ("queued", "sent", "delivered", "delayed")
"""States of a notice that reaches somebody, as far as anybody knows."""

_told = outbound_mails.alias("told")
_HEARD = (
    select(literal(1))
    .where(
        _told.c.workspace_id == deliveries.c.workspace_id,
        _told.c.answers_delivery_id == deliveries.c.id,
        _told.c.purpose == verbatim("notice"),
        _told.c.state.in_(_ARRIVING),
    )
    .exists()
)


def _received(state: DeliveryState, *also: ColumnElement[bool]) -> Select[Any]:
    columns = deliveries.c
    return select(columns.id, columns.received_at.label("since"), columns.reason).where(
        columns.state == state,
        # As the partial index says it, so that SQLite takes it.
        columns.state.not_in([verbatim("accepted"), verbatim("answered")]),
        columns.archived_at.is_(None),
        *also,
    )


_WHY_ASKED = {
    "draft": "an agent wrote it, and may not send it by itself",
    "call": "an agent wants to do it, and may not by itself",
    "mail": "it came in, and waits before its agent",
}
_WAITING: Mapping[str, Select[Any]] = {
    "failed": _received(DeliveryState.FAILED),
    "quarantined": _received(DeliveryState.QUARANTINED),
    "unknown": select(
        outbound_mails.c.id,
        outbound_mails.c.created_at.label("since"),
        literal("nobody knows whether it was taken").label("reason"),
    ).where(
        outbound_mails.c.state == "unknown",
        outbound_mails.c.state.not_in([verbatim(one) for one in ("queued", "sent", "delivered")]),
    ),
    "approval": select(
        approvals.c.id,
        approvals.c.created_at.label("since"),
        case(_WHY_ASKED, value=approvals.c.kind).label("reason"),
    ).where(approvals.c.state == verbatim("waiting")),
    # Each kind along a partial index, this one along two that hold all that is asked.
    "unreached": select(
        deliveries.c.id, deliveries.c.received_at.label("since"), deliveries.c.reason
    ).where(
        deliveries.c.state == verbatim(str(DeliveryState.HANDED_TO_A_PERSON)),
        deliveries.c.archived_at.is_(None),
        ~_HEARD,
    ),
}
_COUNTS = {
    kind: statement.with_only_columns(func.count(), maintain_column_froms=True)
    for kind, statement in _WAITING.items()
}

KINDS = tuple(_WAITING)


def count(tx: Transaction) -> dict[str, int]:
    """How many of each kind wait, in the transaction's workspace or in all."""
    return {kind: int(tx.value(statement)) for kind, statement in _COUNTS.items()}


def newest(tx: Transaction, kind: str, limit: int) -> Sequence[AnyRow]:
    """The last ones of a kind: rows of `id`, `since` and `reason`, newest first."""
    statement = _WAITING[kind]
    since = statement.selected_columns["since"]
    return tx.rows(statement.order_by(since.desc()).limit(limit))
