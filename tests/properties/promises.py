"""Which promises can be read from the rows alone, whatever happened?

`always` holds after every commit, also one after which the process died; `at_rest` when nothing is
left to do. Both name what breaks them. ARCHITECTURE §2, "Invariants".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Column, Select, String, and_, func, literal, or_, select, union_all

from mailagent.flow.states import FINAL, DeliveryState, RecipientState
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction

__all__ = ["always", "at_rest", "unfinished"]

_D, _T, _O, _R = t.deliveries.c, t.threads.c, t.outbound_mails.c, t.outbound_recipients.c
_A = t.approvals.c
_OPEN = (RecipientState.QUEUED, RecipientState.SENDING)

_HEARD = ("delayed", "delivered", "refused", "bounced", "complained")
"""What events make of a recipient, the lightest first."""
_STATE_OF = {
    "delayed": "delayed",
    "delivered": "delivered",
    "bounced_soft": "bounced",
    "bounced_hard": "bounced",
    "complained": "complained",
}

_NAMES: tuple[tuple[Column[Any], Column[Any]], ...] = (
    (_D.raw_id, t.raw_messages.c.id),
    (_D.agent_id, t.agents.c.id),
    (_D.thread_id, _T.id),
    (_D.turn_id, t.turns.c.id),
    (t.messages.c.delivery_id, _D.id),
    (t.messages.c.agent_id, t.agents.c.id),
    (t.messages.c.thread_id, _T.id),
    (_T.agent_id, t.agents.c.id),
    (_T.related_thread_id, _T.id),
    (t.participants.c.thread_id, _T.id),
    (t.anchors.c.thread_id, _T.id),
    (t.anchors.c.agent_id, t.agents.c.id),
    (t.turns.c.thread_id, _T.id),
    (t.turns.c.agent_id, t.agents.c.id),
    (t.turn_steps.c.turn_id, t.turns.c.id),
    (_O.agent_id, t.agents.c.id),
    (_O.thread_id, _T.id),
    (_O.turn_id, t.turns.c.id),
    (_O.answers_delivery_id, _D.id),
    (_R.outbound_id, _O.id),
    (t.hand_overs.c.outbound_id, _O.id),
    (t.events.c.outbound_id, _O.id),
    (t.events.c.recipient_id, _R.id),
    (_A.agent_id, t.agents.c.id),
    (_A.thread_id, _T.id),
    (_A.turn_id, t.turns.c.id),
    (_A.delivery_id, _D.id),
    (_A.outbound_id, _O.id),
    (t.approval_invitations.c.approval_id, _A.id),
    (t.ledger.c.delivery_id, _D.id),
    (t.ledger.c.outbound_id, _O.id),
)
"""Every column that names a row of another table."""


def _across_workspaces() -> Any:
    """Rows that name a row of another workspace."""
    found = []
    for name, key in _NAMES:
        mine, other = name.table.alias(), key.table.alias()
        found.append(
            select(mine.c[name.name].cast(String))
            .select_from(mine.join(other, mine.c[name.name] == other.c[key.name]))
            .where(mine.c.workspace_id != other.c.workspace_id)
        )
    return union_all(*found)


def _across_agents() -> Any:
    """Messages and answers in a thread of another agent."""
    return union_all(
        select(t.messages.c.id)
        .join(t.threads, _T.id == t.messages.c.thread_id)
        .where(t.messages.c.agent_id != _T.agent_id),
        select(_O.id).join(t.threads, _T.id == _O.thread_id).where(_O.agent_id != _T.agent_id),
        select(t.anchors.c.message_id)
        .join(t.threads, _T.id == t.anchors.c.thread_id)
        .where(t.anchors.c.agent_id != _T.agent_id),
    )


def _intruders() -> Select[Any]:
    """Mails in a thread that others opened, by who is no proven participant of it."""
    other = t.messages.alias()
    proven = select(t.participants.c.address).where(
        t.participants.c.thread_id == t.messages.c.thread_id,
        t.participants.c.address == func.lower(t.messages.c.from_address),
        t.participants.c.authenticated,
    )
    before = select(other.c.id).where(
        other.c.thread_id == t.messages.c.thread_id, other.c.id < t.messages.c.id
    )
    return (
        select(t.messages.c.id)
        .join(t.deliveries, _D.id == t.messages.c.delivery_id)
        .where(_D.state != DeliveryState.MERGED, before.exists(), ~proven.exists())
    )


def _stuck_deliveries() -> Select[Any]:
    """Deliveries that wait for a turn in a thread that nobody will look at."""
    waiting = _D.state.in_([DeliveryState.ROUTED, DeliveryState.THINKING])
    return (
        select(_D.id)
        .outerjoin(t.threads, _T.id == _D.thread_id)
        .where(waiting, or_(_T.id.is_(None), ~_T.ready))
    )


def _turns_without_end() -> Select[Any]:
    """Turns that run in a thread that nobody will look at, or thought mails without such a turn."""
    running = and_(t.turns.c.id == _D.turn_id, t.turns.c.state == "running")
    return union_all(  # type: ignore[return-value]
        select(t.turns.c.id)
        .join(t.threads, _T.id == t.turns.c.thread_id)
        .where(t.turns.c.state == "running", ~_T.ready),
        select(_D.id)
        .outerjoin(t.turns, running)
        .where(_D.state == DeliveryState.THINKING, t.turns.c.id.is_(None)),
    )


def _twice(*columns: Any, where: Any) -> Select[Any]:
    return select(columns[0]).where(where).group_by(*columns).having(func.count() > 1)


def _mails_of_another_state() -> Any:
    """Mails in nobody's hands whose state does not follow from their recipients."""
    same = select(_R.id).where(_R.outbound_id == _O.id, _R.state == _O.state)
    open_ = select(_R.id).where(_R.outbound_id == _O.id, _R.state.in_(_OPEN))
    return union_all(
        select(_O.id).where(_O.claimed_by.is_(None), _O.state != "queued", ~same.exists()),
        # Also while it is claimed: from any commit on, somebody must find it again.
        select(_O.id).where(_O.state != "queued", open_.exists()),
    )


def _drafts_without_a_yes() -> Any:
    """Drafts that left though nobody said yes, or that are not what the yes was bound to."""
    asked = and_(_A.turn_id == _O.turn_id, _A.kind == "draft")
    said = and_(_A.state == "approved", _A.outbound_id == _O.id, _A.digest == _O.digest)
    return (
        select(_O.id)
        .join(t.approvals, asked)
        .where(_O.purpose == "reply", func.coalesce(said, literal(False)) == literal(False))
    )


def _yeses_without_a_mail() -> Select[Any]:
    """Drafts that were approved, and none left."""
    return (
        select(_A.id)
        .outerjoin(t.outbound_mails, _O.id == _A.outbound_id)
        .where(_A.kind == "draft", _A.state == "approved", _O.id.is_(None))
    )


def _waits_for_nothing() -> Any:
    """Mails that wait for a yes of which nobody is asked, and drafts whose mails do not wait."""
    of_it = or_(_A.delivery_id == _D.id, _A.turn_id == _D.turn_id)
    asked = select(_A.id).where(of_it, _A.kind == "draft", _A.state == "waiting")
    waits = select(_D.id).where(of_it, _D.state == DeliveryState.WAITING_FOR_APPROVAL)
    return union_all(
        select(_D.id).where(_D.state == DeliveryState.WAITING_FOR_APPROVAL, ~asked.exists()),
        select(_A.id).where(
            _A.kind == "draft",
            _A.state == "waiting",
            ~waits.correlate(t.approvals).exists(),
        ),
    )


_ALWAYS: Mapping[str, Any] = {
    "names a row of another workspace": _across_workspaces(),
    "lies in a thread of another agent": _across_agents(),
    "entered a thread without proof": _intruders(),
    "waits for a turn that nobody will begin": _stuck_deliveries(),
    "belongs to a turn that nobody will end": _turns_without_end(),
    "has two turns at a time": _twice(t.turns.c.thread_id, where=t.turns.c.state == "running"),
    "has two automatic answers": _twice(_O.answers_delivery_id, where=_O.purpose == "reply"),
    "left without the yes that it needs": _drafts_without_a_yes(),
    "was approved and did not leave": _yeses_without_a_mail(),
    "waits for a yes that nobody is asked for": _waits_for_nothing(),
    "fired twice": _twice(_A.outbound_id, where=_A.outbound_id.is_not(None)),
    "has another state than its recipients": _mails_of_another_state(),
    "came twice from one source": _twice(
        _D.source, _D.source_id, _D.recipient, where=literal(True)
    ),
    "was read twice": _twice(t.messages.c.delivery_id, where=literal(True)),
    "ended without a reason": select(_D.id).where(_D.state.in_(FINAL), _D.reason == ""),
    "was answered without an answer": select(_D.id)
    .outerjoin(
        t.outbound_mails,
        or_(
            _O.answers_delivery_id == _D.id,
            and_(_O.turn_id == _D.turn_id, _O.purpose == "reply"),
            and_(_O.thread_id == _D.thread_id, _O.purpose == "person"),
        ),
    )
    .where(_D.state == DeliveryState.ANSWERED, _O.id.is_(None)),
}

_HISTORY = select(t.ledger.c.id).where(t.ledger.c.delivery_id == _D.id)
_AT_REST: Mapping[str, Any] = {
    "goes on for ever": union_all(
        select(_D.id).where(_D.state.not_in(FINAL)),
        select(_D.id).where(_D.held_until.is_not(None), _D.state == DeliveryState.HELD),
        select(_R.id).where(_R.state.in_(_OPEN)),
        select(_O.id).where(_O.state == "queued"),
        select(t.turns.c.id).where(t.turns.c.state == "running"),
        select(_T.id).where(_T.ready),
    ),
    "ended and the ledger does not tell why": select(_D.id).where(~_HISTORY.exists()),
}


def always(tx: Transaction) -> list[str]:
    """The broken promises that hold at any moment. Across workspaces: for the operator's eyes."""
    return _broken(tx, _ALWAYS)


def unfinished(tx: Transaction) -> bool:
    """Whether something still goes on by itself."""
    return bool(tx.rows(_AT_REST["goes on for ever"]))


def at_rest(tx: Transaction) -> list[str]:
    """The broken promises of an installation that has nothing left to do."""
    return [*_broken(tx, _AT_REST), *_taken_for_two(tx), *_lighter_than_its_events(tx)]


def _broken(tx: Transaction, promises: Mapping[str, Any]) -> list[str]:
    return [f"{row[0]} {words}" for words, of in promises.items() for row in tx.rows(of)]


def _taken_for_two(tx: Transaction) -> list[str]:
    """The same mail for the same recipient within a day, and the agent has thought about both."""
    m = t.messages.c
    same = (m.workspace_id, func.lower(m.recipient), m.message_id, m.content_sha256)
    rows = tx.rows(
        select(m.delivery_id, m.at, *same)
        .join(t.deliveries, _D.id == m.delivery_id)
        .where(_D.turn_id.is_not(None), m.message_id.is_not(None))
        .order_by(*same, m.at)
    )
    return [
        f"{two.delivery_id} is the same mail as {one.delivery_id} and no duplicate"
        for one, two in pairwise(rows)
        if one[2:] == two[2:] and two.at - one.at < timedelta(days=1)
    ]


def _lighter_than_its_events(tx: Transaction) -> list[str]:
    """Recipients whose state is lighter than the heaviest that was ever reported of them."""
    rows = tx.rows(
        select(_R.id, _R.state, t.events.c.kind).join(t.events, t.events.c.recipient_id == _R.id)
    )
    heaviest: dict[str, tuple[int, str]] = {}
    for row in rows:
        heard = _HEARD.index(_STATE_OF[row.kind])
        heaviest[row.id] = max(heaviest.get(row.id, (-1, "")), (heard, row.state))
    return [
        f"{id_} is {state} and was reported {_HEARD[heard]}"
        for id_, (heard, state) in heaviest.items()
        if state not in _HEARD[heard:]
    ]
