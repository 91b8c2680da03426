"""A set-up is tried, repeated and taken back, whatever its steps are."""

from __future__ import annotations

from mailagent.errors import Delivery, PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.providers.steps import (
    Laid,
    Outcome,
    Step,
    differs,
    examine,
    missing,
    observed,
    set_up,
    stands,
)


class Place:
    """What stands somewhere, by name, and what was done to it."""

    def __init__(self, **there: str) -> None:
        self.there = there
        self.done: list[str] = []
        self.fails: dict[str, Delivery] = {}
        self.lost: set[str] = set()
        """Changes that are made, and whose answer does not come."""

    def step(self, name: str, wanted: str = "right") -> Step:
        async def look() -> Laid:
            self._fail(f"look {name}")
            now = self.there.get(name)
            if now is None:
                return missing()
            return stands(now) if now == wanted else differs(f"is {now}", before=now)

        async def make(_: Laid) -> None:
            self._fail(f"make {name}")
            self.done.append(f"make {name}")
            self.there[name] = wanted
            if name in self.lost:
                raise UncertainDelivery("no answer")

        async def undo(laid: Laid) -> None:
            self._fail(f"undo {name}")
            self.done.append(f"undo {name}")
            if laid.before is None:
                self.there.pop(name, None)
            else:
                self.there[name] = laid.before

        return Step(name, f"{name} is {wanted}", look, make, undo, (f"PUT {name}",))

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]


REFUSED = PermanentFailure("refused", about="account")


async def test_a_plan_says_what_would_be_asked_and_does_nothing() -> None:
    place = Place(b="right", c="wrong")
    planned = await examine([place.step("a"), place.step("b"), place.step("c")])
    assert [(one.outcome, one.calls) for one in planned] == [
        (Outcome.WANTED, ("PUT a",)),
        (Outcome.STANDS, ()),
        (Outcome.WANTED, ("PUT c",)),
    ]
    assert place.done == []


async def test_what_is_missing_is_made_and_a_second_run_changes_nothing() -> None:
    place = Place(b="right", c="wrong")
    steps = [place.step("a"), place.step("b"), place.step("c")]
    first = await set_up(steps)
    assert [one.outcome for one in first] == [Outcome.MADE, Outcome.STANDS, Outcome.MADE]
    assert place.done == ["make a", "make c"]

    second = await set_up(steps)
    assert {one.outcome for one in second} == {Outcome.STANDS}
    assert place.done == ["make a", "make c"]


async def test_a_failure_takes_back_what_this_run_made_and_nothing_else() -> None:
    place = Place(b="right", c="wrong")
    place.fails["make d"] = REFUSED
    results = await set_up([place.step(name) for name in "abcde"])
    assert [one.outcome for one in results] == [
        Outcome.UNDONE,
        Outcome.STANDS,
        Outcome.UNDONE,
        Outcome.FAILED,
        Outcome.UNTRIED,
    ]
    assert place.there == {"b": "right", "c": "wrong"}
    assert place.done[-2:] == ["undo c", "undo a"]
    assert "refused" in results[3].says


async def test_what_cannot_be_taken_back_is_said() -> None:
    place = Place()
    place.fails = {"make b": REFUSED, "undo a": TransientFailure("away")}
    results = await set_up([place.step("a"), place.step("b")])
    assert results[0].outcome is Outcome.LEFT
    assert results[0].says == "stands: a is right; taking it back failed: away"
    assert place.there == {"a": "right"}


async def test_a_lost_answer_is_looked_after() -> None:
    place = Place()
    place.lost = {"a"}
    results = await set_up([place.step("a"), place.step("b")])
    assert [one.outcome for one in results] == [Outcome.MADE, Outcome.MADE]


async def test_a_lost_answer_that_no_look_explains_is_taken_back_too() -> None:
    place = Place()
    step = place.step("a")
    looks = iter([step.look])

    async def look() -> Laid:
        for first in looks:
            return await first()
        raise TransientFailure("away")

    async def make(laid: Laid) -> None:
        await step.make(laid)
        raise UncertainDelivery("no answer")

    results = await set_up([Step("a", "a", look, make, step.undo)])
    assert [one.outcome for one in results] == [Outcome.FAILED]
    assert place.there == {}


async def test_a_step_that_fails_half_way_is_taken_back_too() -> None:
    place = Place(a="wrong")
    step = place.step("a")

    async def make(_: Laid) -> None:
        place.there["a"] = "half"
        raise REFUSED

    results = await set_up([Step("a", "a", step.look, make, step.undo)])
    assert [one.outcome for one in results] == [Outcome.FAILED]
    assert place.there == {"a": "wrong"}


async def test_what_only_a_person_can_mend_waits_and_stops_nothing() -> None:
    async def look() -> Laid:
        return missing("in the sandbox", mend="ask for production access")

    place = Place()
    results = await set_up([observed("access", "production", look), place.step("a")])
    assert [one.outcome for one in results] == [Outcome.WAITS, Outcome.MADE]
    assert results[0].mend == "ask for production access"
    assert not results[0].well


async def test_an_observation_that_fails_takes_nothing_back() -> None:
    async def look() -> Laid:
        raise REFUSED

    place = Place()
    steps = [place.step("a"), observed("statistics", "told", look), place.step("b")]
    results = await set_up(steps)
    assert [one.outcome for one in results] == [Outcome.MADE, Outcome.FAILED, Outcome.MADE]
    assert place.there == {"a": "right", "b": "right"}


async def test_what_cannot_be_looked_at_is_no_reason_to_look_no_further() -> None:
    place = Place(b="right")
    place.fails["look a"] = TransientFailure("away")
    results = await examine([place.step("a"), place.step("b")])
    assert [one.outcome for one in results] == [Outcome.FAILED, Outcome.STANDS]
