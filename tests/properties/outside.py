"""What stands outside of the story, played: DNS, the agents' minds, the far side of sending.

Each watches what it is shown and writes what must never be into `broken`, because an exception
would only look like one more failed step.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import bindparam, select

from mailagent import reading
from mailagent.agents import Step, Turn
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.errors import (
    Misconfigured,
    PermanentFailure,
    SandboxFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.outgoing import (
    Committing,
    HandedOver,
    Handoff,
    Later,
    Outgoing,
    Recipient,
    Refused,
    Reply,
    Sent,
    Silence,
)
from mailagent.resolver import Resolver
from mailagent.sandbox import JsonValue, Sandbox
from mailagent.store.engine import Store
from mailagent.store.tables import outbound_mails, outbound_recipients, suppressions
from mailagent.store.transaction import Transaction
from tests.properties.fate import fate

__all__ = ["AGENTS", "FAR_SIDES", "FarSide", "Mind", "Offered", "Reader", "Zone", "mark"]

AGENTS = ("replies", "is silent", "hands over", "hands over politely", "is away", "fails",
          "is not set up")  # fmt: skip
FAR_SIDES = ("takes", "refuses the first", "defers the first", "defers all", "refuses the mail",
             "is away", "refuses the account", "forgets one", "falls silent before it took it",
             "falls silent after it took it", "confuses us", "fails before")  # fmt: skip
_MARK = re.compile(r"\[(\w+)\]")


def mark(slug: str) -> str:
    """Stands in every text that was written to or by a workspace."""
    return f"[{slug}]"


class Zone(Resolver):
    """DNS without a socket."""

    def __init__(self, records: Mapping[tuple[str, str], str]) -> None:
        super().__init__("127.0.0.1:9")
        self._records = records

    async def ask_all(self, questions: Iterable[Question]) -> dict[Question, Answer]:
        return {one: self._answer(one) for one in questions}

    def _answer(self, question: Question) -> Answer:
        if not fate().dns_answers:
            return Unknown("nobody answers")
        record = self._records.get((question.name, question.type))
        return Found((record,)) if record else Absent(nxdomain=True)


class Reader(Sandbox):
    """The function that reads mail, called where we are.

    It is pure, so rows and promises see the same as from a worker process, at a tenth of the time;
    `tests/sandbox` holds the process to its own promises.
    """

    async def run(
        self,
        job: str,
        blob: bytes,
        arguments: Mapping[str, JsonValue],
        *,
        deadline: timedelta | None = None,
    ) -> bytes:
        if fate().reader_dies:
            raise SandboxFailure("crash", "the worker died")
        assert job == "mailagent.reading:read"
        return reading.read(blob, json.loads(json.dumps(arguments)))


@dataclass
class Mind:
    """Every agent's processor. It asks its model two questions a turn and records each answer."""

    broken: list[str]
    answered: int = 0
    """How many answers were recorded so far."""
    _answers: dict[str, dict[int, tuple[int, Step]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """What was durable before we went on, by turn and position, with its number of `answered`."""

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        slug = turn.profile.address.partition("@")[2].partition(".")[0]
        self._look_around(turn, slug)
        past = turn.steps.past
        for position, (number, step) in self._answers[turn.id].items():
            # A process that froze before that cannot know of it; the fence stops what it makes.
            known = number < fate().answered_before
            if known and (position >= len(past) or past[position] != step):
                self.broken.append(f"{turn.id} would ask again what it had recorded")
        for position in range(len(past), 2):
            step = Step("tool", {"answer": position})
            await turn.steps.record(step)
            self._answers[turn.id][position] = (self.answered, step)
            self.answered += 1
        match fate().agent:
            case "replies":
                return Reply(f"Thank you. {mark(slug)}\n")
            case "asks first":
                return Reply(f"Perhaps. {mark(slug)}\n", ask="it may be wrong")
            case "is silent":
                return Silence("nothing is asked")
            case "hands over":
                return Handoff("too hard")
            case "hands over politely":
                return Handoff("too hard", notice=f"A person will write. {mark(slug)}\n")
            case "is away":
                raise TransientFailure("the model is busy")
            case "is not set up":
                raise Misconfigured("MODEL_KEY", "is empty")
            case _:
                raise RuntimeError("a mind that fails")

    def _look_around(self, turn: Turn, slug: str) -> None:
        texts = [mail.content.text for mail in turn.mails]
        texts += [entry.text for entry in turn.thread.entries]
        foreign = {one for text in texts for one in _MARK.findall(text)} - {slug}
        if foreign:
            self.broken.append(f"{turn.id} of {slug} was shown mail of {foreign}")


@dataclass(frozen=True)
class _Standing:
    """How a recipient stood just before we were told to go on."""

    state: str
    digest: str
    suppressed: bool


@dataclass(frozen=True)
class Offered:
    """One mail for one recipient, past the point of no return."""

    recipient: Recipient
    outgoing: Outgoing


_STANDING = (
    select(
        outbound_recipients.c.id,
        outbound_recipients.c.state,
        outbound_recipients.c.workspace_id,
        outbound_mails.c.digest,
    )
    .join(outbound_mails, outbound_mails.c.id == outbound_recipients.c.outbound_id)
    .where(outbound_recipients.c.id.in_(bindparam("ids", expanding=True)))
)
_STOPPED = select(suppressions.c.id).where(
    suppressions.c.workspace_id == bindparam("workspace"),
    suppressions.c.address == bindparam("address"),
)


@dataclass
class FarSide:
    """A provider's service: it counts what it was given, and by whose permission."""

    store: Store
    broken: list[str]
    at_once: int
    offered: list[Offered] = field(default_factory=list)
    """Past `committing`: from here on the service knows the return path and may report."""
    taken: Counter[str] = field(default_factory=Counter)
    """How often it took responsibility, by recipient row."""
    permitted: Counter[str] = field(default_factory=Counter)
    """How often a person said "again", by recipient row."""
    _in_doubt: set[str] = field(default_factory=set)
    """`sending` is committed, and no recorded answer says that it was not taken."""
    name: str = "far"

    @property
    def recipients_at_once(self) -> int:
        return self.at_once

    def permit(self, recipient_id: str) -> None:
        """A person accepts that it may arrive twice."""
        self.permitted[recipient_id] += 1
        self._in_doubt.discard(recipient_id)

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        said: dict[Recipient, Sent | Refused | Later] = {}
        how = fate().far_side
        match how:
            case "is away":
                raise TransientFailure("421 closing", code="421")
            case "refuses the account":
                raise PermanentFailure("535 no such login", about="account", code="535")
            case "fails before":
                raise RuntimeError("nobody foresaw this")
            case "refuses the first":
                said[to[0]] = Refused("550 no such user", "recipient", "550")
            case "defers the first":
                said[to[0]] = Later("451 greylisted", "451")
        left = [one for one in to if one not in said]
        if left:
            said |= await self._content(outgoing, left, committing, how)
        return said

    async def _content(
        self, outgoing: Outgoing, to: Sequence[Recipient], committing: Committing, how: str
    ) -> HandedOver:
        before = await self.store.read_unscoped(self._standing, to)
        ids = [one.id for one in to]
        again = self._in_doubt.intersection(ids)
        # From that commit on nobody who finds the row can know what we have seen.
        fate().at_commit.append(lambda: self._in_doubt.update(ids))
        try:
            await committing(to)
        except BaseException:
            fate().at_commit.clear()
            raise
        for one in to:
            self._begin(one, outgoing, before[one.id], again=one.id in again)
        match how:
            case "falls silent before it took it":
                raise UncertainDelivery("no answer to the content")
            case "defers all":
                fate().at_commit.append(lambda: self._in_doubt.difference_update(ids))
                return dict.fromkeys(to, Later("452 full", "452"))
            case "refuses the mail":
                return dict.fromkeys(to, Refused("554 not this", "message", "554"))
        for one in to:
            self._take(one)
        if how == "falls silent after it took it":
            raise UncertainDelivery("connection reset")
        if how == "confuses us":
            raise RuntimeError("an answer that nobody can read")
        answered = to[1:] if how == "forgets one" else to
        return {one: Sent(f"far-{one.id}", "250 taken") for one in answered}

    def _standing(self, tx: Transaction, to: Sequence[Recipient]) -> dict[str, _Standing]:
        rows = tx.rows(_STANDING, {"ids": [one.id for one in to]})
        address = {one.id: one.address.lower() for one in to}
        stopped = [
            tx.row(_STOPPED, {"workspace": row.workspace_id, "address": address[row.id]})
            for row in rows
        ]
        return {
            row.id: _Standing(row.state, row.digest, stop is not None)
            for row, stop in zip(rows, stopped, strict=True)
        }

    def _begin(self, one: Recipient, outgoing: Outgoing, before: _Standing, *, again: bool) -> None:
        if before.state != "queued":
            self.broken.append(f"{one.id} was {before.state} before it was handed over")
        if before.suppressed:
            self.broken.append(f"{one.address} was suppressed before {one.id} was handed over")
        if before.digest != outgoing.digest():
            self.broken.append(f"{one.id} is not the mail that was frozen")
        if again:
            self.broken.append(f"{one.id} is sent again, and the first time may have arrived")
        slug = outgoing.from_.domain.partition(".")[0]
        if set(_MARK.findall(outgoing.text)) - {slug}:
            self.broken.append(f"{outgoing.message_id} of {slug} carries mail of another workspace")
        self.offered.append(Offered(one, outgoing))

    def _take(self, one: Recipient) -> None:
        self.taken[one.id] += 1
        if self.taken[one.id] > 1 + self.permitted[one.id]:
            self.broken.append(f"{one.address} got {one.id} {self.taken[one.id]} times")
