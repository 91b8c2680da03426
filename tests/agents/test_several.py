"""Several processors for one mail: the first that answers, or all in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from mailagent.agents import Agent, AnswerLater, Step, Turn
from mailagent.agents.several import checked, named
from mailagent.errors import Malformed, Misconfigured, TransientFailure
from mailagent.outgoing import Assessment, Handoff, Reply, Silence
from tests.agents.turns import Notebook, mail, soon, turn

KNOWN = ["builtin", "claude", "webhook"]
SEEN = Assessment("refund", "negative", "high", ("returns",), "Wants money.", "", 0.8)
Outcome = Reply | Silence | Handoff


@dataclass
class Mind:
    """Gives an outcome, or raises it."""

    outcome: Outcome | Exception
    turns: list[Turn] = field(default_factory=list)

    async def think(self, turn: Turn, *, deadline: datetime) -> Outcome:
        self.turns.append(turn)
        await turn.steps.record(Step("thought", {"of": len(self.turns)}))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def several(name: str, **minds: Mind) -> Agent:
    find: Callable[[str], Agent] = minds.__getitem__
    return named(name, find)


@pytest.mark.parametrize(
    "first",
    [Handoff("not mine"), Misconfigured("webhook_url", "is not set"), TransientFailure("away")],
)
async def test_the_first_that_answers_answers(first: Outcome | Exception) -> None:
    a, b, c = Mind(first), Mind(Reply("b")), Mind(Reply("c"))
    outcome = await several("a+b+c", a=a, b=b, c=c).think(turn(mail("x")), deadline=soon())
    assert outcome == Reply("b")
    assert c.turns == []


async def test_who_answers_later_is_waited_for() -> None:
    a, b = Mind(AnswerLater("later")), Mind(Reply("b"))
    with pytest.raises(AnswerLater):
        await several("a+b", a=a, b=b).think(turn(mail("x")), deadline=soon())
    assert b.turns == []


async def test_where_none_answers_the_last_ones_reason_counts() -> None:
    a, b = Mind(Handoff("a")), Mind(Handoff("b"))
    outcome = await several("a+b", a=a, b=b).think(turn(mail("x")), deadline=soon())
    assert outcome == Handoff("b")


async def test_a_classifier_before_a_writer_tells_it_what_it_saw() -> None:
    a, b = Mind(Silence("seen", None, SEEN)), Mind(Reply("b"))
    outcome = await several("a&b", a=a, b=b).think(turn(mail("x")), deadline=soon())
    assert b.turns[0].assessments == (SEEN,)
    assert outcome == Reply("b", assessment=SEEN)


async def test_a_classifier_may_hand_over() -> None:
    a, b = Mind(Handoff("a lawyer's letter")), Mind(Reply("b"))
    outcome = await several("a&b", a=a, b=b).think(turn(mail("x")), deadline=soon())
    assert outcome == Handoff("a lawyer's letter")
    assert b.turns == []


async def test_a_resumed_turn_asks_none_twice_and_each_sees_its_own_steps() -> None:
    steps = Notebook()
    a, b = Mind(Silence("seen", None, SEEN)), Mind(TransientFailure("busy"))
    agent = several("a&b", a=a, b=b)
    with pytest.raises(TransientFailure):
        await agent.think(turn(mail("x"), steps=steps), deadline=soon())
    b.outcome = Reply("b")
    outcome = await agent.think(turn(mail("x"), steps=steps), deadline=soon())
    assert outcome == Reply("b", assessment=SEEN)
    assert len(a.turns) == 1
    assert [step.kind for step in b.turns[1].steps.past] == ["thought", "thought"]


async def test_what_a_question_cost_is_the_turns() -> None:
    steps = Notebook()

    class Spends(Mind):
        async def think(self, turn: Turn, *, deadline: datetime) -> Outcome:
            await turn.steps.record(Step("usage", {"input_tokens": 1}))
            return Reply("x")

    agent = several("a+b", a=Mind(Handoff("no")), b=Spends(Reply("x")))
    await agent.think(turn(mail("x"), steps=steps), deadline=soon())
    assert steps.of_kind("usage") == [{"input_tokens": 1}]


@pytest.mark.parametrize(
    "name", ["claude", "webhook+claude", "builtin&claude", "webhook+builtin+claude"]
)
def test_a_name_that_makes_sense_is_saved(name: str) -> None:
    assert checked("processor", name, KNOWN) == name


@pytest.mark.parametrize(
    "name",
    ["gpt", "claude+", "claude+claude", "webhook+claude&builtin", "a+b", "+", "claude a"],
)
def test_a_name_that_makes_none_is_not(name: str) -> None:
    with pytest.raises(Malformed, match="processor"):
        checked("processor", name, KNOWN)
