"""What may an agent do for whom? A table of standing and action, decided in code alone.

A policy says `do`, `ask` or `refuse` for cells of that table. An agent's policy lies over its
workspace's, and that over `DEFAULT`: the first that fills the cell decides, and the verdict names
it. A cell that none of them fills is asked. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Literal, get_args

from mailagent.errors import Malformed

__all__ = [
    "DEFAULT",
    "EFFECTS",
    "MAIL_ACTIONS",
    "Action",
    "Ask",
    "Choice",
    "Do",
    "Effect",
    "Policy",
    "Refuse",
    "Standing",
    "Verdict",
    "decide",
    "parse_policy",
]


class Standing(IntEnum):
    """Who wrote, as far as it is proven; a greater value is trusted with more."""

    BLOCKED = 0
    """On a list of those who may not write to us."""
    UNPROVEN = 1
    """Nothing proves that the From address's owner sent it."""
    STRANGER = 2
    """Proven, and never heard of before."""
    CORRESPONDENT = 3
    """Proven, and takes part in a thread in which this workspace has written."""
    ALLOWED = 4
    """Proven, and on a list of those who may."""
    MEMBER = 5
    """Proven, and the address of a person of the workspace."""

    @property
    def word(self) -> str:
        """As policies, ledger and people name it."""
        return self.name.lower()


Effect = Literal["reads", "changes", "sends"]
"""What a tool does: looks something up, changes something, makes something leave the house."""
Choice = Literal["do", "ask", "refuse"]

MAIL_ACTIONS = (
    "reply",
    "forward",
    "new_recipient",
    "new_domain",
    "attachment",
    "link",
    "amount",
)
"""What an answer may do: the last five, when it has what the thread has not."""
EFFECTS: tuple[Effect, ...] = get_args(Effect)
_CHOICES: tuple[Choice, ...] = get_args(Choice)
_TOOL = "tool:"


@dataclass(frozen=True, slots=True)
class Action:
    """Something an agent wants to do: a mail action by its name, or a tool by name and effect."""

    name: str
    effect: Effect | None = None
    """Set for a tool."""
    least: Standing = Standing.BLOCKED
    """The least standing the tool itself needs; no policy lowers it."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The names under which a policy may speak of it, the narrowest first."""
        return (self.name,) if self.effect is None else (_TOOL + self.name, self.effect)

    def __str__(self) -> str:
        return self.cells[0]


@dataclass(frozen=True, slots=True)
class Do:
    """It may be done without asking; `rule` is the cell that said so."""

    rule: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Only a person may let it be done."""

    reason: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is not done."""

    reason: str
    rule: str = ""


Verdict = Do | Ask | Refuse


@dataclass(frozen=True, slots=True)
class Policy:
    """What its people have set; `table` need not fill every cell, `base` is asked for the rest."""

    name: str
    """Whose it is, in words: `workspace`, `agent hello`, `default`."""
    version: int
    """Counts up with every change; what the ledger names."""
    table: Mapping[Standing, Mapping[str, Choice]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    base: Policy | None = None

    def __str__(self) -> str:
        return f"{self.name} policy {self.version}"

    def chain(self) -> Iterator[Policy]:
        """This one, then what lies under it."""
        policy: Policy | None = self
        while policy is not None:
            yield policy
            policy = policy.base

    def as_json(self) -> dict[str, dict[str, Choice]]:
        """The table as `parse_policy` takes it."""
        return {standing.word: dict(row) for standing, row in self.table.items()}


def decide(policy: Policy, standing: Standing, action: Action) -> Verdict:
    """What the policy says of an action for somebody of that standing, and which cell said it.

    A tool's own name counts before the class of its effect, in whichever policy it stands.
    """
    if standing < action.least:
        reason = f"{action} needs at least {action.least.word}, this is {standing.word}"
        return Refuse(reason, f"{action} itself")
    for cell in action.cells:
        for one in policy.chain():
            choice = one.table.get(standing, {}).get(cell)
            if choice is not None:
                return _verdict(choice, standing, action, f"{one}: {standing.word}, {cell}")
    return Ask(f"no policy says whether {standing.word} gets {action}", f"{policy}: unknown action")


def _verdict(choice: Choice, standing: Standing, action: Action, rule: str) -> Verdict:
    match choice:
        case "do":
            return Do(rule)
        case "ask":
            return Ask(f"{action} for {standing.word} needs a person's yes", rule)
        case "refuse":
            return Refuse(f"{action} is not done for {standing.word}", rule)


def parse_policy(
    fields: object,
    *,
    name: str,
    version: int,
    tools: Collection[str] = (),
    base: Policy | None = None,
) -> Policy:
    """A policy from what people write: `{"stranger": {"link": "ask", "tool:create_task": "do"}}`.

    `tools` are the names that may stand behind `tool:`. Raises Malformed, naming the field and the
    nearest right word: a typo is never an allow.
    """
    table: dict[Standing, Mapping[str, Choice]] = {}
    standings = {one.word: one for one in Standing}
    actions = (*MAIL_ACTIONS, *EFFECTS, *(f"{_TOOL}{tool}" for tool in sorted(tools)))
    for said, row in _object("policy", fields).items():
        _known("policy", said, standings)
        cells: dict[str, Choice] = {}
        for action, choice in _object(f"policy.{said}", row).items():
            _known(f"policy.{said}", action, actions)
            _known(f"policy.{said}.{action}", choice, _CHOICES)
            cells[action] = choice
        _possible(standings[said], cells)
        table[standings[said]] = MappingProxyType(cells)
    return Policy(name, version, MappingProxyType(table), base)


def _object(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Malformed(where, "must be an object")
    return value


def _known(where: str, word: object, words: Collection[str]) -> None:
    if isinstance(word, str) and word in words:
        return
    near = difflib.get_close_matches(str(word), words, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(words)}"
    raise Malformed(where, f"{word!r} is unknown: {mend}")


def _possible(standing: Standing, cells: Mapping[str, Choice]) -> None:
    # What is never answered or stopped before the agent thinks cannot be given by a table: a
    # policy that says so would only look as if.
    if standing > Standing.UNPROVEN:
        return
    for action, choice in cells.items():
        if choice == "do":
            raise Malformed(
                f"policy.{standing.word}.{action}",
                f"{standing.word} never gets anything without a person: write ask or refuse",
            )


def _rows(**choices: str) -> Mapping[Standing, Mapping[str, Choice]]:
    """A table from one line an action: the choices of all standings, the least trusted first."""
    letters: dict[str, Choice] = {"d": "do", "a": "ask", "r": "refuse"}
    return MappingProxyType(
        {
            standing: MappingProxyType(
                {action: letters[line[standing]] for action, line in choices.items()}
            )
            for standing in Standing
        }
    )


# One letter a standing: blocked, unproven, stranger, correspondent, allowed, member.
DEFAULT = Policy(
    "default",
    1,
    _rows(
        reply="rrdddd",
        forward="rraaaa",
        new_recipient="rraaad",
        new_domain="rraaaa",
        attachment="rraadd",
        link="rraadd",
        amount="rraaaa",
        reads="rrdddd",
        changes="rrraad",
        sends="rrraaa",
    ),
)
"""What holds where nobody has said otherwise."""
