"""How is an account brought to what it should be, so that it may be tried, repeated and taken back?

A set-up is a list of `Step` values. Each looks first: what stands is left alone, so that to run it
twice changes nothing, and a plan or a check is the same list with the looking alone. When a step
fails, what this run made is taken back, last first; what cannot be taken back is said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from mailagent.errors import Delivery, UncertainDelivery
from mailagent.identity import DnsRecord

__all__ = [
    "Found",
    "Laid",
    "Outcome",
    "Result",
    "SetUp",
    "Step",
    "differs",
    "examine",
    "missing",
    "observed",
    "set_up",
    "stands",
]

log = structlog.get_logger()


class Found(StrEnum):
    """What a look says."""

    STANDS = "stands"
    MISSING = "missing"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Laid:
    """What is there of one step, as a look has found it."""

    found: Found
    says: str
    """What is there, in words, and without a secret."""
    mend: str = ""
    """What a person must do about it; then no machine does anything."""
    notes: tuple[str, ...] = ()
    """What else was seen beside it and should be known."""
    before: Any = field(default=None, repr=False)
    """What `make` changes and `undo` brings back, in the step's own form."""


def stands(says: str, *, notes: Sequence[str] = ()) -> Laid:
    return Laid(Found.STANDS, says, notes=tuple(notes))


def missing(says: str = "is not there", *, mend: str = "", notes: Sequence[str] = ()) -> Laid:
    return Laid(Found.MISSING, says, mend, tuple(notes))


def differs(says: str, *, before: Any = None, mend: str = "", notes: Sequence[str] = ()) -> Laid:
    return Laid(Found.DIFFERS, says, mend, tuple(notes), before)


Look = Callable[[], Awaitable[Laid]]
Act = Callable[[Laid], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that should be there. Its calls raise as `identity.Identifies` does.

    `look` changes nothing. `make` and `undo` are given what was found before: `make` brings it to
    what is wanted, `undo` back; both may meet what is done already.
    """

    name: str
    wants: str
    """What should be there, in words, and without a secret."""
    look: Look
    make: Act
    undo: Act
    calls: tuple[str, ...] = ()
    """What `make` asks of the provider, in its own words."""
    only_looks: bool = False
    """Nothing is ever made of it; that it cannot be looked at undoes nothing."""


async def _nothing(_: Laid) -> None:
    """Of what is only looked at."""


def observed(name: str, wants: str, look: Look) -> Step:
    """What only a person can mend: `look` gives what does not stand a `mend`."""
    return Step(name, wants, look, _nothing, _nothing, only_looks=True)


@dataclass(frozen=True, slots=True)
class SetUp:
    """The steps of one account, and what a person needs beside them."""

    steps: tuple[Step, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    """What should be set here for it, by environment variable; nothing secret."""
    publish: tuple[DnsRecord, ...] = ()
    """What brings mail here by DNS, whoever publishes it."""


class Outcome(StrEnum):
    """What became of a step in one run."""

    STANDS = "stands"
    WANTED = "wanted"  # a plan: it would be made
    WAITS = "waits for a person"
    MADE = "made"
    FAILED = "failed"
    UNDONE = "taken back"
    LEFT = "made, and could not be taken back"
    UNTRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Result:
    """One step after a run. `says` is what is there, of MADE what was before, or why it failed."""

    name: str
    wants: str
    outcome: Outcome
    says: str
    mend: str = ""
    notes: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    """What a plan would ask of the provider, or a run has asked."""

    @property
    def well(self) -> bool:
        """Whether it is as it should be."""
        return self.outcome in (Outcome.STANDS, Outcome.MADE)


async def examine(steps: Sequence[Step]) -> tuple[Result, ...]:
    """Look at every step and change nothing. What cannot be looked at is FAILED."""
    results = []
    for step in steps:
        try:
            laid = await step.look()
        except Delivery as error:
            results.append(_result(step, Outcome.FAILED, error.reason))
            continue
        results.append(_seen(step, laid))
    return tuple(results)


async def set_up(steps: Sequence[Step]) -> tuple[Result, ...]:
    """Make what is missing or differs, in order; at the first failure take back what was made.

    Only `only_looks` steps may fail without that.
    """
    results: list[Result] = []
    made: list[tuple[int, Step, Laid]] = []
    for step in steps:
        laid: Laid | None = None
        try:
            laid = await step.look()
            if laid.found is Found.STANDS or laid.mend:
                results.append(_seen(step, laid))
                continue
            await _make(step, laid)
        except Delivery as error:
            said = f"{laid.says}; then: {error.reason}" if laid else error.reason
            results.append(_result(step, Outcome.FAILED, said, calls=step.calls if laid else ()))
            if step.only_looks:
                continue
            if laid is not None and await _changed(step, laid):
                made.append((len(results) - 1, step, laid))
            await _take_back(made, results)
            results += [_result(left, Outcome.UNTRIED, "") for left in steps[len(results) :]]
            return tuple(results)
        made.append((len(results), step, laid))
        done = laid.says if laid.found is Found.DIFFERS else step.wants
        results.append(_result(step, Outcome.MADE, done, laid.notes, calls=step.calls))
    return tuple(results)


async def _make(step: Step, laid: Laid) -> None:
    """Raises UncertainDelivery only where a second look cannot say that it stands."""
    try:
        await step.make(laid)
    except UncertainDelivery as error:
        try:
            again = await step.look()
        except Delivery:
            raise error from None
        if again.found is not Found.STANDS:
            raise


async def _changed(step: Step, laid: Laid) -> bool:
    """Whether a step that failed may have done a part of it, or all."""
    try:
        again = await step.look()
    except Delivery:
        return True
    return (again.found, again.says) != (laid.found, laid.says)


async def _take_back(made: list[tuple[int, Step, Laid]], results: list[Result]) -> None:
    for at, step, laid in reversed(made):
        failed = results[at].outcome is Outcome.FAILED
        try:
            await step.undo(laid)
        except Delivery as error:
            log.warning("provider.setup.left", step=step.name, error=error.reason)
            said = f"stands: {step.wants}; taking it back failed: {error.reason}"
            said = f"{results[at].says}; it may be there" if failed else said
            outcome = Outcome.FAILED if failed else Outcome.LEFT
            results[at] = _result(step, outcome, said, calls=step.calls)
        else:
            if not failed:
                results[at] = _result(step, Outcome.UNDONE, laid.says, calls=step.calls)


def _seen(step: Step, laid: Laid) -> Result:
    if laid.found is Found.STANDS:
        return _result(step, Outcome.STANDS, laid.says, laid.notes)
    if laid.mend:
        return _result(step, Outcome.WAITS, laid.says, laid.notes, mend=laid.mend)
    return _result(step, Outcome.WANTED, laid.says, laid.notes, calls=step.calls)


def _result(
    step: Step,
    outcome: Outcome,
    says: str,
    notes: Sequence[str] = (),
    *,
    mend: str = "",
    calls: Sequence[str] = (),
) -> Result:
    return Result(step.name, step.wants, outcome, says, mend, tuple(notes), tuple(calls))
