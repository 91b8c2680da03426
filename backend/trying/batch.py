"""How is past mail tried at half the price, by the batches of the model's service?

Where there is a bound in money, the first mail is asked alone, to learn what one costs. All others
think in rounds, a batch each: a mail whose model asks for a tool goes on in the next one. Steps and
the batch's id are rows before anything is waited for, so a trial that was stopped goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from backend.trying import trial as kept
from backend.trying.rounds import Rounds
from backend.trying.run import Purse, Tried, prepared
from backend.trying.trial import Trial, TrialMail
from mailagent.agents import Agent, Step
from mailagent.agents.claude import Claude
from mailagent.agents.claude_batches import BatchedAnswer, ClaudeBatches
from mailagent.agents.claude_service import Question, RefusedRequest, failure
from mailagent.agents.prices import BATCHED
from mailagent.errors import (
    Conflict,
    MailagentError,
    Malformed,
    Misconfigured,
    TransientFailure,
)
from mailagent.flow.rehearsal import Prepare, Rehearsed, Stored, rehearse
from mailagent.flow.services import Services

__all__ = ["Waiting", "try_in_batches"]

_LONGEST = timedelta(days=30)
"""Of a turn: each of its questions may take a day."""
_TRIES = 2
"""Of a question that expired or met an error of the service."""
_CLOCKS = timedelta(minutes=5)
"""What the service's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a batch is waited for: who hears of it, and how long until the next look (doubled)."""

    told: Callable[[str], None]
    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(minutes=1)


async def try_in_batches(
    services: Services, workspace_id: str, agent_id: str, trial_id: str, waiting: Waiting
) -> list[tuple[str, Tried]]:
    """Begin a trial or go on with it; each mail's delivery and what would become of it, in order.

    Raises NotFound; Misconfigured, Malformed, TransientFailure when the service takes no batch;
    UncertainDelivery when nobody knows whether it took one; LostClaim when another process goes on
    with the same trial. After any of them it can be gone on with.
    """
    store = services.store
    trial = await store.read(workspace_id, kept.get, agent_id, trial_id)
    mails = await store.read(workspace_id, kept.mails_of, trial_id)
    claude = services.processor("claude")
    if not isinstance(claude, Claude):
        raise Malformed("--batch", "needs the processor claude")
    run = _Run(services, workspace_id, trial, claude.batches, waiting)
    await run.take_up()
    return await run.all(mails)


class _Stopped(MailagentError):
    """No more may be asked."""


@dataclass
class _Run:
    services: Services
    workspace_id: str
    trial: Trial
    batches: ClaudeBatches
    waiting: Waiting
    batch_id: str | None = None
    """The last batch, whose answers are kept when the next one is asked for."""
    left: dict[str, BatchedAnswer] = field(default_factory=dict)
    """Answers of a batch that was under way when the trial was stopped."""
    spent: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        self.rounds = Rounds(self._put)
        self.prepare: Prepare = prepared(self.trial.agent_id, self.trial.file)

    # --- mails ---

    async def all(self, mails: Sequence[TrialMail]) -> list[tuple[str, Tried]]:
        """Try them; alone, where money is bounded, until one has cost something."""
        steps = {mail.position: _KeptSteps(self, mail) for mail in mails}
        purse = Purse(self.trial.usd, share=BATCHED)
        tried: list[Tried] = []
        cost: Decimal | None = Decimal(0)
        while self.trial.usd is not None and cost == 0 and len(tried) < len(mails):
            purse.take()
            one = await self._one(steps[mails[len(tried)].position], batched=False)
            cost = Decimal(0) if one.result is None else one.result.cost_usd
            purse.give(cost)
            tried.append(one)
        turns: list[Callable[[], Coroutine[Any, Any, Tried]]] = []
        closed: list[Tried] = []
        for mail in mails[len(tried) :]:
            if (why := purse.take()) is not None:
                closed.append(Tried(Stored(mail.delivery_id), None, why))
            else:
                turns.append(partial(self._one, steps[mail.position], batched=True))
        tried += await self.rounds.run(turns)
        ids = [mail.delivery_id for mail in mails]
        return list(zip(ids, [*tried, *closed], strict=True))

    async def _one(self, steps: _KeptSteps, *, batched: bool) -> Tried:
        services = self._batching(_Way(self, steps)) if batched else self.services
        subject = Stored(steps.mail.delivery_id)
        try:
            result: Rehearsed = await rehearse(
                services,
                self.workspace_id,
                self.trial.agent_id,
                subject,
                prepare=self.prepare,
                steps=steps,
            )
        except (Conflict, _Stopped) as error:
            return Tried(subject, None, str(error))
        return Tried(subject, result)

    def _batching(self, way: _Way) -> Services:
        """The services with a model that is asked in batches."""
        usual = self.services

        def processor(name: str) -> Agent:
            agent = usual.processor(name)
            return agent.asking(way) if isinstance(agent, Claude) else agent

        settings = replace(usual.settings, turn_deadline=_LONGEST)
        return replace(usual, processor=processor, settings=settings)

    # --- batches ---

    async def take_up(self) -> None:
        """Find what the batch gave that was under way when the trial was stopped."""
        trial = self.trial
        self.batch_id = trial.batch_id
        if trial.batch_id is not None:
            self.left = dict(await self._results(trial.batch_id))
        elif trial.asking_since is not None:
            await self._look_for(trial.asking_since)

    async def _look_for(self, asking_since: datetime) -> None:
        """A batch that was asked for, and of which nobody knows whether it was created."""
        for one in await self.batches.since(asking_since - _CLOCKS):
            if one.questions != self.trial.asked:
                continue
            found = await self._results(one.id)
            if found and all(name.startswith(f"{self.trial.id}-") for name in found):
                await self._write(kept.asked, one.id)
                self.batch_id, self.left = one.id, dict(found)
                return
        await self._write(kept.withdraw)

    async def _put(self, bodies: Mapping[str, Mapping[str, Any]]) -> Mapping[str, BatchedAnswer]:
        known = {name: self.left.pop(name) for name in bodies if name in self.left}
        todo = {name: body for name, body in bodies.items() if name not in known}
        return {**known, **(await self._batch(todo) if todo else {})}

    async def _batch(self, bodies: Mapping[str, Mapping[str, Any]]) -> Mapping[str, BatchedAnswer]:
        await self._write(kept.asking, len(bodies), after=self.batch_id)
        self.batch_id = None
        try:
            made = await self.batches.create(bodies)
        except RefusedRequest as error:
            await self._write(kept.withdraw)
            raise Malformed("--batch", f"{error}: try without it") from error
        except (Misconfigured, TransientFailure):
            await self._write(kept.withdraw)
            raise
        await self._write(kept.asked, made)
        self.batch_id = made
        self.waiting.told(f"batch {made}: {len(bodies)} questions, half the price")
        return await self._results(made)

    async def _results(self, batch_id: str) -> Mapping[str, BatchedAnswer]:
        """What a batch gave, once it has ended."""
        pause = self.waiting.first
        while True:
            try:
                if (await self.batches.find(batch_id)).ended:
                    return await self.batches.results(batch_id)
            except TransientFailure as error:
                self.waiting.told(f"batch {batch_id}: {error.reason}; asked again")
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, self.waiting.longest)

    async def _write(self, work: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        await self.services.store.write(self.workspace_id, work, self.trial.id, *args, **kwargs)

    # --- money ---

    def check_purse(self) -> None:
        """Raises _Stopped when the mails together have spent what they may."""
        usd = self.trial.usd
        if usd is not None and self.spent >= usd:
            raise _Stopped(f"{usd} USD are spent")


class _KeptSteps:
    """The steps of one mail: durable on return, so that a trial that goes on asks nothing twice."""

    def __init__(self, run: _Run, mail: TrialMail) -> None:
        self._run, self.mail = run, mail
        self.past = mail.steps
        self._all = list(mail.steps)
        self._count(mail.steps)

    @property
    def answers(self) -> int:
        """How many answers of a model there are: each cost something."""
        return sum(step.kind == "usage" for step in self._all)

    async def record(self, *steps: Step) -> None:
        """Keep steps. Raises LostClaim."""
        known = len(self._all)
        self._all += steps
        run = self._run
        await run.services.store.write(
            run.workspace_id,
            kept.keep_steps,
            run.trial.id,
            self.mail.position,
            self._all,
            known=known,
        )
        self._count(steps)

    def _count(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.kind == "usage" and isinstance(step.content, Mapping):
                self._run.spent += Decimal(str(step.content["cost_usd"] or 0))


class _Way:
    """The way of one mail's questions: into the round's batch, and again where that went wrong."""

    share = BATCHED

    def __init__(self, run: _Run, steps: _KeptSteps) -> None:
        self._run, self._steps = run, steps

    async def ask(self, question: Question, *, deadline: datetime) -> Mapping[str, Any]:
        """As `Asks` has it."""
        name = f"{self._run.trial.id}-{self._steps.mail.position}-{self._steps.answers}"
        for _ in range(_TRIES):
            self._run.check_purse()
            answer = await self._run.rounds.ask(name, question.body(goes_on=False))
            if answer.message is not None:
                return answer.message
            if (end := _for_good(answer, question.model)) is not None:
                raise end
        raise TransientFailure(f"its question {answer.ended} in {_TRIES} batches")


def _for_good(
    answer: BatchedAnswer, model: str
) -> RefusedRequest | TransientFailure | Misconfigured | None:
    """What ends a turn whose question was not answered; None when it may be asked again."""
    if answer.ended == "canceled":
        return TransientFailure("the batch was canceled at the model's service")
    match answer.status:
        case 400 | 413 | 422:
            return RefusedRequest(answer.status)
        case 401 | 402 | 403 | 404:
            return failure(answer.status, model, None)
    return None
