"""What is an agent given for one turn, and what may it give back?

A turn is the answer to all mails of one thread that nobody has answered yet. An agent knows no
provider, no database and no SMTP: it sees these values and returns `Reply`, `Silence` or `Handoff`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeAlias

from mailagent.errors import TransientFailure
from mailagent.mail import Mail, Thread
from mailagent.outgoing import Assessment, Handoff, Reply, Silence

if TYPE_CHECKING:  # tools are described with the values below
    from mailagent.agents.tools.tool import Tool, ToolResult

__all__ = [
    "Agent",
    "AgentKind",
    "AnswerLater",
    "Callback",
    "Endpoint",
    "JsonValue",
    "Memory",
    "Passage",
    "Profile",
    "Reminder",
    "Step",
    "Steps",
    "Summary",
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

    @property
    def offered(self) -> Sequence[Tool]:
        """What a model may be told of: the agent's tools that are not refused to this sender."""
        ...

    async def use(self, call_id: str, name: str, wish: object) -> ToolResult:
        """Do what was asked for, if it may be done; what may not is told in the result.

        `call_id` is the agent's own for this call in this turn: the same again gives what it gave,
        and does nothing twice. Raises TransientFailure when it must be tried again later.
        """
        ...

    async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
        """Full-text search in the workspace's documents, best first. Any words may be given."""
        ...

    async def attachment_text(self, delivery_id: str, part: str) -> str | None:
        """The text of an attachment of this turn; None when it has none that can be read."""
        ...

    async def attachment_octets(self, delivery_id: str, part: str) -> bytes | None:
        """An attachment of this turn as it was sent; None when it cannot be read."""
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

    async def record(self, *steps: Step) -> None:
        """Durable on return, all of them or none."""
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
class Endpoint:
    """Where a program of the workspace's people answers its agent's mail."""

    url: str
    secret: str = field(repr=False)
    """`whsec_` and Base64, as Standard Webhooks has it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Who the agent is, as its people set it."""

    name: str
    address: str
    workspace_name: str
    instructions: str = ""
    languages: tuple[str, ...] = ()
    """BCP 47 tags of those to write in: the writer's where it is among them, else the first; empty:
    the writer's, whichever it is.
    """
    model: str = ""
    """Empty: the processor's own."""
    price: str = ""
    """US dollars a million tokens, `3/15`; empty: as the model's price is known."""
    most_questions: int | None = None
    """To a model in one turn; None: as the processor has it."""
    history_tokens: int | None = None
    """How much of the thread a model is shown; None: as the processor has it."""
    endpoint: Endpoint | None = None
    """For the `webhook` processor."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a thread's older mails said, told once by a model: foreign text, like them."""

    until: datetime
    """The newest entry that it tells of."""
    text: str


class Memory(Protocol):
    """What is kept of a thread between turns."""

    @property
    def summary(self) -> Summary | None: ...

    async def keep(self, summary: Summary) -> None:
        """Durable on return; in the place of the one before."""
        ...


class Callback(Protocol):
    """A way to answer a turn later, once."""

    @property
    def url(self) -> str:
        """Where the answer is POSTed; holds a secret of this turn."""
        ...

    @property
    def answer(self) -> JsonValue:
        """What was posted there, None while nothing was."""
        ...


@dataclass(frozen=True, slots=True)
class Reminder:
    """Why a thread is looked at again though nobody has written: a time came, a colleague answered.

    `text` is an agent's own note or a colleague's words: data, like a mail's.
    """

    kind: str
    """`follow_up`, `wait` or `answer`."""
    at: datetime
    text: str
    author: str = ""
    """The colleague's address."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `mails` (one or more, oldest first) wait for an answer, `thread` is before them."""

    id: str
    profile: Profile
    mails: tuple[Mail, ...]
    thread: Thread
    tools: Tools
    steps: Steps
    memory: Memory | None = None
    callback: Callback | None = None
    reminders: tuple[Reminder, ...] = ()
    assessments: tuple[Assessment, ...] = ()
    """What processors before this one made of the mails."""


class AnswerLater(TransientFailure):
    """Nothing has failed: the answer will come by the turn's callback, until `retry_at`."""


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
