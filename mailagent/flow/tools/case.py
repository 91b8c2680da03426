"""What does a tool know of the case that it is used in? All of it chosen by us, not by a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailagent.agents.tools import Tool, ToolResult
from mailagent.agents.trust import Policy, Standing
from mailagent.flow.services import Services
from mailagent.mail import Mail
from mailagent.store.transaction import Transaction

__all__ = ["Case", "Inside", "Outside"]


@dataclass(frozen=True, slots=True)
class Case:
    """One turn of one agent."""

    workspace_id: str
    agent_id: str
    handle: str
    thread_id: str
    subject: str
    turn_id: str
    mail: Mail
    """The newest of the turn."""
    standing: Standing
    """The least of all who wrote in the thread: nobody borrows another's trust."""
    policy: Policy
    tools: Mapping[str, Tool]
    """What this agent has, by name."""
    settings: Mapping[str, Any] = field(repr=False, default_factory=dict)
    """The agent's own."""

    @property
    def author(self) -> str:
        """Who wrote, in lower case."""
        return self.mail.content.from_[0].address.lower()


Wish = Mapping[str, Any]
"""What was asked for; it fits the tool's schema."""
Inside = Callable[[Transaction, Services, Case, Wish], ToolResult]
"""Does it in the transaction that records it. Raises Malformed, and then nothing is done."""
Outside = Callable[[Services, Case, str, Wish], Awaitable[ToolResult]]
"""Does it outside, under a key that is the same when it is tried again. Raises Malformed (not
done), TransientFailure (not done, may be tried again), UncertainDelivery (may have been done)."""
