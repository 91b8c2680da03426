"""How well does what would become of a mail fit what should? Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from backend.agents.agent_file import Expected
from backend.trying.words import decision_of
from mailagent.flow.rehearsal import Rehearsed

__all__ = ["Missed", "Scored", "likeness", "score"]

_WORD = re.compile(r"\w+")
_ALIKE = 0.5
"""Half of the words of an answer that a person would give, and it says the same."""
_USED = ("done", "would do", "would ask", "not asked")


@dataclass(frozen=True, slots=True)
class Missed:
    """An expectation that was not met: its field, and what came instead."""

    field: str
    why: str


@dataclass(frozen=True, slots=True)
class Scored:
    """`score` is the share of what was expected that was met, 0 to 1; all of it is a pass."""

    score: float
    missed: tuple[Missed, ...]

    @property
    def passed(self) -> bool:
        """Every expectation was met."""
        return not self.missed


def score(expected: Expected, tried: Rehearsed) -> Scored:
    """Hold an outcome against what was expected of it; nothing expected is met by any outcome but
    a failure.
    """
    marks = list(_marks(expected, tried))
    missed = tuple(Missed(field, why) for _, field, why in marks if why)
    return Scored(sum(mark for mark, _, _ in marks) / len(marks) if marks else 1.0, missed)


def _marks(expected: Expected, tried: Rehearsed) -> Iterator[tuple[float, str, str]]:
    """(0 to 1, field, why it was missed) of each expectation."""
    decision = decision_of(tried)
    if decision is None:
        yield 0.0, "decision", tried.reason or "the agent did not decide"
        return
    if expected.decision is not None:
        met = decision == expected.decision
        why = "" if met else f"{expected.decision} was expected, {decision} came"
        yield float(met), "decision", why
    said = _plain(tried.text)
    for phrase in expected.contains:
        met = _plain(phrase) in said
        yield float(met), "contains", "" if met else f"the answer does not say {phrase!r}"
    for phrase in expected.lacks:
        met = _plain(phrase) not in said
        yield float(met), "lacks", "" if met else f"the answer says {phrase!r}"
    used = {one.name for one in tried.tools if one.state in _USED}
    for tool in expected.tools:
        met = tool in used
        yield float(met), "tools", "" if met else f"{tool} was not used"
    if expected.like is not None:
        alike = likeness(expected.like, tried.text)
        why = "" if alike >= _ALIKE else f"{alike:.0%} of the words are those of the right answer"
        yield alike, "like", why


def likeness(wanted: str, said: str) -> float:
    """How many words two answers share, 0 to 1 (F1 over words, their order aside)."""
    one, other = (Counter(_WORD.findall(text.lower())) for text in (wanted, said))
    shared = sum((one & other).values())
    return 2 * shared / total if (total := sum(one.values()) + sum(other.values())) else 1.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
