"""How much may agents do, when, and how sure must they be? What people set, and the defaults.

A workspace's limits hold for each of its agents; what an agent sets lies over them. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mailagent.agents.working_hours import WorkingHours
from mailagent.errors import Malformed
from mailagent.mime.outgoing_rules import check_address

__all__ = ["Counted", "Limits", "Per", "counters", "due_at", "merged", "parse_limits"]

Counted = Literal["turns", "tokens", "usd", "replies"]
Per = Literal["workspace", "agent", "correspondent", "thread"]

_Count = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]
_Hours = Annotated[int, Field(ge=1, le=24 * 90, strict=True)]
_SIGNATURE_CHARACTERS = 2_000
_MOST_APPROVERS = 20


class Limits(BaseModel):
    """All limits of one agent; `None` of a count is no limit. Days are the last 24 hours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns_per_agent_a_day: _Count | None = None
    turns_per_thread_a_day: _Count | None = None
    tokens_per_workspace_a_day: _Count | None = None
    tokens_per_agent_a_day: _Count | None = None
    tokens_per_correspondent_a_day: _Count | None = None
    tokens_per_thread_a_day: _Count | None = None
    usd_per_correspondent_a_day: _Dollars | None = None
    usd_per_thread_a_day: _Dollars | None = None
    replies_per_workspace_a_day: _Count | None = None
    replies_per_agent_a_day: _Count | None = 100
    replies_per_correspondent_a_day: _Count | None = None
    replies_per_thread_a_day: _Count | None = None
    replies_per_correspondent_an_hour: _Count | None = 20
    """So many answers to one writer, in whatever threads, are two machines that talk: further mail
    is parked until a person looks, not until the day ends."""
    auto_reply: Annotated[bool, Field(strict=True)] = True
    """False: nothing leaves without a person's yes."""
    approve_below: _Share = 0.80
    """An answer of which the agent is less sure waits for a person's yes."""
    hand_over_below: _Share = 0.70
    """An answer of which it is less sure than that is a person's to write."""
    amount: _Dollars | None = Decimal(100)
    """A sum of money in an answer, in whatever currency, above which it waits for a person's yes,
    unless the thread or a document it rests on has it; None: no sum does."""
    delay_seconds: Annotated[int, Field(ge=0, le=7 * 86_400, strict=True)] = 0
    """How long an answer waits before it is sent, in which a person can stop it."""
    working_hours: WorkingHours | None = None
    """When answers are sent and people are reminded; None: always."""
    approvers: tuple[str, ...] = ()
    """Whom an approval is asked of; empty: the workspace's owners."""
    approval_hours: _Hours = 72
    at_expiry: Literal["reject", "approve"] = "reject"
    """What becomes of an approval that nobody decided; `reject` hands the mail to a person."""
    remind_after_hours: _Hours = 4
    """Working hours until approvers are reminded, and again until it is escalated."""
    tell_of_held: Annotated[bool, Field(strict=True)] = True
    """Whether approvers are asked by mail about mail that came in and is held; false: it waits in
    the queue, and the owners' digest counts it."""
    signature: Annotated[str, Field(max_length=_SIGNATURE_CHARACTERS)] = ""
    languages: tuple[str, ...] = ()
    """BCP 47 tags the agent may write in: the writer's where it is among them, else the first;
    empty: whichever the writer uses.
    """

    @field_validator("approvers")
    @classmethod
    def _addresses(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if len(given) > _MOST_APPROVERS:
            raise ValueError(f"has more than {_MOST_APPROVERS} addresses")
        for one in given:
            try:
                check_address("approvers", one)
            except Malformed as error:
                raise ValueError(error.problem) from error
        return tuple(one.lower() for one in given)

    @field_validator("languages")
    @classmethod
    def _tags(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            if not 2 <= len(one) <= 35 or not one.replace("-", "").isalnum() or not one.isascii():
                raise ValueError(f"{one[:40]!r} is no language tag: write one such as en or de-AT")
        return given

    @field_validator("signature")
    @classmethod
    def _storable(cls, text: str) -> str:
        if "\x00" in text or any("\ud800" <= one <= "\udfff" for one in text):
            raise ValueError("holds a NUL or half a character: remove it")
        return text

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.hand_over_below > self.approve_below:
            raise ValueError("hand_over_below must not be above approve_below")
        return self


@dataclass(frozen=True, slots=True)
class Counter:
    """One count of a day that may be spent."""

    counted: Counted
    per: Per
    most: Decimal


def counters(limits: Limits) -> tuple[Counter, ...]:
    """The counts that are limited, from the widest to the narrowest."""
    found = []
    for per in get_args(Per):
        for counted in get_args(Counted):
            most = getattr(limits, f"{counted}_per_{per}_a_day", None)
            if most is not None:
                found.append(Counter(counted, per, Decimal(most)))
    return tuple(found)


def parse_limits(fields: object) -> Mapping[str, Any]:
    """What people set, as JSON to be kept: only what is named, checked. Raises Malformed naming the
    field and the mend.
    """
    if not isinstance(fields, Mapping):
        raise Malformed("limits", "must be an object")
    for name in fields:
        if name not in Limits.model_fields:
            near = difflib.get_close_matches(str(name), Limits.model_fields, n=1)
            mend = f"did you mean {near[0]!r}?" if near else "see docs/reference/policy.md"
            raise Malformed(f"limits.{str(name)[:80]}", f"is no limit: {mend}")
    limits = _checked(fields)
    return limits.model_dump(mode="json", include=set(fields))


def merged(*set_: Mapping[str, Any] | None) -> Limits:
    """The limits that hold where several set some, the widest first. Raises Malformed."""
    together: dict[str, Any] = {}
    for one in set_:
        together |= one or {}
    return _checked(together)


def due_at(limits: Limits, now: datetime) -> datetime:
    """When an answer that is ready now is sent."""
    later = now + timedelta(seconds=limits.delay_seconds)
    return limits.working_hours.next_open(later) if limits.working_hours else later


def _checked(fields: Mapping[str, Any]) -> Limits:
    try:
        return Limits.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("limits", *first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise Malformed(where, problem[:1].lower() + problem[1:]) from error
