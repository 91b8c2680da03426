"""Was a mail taken of which nobody knows? Asked of the provider, where its API can say.

A yes is evidence and settles the recipient. A no is told to the person who decides, and no more: a
list that lags behind must not make a machine send a mail twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from sqlalchemy import select, update

from mailagent.flow import outbox
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.states import RecipientState
from mailagent.outgoing import Outgoing, Recipient
from mailagent.store.tables import hand_overs, outbound_recipients
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["LooksUp", "look_up", "look_up_all"]

_AT_ONCE = 100
_NOT_THERE = "the provider knows nothing of it"


@runtime_checkable
class LooksUp(Protocol):
    """A `Sends` whose service can be asked what became of a mail."""

    async def taken(
        self, outgoing: Outgoing, recipient: Recipient, /, *, tried_at: datetime | None = None
    ) -> bool | None:
        """Whether the service has this mail for this recipient; None when it cannot be told."""
        ...


async def look_up_all(services: Services) -> None:
    """Ask about the unknown mails of every workspace."""
    rows = await services.store.read_unscoped(_workspaces)
    for row in rows:
        await look_up(services, row.workspace_id)


async def look_up(services: Services, workspace_id: str) -> int:
    """Ask about the unknown mails of one workspace; how many were settled."""
    settled = 0
    for row in await services.store.read(workspace_id, _unknown):
        tried = await services.store.read(workspace_id, _hand_over, row)
        account = services.accounts.get(tried.account) if tried is not None else None
        if tried is None or not isinstance(account, LooksUp):
            continue
        _, outgoing, _ = await services.store.read(workspace_id, outbox.load, row.outbound_id)
        recipient = Recipient(row.id, row.address)
        taken = await account.taken(outgoing, recipient, tried_at=tried.started_at)
        if taken is not None:
            settled += await services.store.write(workspace_id, _learn, row, tried.account, taken)
    return settled


def _workspaces(tx: Transaction) -> Sequence[AnyRow]:
    of = select(outbound_recipients.c.workspace_id).distinct()
    return tx.rows(of.where(outbound_recipients.c.state == RecipientState.UNKNOWN))


def _unknown(tx: Transaction) -> Sequence[AnyRow]:
    """Those that were not asked about in vain, the newest first."""
    of = outbound_recipients.c
    return tx.rows(
        select(of.id, of.outbound_id, of.address, of.reason)
        .where(
            of.state == RecipientState.UNKNOWN,
            of.address != "",  # a purge has taken what could be asked for
            ~of.reason.contains(_NOT_THERE),
        )
        .order_by(of.id.desc())
        .limit(_AT_ONCE)
    )


def _hand_over(tx: Transaction, row: AnyRow) -> AnyRow | None:
    """The one that nobody knows the end of."""
    tried = tx.rows(
        select(hand_overs.c.account, hand_overs.c.started_at, hand_overs.c.recipient_ids)
        .where(hand_overs.c.outbound_id == row.outbound_id, hand_overs.c.outcome == "unknown")
        .order_by(hand_overs.c.id.desc())
    )
    return next((one for one in tried if row.id in one.recipient_ids), None)


def _learn(tx: Transaction, row: AnyRow, account: str, taken: bool) -> int:
    values: dict[str, object] = {"reason": f"{row.reason}; {_NOT_THERE} ({account})"[:500]}
    if taken:
        values = {"state": RecipientState.SENT, "account": account, "sent_at": tx.now}
        values["reason"] = f"found at {account}"
    same = outbound_recipients.c.id == row.id
    still = outbound_recipients.c.state == RecipientState.UNKNOWN
    named = outbound_recipients.c.address == row.address  # one that was purged meanwhile is not
    asked = update(outbound_recipients).where(same, still, named)
    changed = tx.execute(asked.values(values)).rowcount
    if changed:
        what = "was taken" if taken else "is not there"
        note(tx, "send", f"{row.address}: {what}", f"asked of {account}",
             outbound_id=row.outbound_id)  # fmt: skip
    if changed and taken:
        outbox.resettle(tx, row.outbound_id)
    return changed if taken else 0
