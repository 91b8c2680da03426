"""How are many mails tried at once without spending more than is allowed?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import update

from backend.agents import transfer
from backend.agents.agent_file import AgentFile
from mailagent.errors import Conflict, Malformed
from mailagent.flow.rehearsal import Brought, Prepare, Rehearsed, Stored, rehearse
from mailagent.flow.services import Services
from mailagent.store.tables import agents
from mailagent.store.transaction import Transaction

__all__ = ["AT_ONCE", "MOST_USD", "Bounds", "Purse", "Tried", "prepared", "try_all"]

AT_ONCE = 4
MOST_USD = Decimal(1)
_MOST_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many mails at a time, and for how much money; `usd` None: whatever it costs."""

    at_once: int = AT_ONCE
    usd: Decimal | None = MOST_USD

    def __post_init__(self) -> None:
        if not 1 <= self.at_once <= _MOST_AT_ONCE:
            raise Malformed("at_once", f"must be from 1 to {_MOST_AT_ONCE}")
        if self.usd is not None and self.usd < 0:
            raise Malformed("usd", "must not be negative")


@dataclass(frozen=True, slots=True)
class Tried:
    """One mail: what would become of it, or why it was not tried."""

    subject: Stored | Brought
    result: Rehearsed | None
    skipped: str = ""


def prepared(agent_id: str, file: AgentFile | None) -> Prepare:
    """The agent as the file would have it. One that is off is tried as if it were on."""

    def prepare(tx: Transaction) -> None:
        if file is not None:
            transfer.apply(tx, agent_id, file, author="trial")
        # Of one that is on, the row is left alone: trials beside each other would wait for it.
        off = (agents.c.id == agent_id) & agents.c.email_enabled.is_(False)
        tx.execute(update(agents).where(off).values(email_enabled=True))

    return prepare


async def try_all(
    services: Services,
    workspace_id: str,
    agent_id: str,
    subjects: Sequence[Stored | Brought],
    *,
    prepare: Prepare,
    bounds: Bounds | None = None,
) -> list[Tried]:
    """Try each mail, in the order given; what it costs is known after the first, tried alone.

    With a bound in money nothing begins that would pass it, if it costs as much as the dearest so
    far; and nothing goes on once a price is not known.
    """
    bounds = bounds or Bounds()
    purse = Purse(bounds.usd)
    semaphore = asyncio.Semaphore(bounds.at_once)

    async def one(subject: Stored | Brought) -> Tried:
        async with semaphore:
            if (closed := purse.take()) is not None:
                return Tried(subject, None, closed)
            cost: Decimal | None = Decimal(0)
            try:
                result = await rehearse(services, workspace_id, agent_id, subject, prepare=prepare)
                cost = result.cost_usd
            except Conflict as error:
                return Tried(subject, None, str(error))
            finally:
                purse.give(cost)
            return Tried(subject, result)

    first = [await one(subject) for subject in subjects[:1]]
    return [*first, *await asyncio.gather(*(one(subject) for subject in subjects[1:]))]


class Purse:
    """What may still be begun; `share`: what the next cost of what those before them did."""

    def __init__(self, usd: Decimal | None, *, share: Decimal = Decimal(1)) -> None:
        self._usd, self._share = usd, share
        self._spent = self._dearest = Decimal(0)
        self._running = 0
        self._unknown = False

    def take(self) -> str | None:
        """Why no mail may be tried any more; None when one may."""
        if self._usd is not None:
            if self._unknown:
                return (
                    "the price of the model is not known, so what it costs cannot be held under"
                    f" {self._usd} USD: set the model's price, or no bound"
                )
            # The same as what runs costs is set aside for what runs.
            if self._spent + self._dearest * self._share * (self._running + 1) > self._usd:
                return f"{self._usd} USD are spent"
        self._running += 1
        return None

    def give(self, cost: Decimal | None) -> None:
        """One has ended, and cost that."""
        self._running -= 1
        if cost is None:
            self._unknown = True
        else:
            self._spent += cost
            self._dearest = max(self._dearest, cost)
