"""How do several processors answer one mail?

`webhook+claude`: the first that answers, in order; one that hands over, is not set up or is away
leaves the mail to the next. `builtin&claude`: all in order, a classifier before a writer; each sees
what those before it made of the mail, the last one's decision counts, and any may hand over. What a
processor has ended with is recorded, so that a resumed turn asks none of them twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

from mailagent.agents.turn import Agent, AnswerLater, JsonValue, Step, Steps, Turn
from mailagent.errors import Malformed, Misconfigured, TransientFailure
from mailagent.outgoing import Assessment, Handoff, Reply, Silence

__all__ = ["Several", "checked", "kinds_of", "named"]

_MOST = 3
_ENDED = "ended"


def kinds_of(processor: str) -> tuple[str, ...]:
    """The kinds that a processor's name is made of."""
    return tuple(processor.replace("&", "+").split("+"))


def named(processor: str, one: Callable[[str], Agent]) -> Agent:
    """The processor of a name, single or made of several. Raises Misconfigured."""
    kinds = kinds_of(processor)
    if len(kinds) == 1:
        return one(processor)
    if ("+" in processor and "&" in processor) or len(kinds) > _MOST:
        raise Misconfigured("processor", f"{processor!r}: at most {_MOST}, with either + or &")
    return Several([partial(one, kind) for kind in kinds], "&" if "&" in processor else "+")


def checked(name: str, processor: str, known: Sequence[str]) -> str:
    """A processor's name that can be saved. Raises Malformed."""
    kinds = kinds_of(processor)
    mixed = "+" in processor and "&" in processor
    if mixed or len(kinds) > _MOST or len(set(kinds)) != len(kinds) or set(kinds) - set(known):
        raise Malformed(
            name,
            f"must be one of {', '.join(known)}, or up to {_MOST} different ones joined by + (the"
            " first that answers) or & (all in order), or empty for the installation's own",
        )
    return processor


class Several:
    """Processors in order; each is made when its turn has come."""

    def __init__(self, agents: Sequence[Callable[[], Agent]], way: Literal["+", "&"]) -> None:
        self._agents, self._way = agents, way

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        """As the processors' own; raises what the last of them raises."""
        assessments = list(turn.assessments)
        for number, make in enumerate(self._agents):
            chapter = _Chapter(turn.steps, number)
            last = number == len(self._agents) - 1
            if (ended := chapter.ended) is not None:
                if (known := _assessment(ended)) is not None:
                    assessments.append(known)
                continue
            mine = dataclasses.replace(turn, steps=chapter, assessments=tuple(assessments))
            try:
                outcome = await make().think(mine, deadline=deadline)
            except AnswerLater:
                raise
            except (Misconfigured, TransientFailure) as error:
                if last or self._way == "&":
                    raise
                await chapter.end(str(error), None)
                continue
            if last or (self._way == "&" and isinstance(outcome, Handoff)):
                return _with(outcome, assessments)
            if self._way == "+" and not isinstance(outcome, Handoff):
                return outcome
            await chapter.end(type(outcome).__name__.lower(), outcome.assessment)
            if outcome.assessment is not None:
                assessments.append(outcome.assessment)
        raise AssertionError("the last processor has ended and its turn goes on")


class _Chapter:
    """One processor's part of a turn's steps."""

    def __init__(self, steps: Steps, number: int) -> None:
        self._steps, self._mark = steps, f"{number}."

    @property
    def past(self) -> Sequence[Step]:
        return [
            Step(step.kind.removeprefix(self._mark), step.content)
            for step in self._steps.past
            if step.kind.startswith(self._mark)
        ]

    @property
    def ended(self) -> Mapping[str, Any] | None:
        found = [step.content for step in self.past if step.kind == _ENDED]
        return found[0] if found and isinstance(found[0], Mapping) else None

    async def record(self, *steps: Step) -> None:
        """Keep steps; what a question cost is the turn's, whoever asked."""
        await self._steps.record(
            *(
                step if step.kind == "usage" else Step(f"{self._mark}{step.kind}", step.content)
                for step in steps
            )
        )

    async def end(self, how: str, assessment: Assessment | None) -> None:
        """Record that this processor is done and the next one has its turn."""
        told: dict[str, JsonValue] | None = None
        if assessment is not None:
            told = {**dataclasses.asdict(assessment), "topics": list(assessment.topics)}
        await self.record(Step(_ENDED, {"how": how[:500], "assessment": told}))


def _assessment(ended: Mapping[str, Any]) -> Assessment | None:
    told = ended.get("assessment")
    return None if told is None else Assessment(**{**told, "topics": tuple(told["topics"])})


def _with(
    outcome: Reply | Silence | Handoff, before: Sequence[Assessment]
) -> Reply | Silence | Handoff:
    """The outcome with the last assessment before it, when it has none of its own."""
    if outcome.assessment is not None or not before:
        return outcome
    return dataclasses.replace(outcome, assessment=before[-1])
