"""Which DNS answers does a judgement need, and which of them are missing?

Judging is a pure function over answers: what it misses it names, the caller resolves that and
judges again. Each round asks all that can be foreseen, so that few rounds are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailagent.dns_answers import Answer, Question

__all__ = ["Inquiry", "Needs"]


@dataclass(frozen=True, slots=True)
class Needs:
    """The judgement waits for these answers."""

    questions: frozenset[Question]


class Inquiry:
    """Hands out known answers and notes the questions that have none yet."""

    def __init__(self, answers: Mapping[Question, Answer]) -> None:
        self._answers = answers
        self._missing: set[Question] = set()
        self._foreseen: set[Question] = set()

    def ask(self, name: str, type_: str) -> Answer | None:
        """The answer, or None: then it is noted and the judgement cannot end in this round."""
        question = Question(name, type_)
        answer = self._answers.get(question)
        if answer is None:
            self._missing.add(question)
        return answer

    def foresee(self, name: str, type_: str) -> None:
        """Note a question that may come up; alone it does not hold the judgement back."""
        question = Question(name, type_)
        if question not in self._answers:
            self._foreseen.add(question)

    @property
    def needs(self) -> Needs | None:
        """What must be resolved before judging again, None when nothing is missing."""
        return Needs(frozenset(self._missing | self._foreseen)) if self._missing else None
