"""Which caps in money may be set, and for whom? The same for a workspace and for an agent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from sqlalchemy import select

from mailagent.agents import unpriced
from mailagent.agents.prices import price_of
from mailagent.agents.several import kinds_of
from mailagent.errors import Conflict, Malformed
from mailagent.settings import Settings
from mailagent.store.tables import agents
from mailagent.store.transaction import Transaction

__all__ = ["ALL_PRICED", "Unpriced", "checked_cap", "demand_prices", "unpriced_by"]

Unpriced = Mapping[str, str]
"""Processors whose answers cost what nobody knows, each with its model; the empty one is the
installation's own."""
ALL_PRICED: Unpriced = MappingProxyType({})

_MOST = Decimal(1_000_000)


def unpriced_by(settings: Settings) -> Unpriced:
    """The processors of an installation whose costs cannot be counted. Raises Misconfigured."""
    found = unpriced(settings.processor_settings)
    own = {"": found[settings.processor]} if settings.processor in found else {}
    return {**found, **own}


def checked_cap(field: str, value: Any) -> str:
    """US dollars as they are kept: a decimal text. Raises Malformed."""
    try:
        dollars = Decimal(str(value))
    except InvalidOperation:
        dollars = Decimal(-1)
    exponent = dollars.as_tuple().exponent
    if not (dollars.is_finite() and 0 <= dollars <= _MOST and int(exponent) >= -6):
        raise Malformed(field, f"must be US dollars from 0 to {_MOST:,}, such as 5 or 0.50")
    return f"{dollars:f}"


def demand_prices(tx: Transaction, unknown: Unpriced, agent_id: str | None = None) -> None:
    """Pass when every cost of the workspace's agents, or of one, can be counted.

    Raises Conflict that names the agent, its model and the mend.
    """
    statement = (
        select(agents.c.handle, agents.c.processor, agents.c.settings)
        .where(agents.c.removed_at.is_(None))
        .order_by(agents.c.handle)
    )
    if agent_id is not None:
        statement = statement.where(agents.c.id == agent_id)
    for row in tx.rows(statement):
        own, price = row.settings.get("model"), row.settings.get("price")
        for kind in kinds_of(row.processor):
            model = None if price else unknown.get(kind)
            if model is not None and own:
                model = own if price_of(own) is None else None
            if model is not None:
                raise Conflict(
                    f"what agent {row.handle} spends cannot be counted: the price of its model, "
                    f"{model}, is not known. Set ANTHROPIC_PRICE, such as 3/15"
                )
