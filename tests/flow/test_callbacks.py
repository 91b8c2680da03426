"""A turn that is answered later, at the address that it was given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from mailagent.agents import AnswerLater, Turn
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import callbacks
from mailagent.outgoing import Reply
from mailagent.store import tables as t
from tests.flow.house import House

pytestmark = pytest.mark.asyncio(loop_scope="package")


class Patient:
    """Waits for the answer to its turn, and gives it."""

    def __init__(self, house: House, *, at_once: bool = False) -> None:
        self.house, self.at_once = house, at_once
        self.url = ""

    async def __call__(self, turn: Turn) -> Reply:
        assert turn.callback is not None
        self.url = turn.callback.url
        said = turn.callback.answer
        if isinstance(said, Mapping):
            return Reply(str(said["text"]))
        if self.at_once:
            await self.answer({"action": "reply", "text": "Before you could wait."})
        raise AnswerLater("later", retry_at=self.house.store.now() + timedelta(days=1))

    async def answer(self, said: Any) -> None:
        token = self.url.rpartition("/")[2]
        await self.house.store.write_unscoped(callbacks.answer, self.house.services, token, said)


async def test_an_answer_that_comes_later_is_the_turns(house: House) -> None:
    mind = Patient(house)
    space = await house.workspace(mind)
    got = await space.receive()

    async def waits() -> bool:
        rows = await space.rows(t.threads)
        return bool(mind.url) and all(row.claimed_by is None and row.attempts for row in rows)

    await house.until(waits)
    with pytest.raises(Malformed, match="action"):
        await mind.answer({"action": "pay", "text": "x"})
    await mind.answer({"action": "reply", "text": "At last."})
    answer = space.as_sent((await space.answer_to(got)).message_id)
    assert "At last." in answer.get_content()
    with pytest.raises(Conflict):
        await mind.answer({"action": "reply", "text": "Once more."})


async def test_an_answer_that_overtakes_the_waiting_is_not_lost(house: House) -> None:
    mind = Patient(house, at_once=True)
    space = await house.workspace(mind)
    row = await space.answer_to(await space.receive())
    assert "Before you could wait." in space.as_sent(row.message_id).get_content()


async def test_a_turn_is_answered_once_and_only_by_its_own_address(house: House) -> None:
    mind = Patient(house)
    space = await house.workspace(mind)
    await space.receive()
    await house.until(lambda: _asked(mind))
    good = mind.url
    for forged in (good[:-1] + ("a" if good[-1] != "a" else "b"), "x/", "x/atoken", good[:-20]):
        mind.url = forged
        with pytest.raises(NotFound):
            await mind.answer({"action": "no_action"})
    mind.url = good
    await mind.answer({"action": "reply", "text": "First."})
    with pytest.raises(Conflict):
        await mind.answer({"action": "reply", "text": "Second."})


async def _asked(mind: Patient) -> bool:
    return bool(mind.url)
