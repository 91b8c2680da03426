"""The workspace of the day: how it is founded, what its owner sets, and all that stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Table, select, update

from backend.abilities.service import surroundings
from backend.agents import transfer
from backend.agents.catalogue import template
from backend.trust.settings import set_limits
from mailagent.store import documents
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.day.audit import Facts
from tests.day.script import BLOCKED, BOUND, DOCUMENTS
from tests.day.senders import EVA, MAX
from tests.flow.house import DOMAIN, House, Space
from tests.flow.test_standing import enlist, make_member
from tests.smtp_sink import Taken

__all__ = ["cap", "facts_of", "founded"]


async def founded(house: House) -> Space:
    """A workspace with the template's agent, its people, their settings and its documents."""
    limits = {"approvers": [EVA]}
    space = await house.workspace(owner=False, limits=limits, escalation_address=EVA)
    await make_member(space, EVA)
    await make_member(space, MAX)
    await enlist(space, "block", "receive", BLOCKED)

    def settle(tx: Transaction) -> None:
        file = template("support").file
        around = surroundings(house.services)
        transfer.import_agent(tx, DOMAIN, around, file, author=f"person:{EVA}", handle="support")
        bound = {"replies_per_correspondent_a_day": BOUND}
        set_limits(tx, bound, actor=f"person:{EVA}", agent="support")
        for name, text in DOCUMENTS.items():
            documents.add(tx, name, text)

    await space.write(settle)
    await house.services.directory.refresh()
    return space


def cap(tx: Transaction, dollars: str) -> None:
    """Let the workspace spend no more than that a day."""
    settings = tx.value(select(t.workspaces.c.settings).where(t.workspaces.c.id == tx.workspace_id))
    tx.execute(
        update(t.workspaces)
        .where(t.workspaces.c.id == tx.workspace_id)
        .values(settings={**settings, "usd_a_day": dollars})
    )


async def facts_of(space: Space, taken: Sequence[Taken]) -> Facts:
    """All that stands in the workspace's rows, copied, and what the relay took."""

    async def rows(table: Table) -> Sequence[Any]:
        return [SimpleNamespace(**row._mapping) for row in await space.rows(table)]

    people = await space.house.store.read(
        space.id,
        lambda tx: tx.rows(
            select(t.people.c.email).join(t.memberships, t.memberships.c.person_id == t.people.c.id)
        ),
    )
    return Facts(
        deliveries={row.id: row for row in await rows(t.deliveries)},
        messages={row.delivery_id: row for row in await rows(t.messages)},
        outbound=await rows(t.outbound_mails),
        recipients=await rows(t.outbound_recipients),
        approvals=await rows(t.approvals),
        tool_calls=await rows(t.tool_calls),
        questions=await rows(t.questions),
        policies=await rows(t.policies),
        blocked=tuple(row.pattern for row in await rows(t.list_entries) if row.verdict == "block"),
        people=tuple(row.email for row in people),
        approvers=(EVA,),
        documents=tuple(row.text for row in await rows(t.documents)),
        assessments={row.turn_id: row.fields for row in await rows(t.assessments)},
        ledger=await rows(t.ledger),
        taken=tuple(taken),
    )
