"""Which mail is rehearsed, and what would become of it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from mailagent.agents.turn import JsonValue
from mailagent.flow.states import DeliveryState
from mailagent.mail import Mail
from mailagent.outgoing import Assessment
from mailagent.store.transaction import Transaction

__all__ = ["Brought", "Prepare", "Rehearsed", "Stored", "Used"]

Prepare = Callable[[Transaction], None]
"""What is changed first, in each transaction that is undone: another prompt, model or rule."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A mail that came in, by its delivery; its turn's other mails belong to it."""

    delivery_id: str


@dataclass(frozen=True, slots=True)
class Brought:
    """A mail that never came in: its octets, and what was read of them."""

    raw: bytes
    mail: Mail
    """Its `delivery_id` and `workspace_id` are not looked at."""


@dataclass(frozen=True, slots=True)
class Used:
    """One call of a tool: `state` is `done` (looked up), `would do`, `would ask`, `refused`,
    `not asked` (it reads outside) or `failed`.
    """

    name: str
    wish: JsonValue
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would become of the mail."""

    state: DeliveryState
    reason: str
    agent_id: str | None
    """Who would get it; None when nobody would."""
    route_why: str
    standing: str = ""
    """Of its writer, in the policy's words; empty when no agent was asked."""
    to: tuple[str, ...] = ()
    """Whom the answer would go to."""
    text: str = ""
    """The answer, as it would leave or wait; what a notice would tell the writer."""
    assessment: Assessment | None = None
    tools: tuple[Used, ...] = ()
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """None when the price of a model is not known."""
    took: timedelta = timedelta()
