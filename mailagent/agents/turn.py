"""What is an agent given for one turn, and what may it give back?

A turn is the answer to all mails of one thread that nobody has answered yet. An agent knows no
provider, no database and no SMTP: it sees these values and returns `Reply`, `Silence` or `Handoff`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Protocol, Self, TypeAlias

from mailagent.mail import Mail, Thread
from mailagent.outgoing import Handoff, Reply, Silence

__all__ = [
    "Agent",
    "AgentKind",
    "JsonValue",
    "Passage",
    "Profile",
    "Step",
    "Steps",
    "Tools",
    "Turn",
    "Usage",
]

JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)


@dataclass(frozen=True, slots=True)
class Passage:
    """One place in the workspace's documents that a search found."""

    document_id: str
    document_name: str
    text: str
    score: float
    """Higher is better; comparable within the answer to one query only."""


class Tools(Protocol):
    """What an agent may do, gated by the sender's trust at the moment of the call."""

    async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
        """Full-text search in the workspace's documents, best first. Any words may be given."""
        ...

    async def attachment_text(self, delivery_id: str, part: str) -> str | None:
        """The text of an attachment of this turn; None when it has none that can be read."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened in a turn and must not happen again: kinds are the agent's own,

    except `usage`, which is `Usage.as_step`.
    """

    kind: str
    content: JsonValue


class Steps(Protocol):
    """The turn's own memory. A resumed turn finds in `past` what was recorded before the stop."""

    @property
    def past(self) -> Sequence[Step]: ...

    async def record(self, step: Step) -> None:
        """Durable on return."""
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """What one question to a model cost."""

    input_tokens: int
    output_tokens: int
    model: str
    cost_usd: Decimal | None
    """None when the price is not known; never 0 instead."""

    def as_step(self) -> Step:
        """A step of kind `usage`; the cost is a decimal string."""
        cost = None if self.cost_usd is None else format(self.cost_usd, "f")
        return Step(
            "usage",
            {
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                "model": self.model,
                "cost_usd": cost,
            },
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """Who the agent is, as its people set it."""

    name: str
    address: str
    workspace_name: str
    instructions: str = ""
    language: str = "en"
    """BCP 47 tag of the language to write in when the mail does not show its own."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `mails` (one or more, oldest first) wait for an answer, `thread` is before them."""

    id: str
    profile: Profile
    mails: tuple[Mail, ...]
    thread: Thread
    tools: Tools
    steps: Steps


class Agent(Protocol):
    """Thinks about one turn at a time; holds no state between turns."""

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        """Answer, or say why not.

        Raises TransientFailure (deadline reached, model not available) and Misconfigured.
        """
        ...


class AgentKind(Agent, Protocol):
    """An agent's class: its kind's name, and how it is made from settings."""

    kind: ClassVar[str]

    @classmethod
    def open(cls, settings: Mapping[str, str]) -> Self:
        """Raises Misconfigured. Connects to nothing."""
        ...

    @classmethod
    def unpriced(cls, settings: Mapping[str, str]) -> str | None:
        """The model that these settings name and whose price is not known; None: all costs are.

        Raises Misconfigured.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
