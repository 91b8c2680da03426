"""Past mail tried in batches: half the price, in rounds, and a stop loses nothing that was paid."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, select, update

from backend.agents import agent_file
from backend.trying import trial
from backend.trying.batch import Waiting
from backend.trying.past import Comparison
from backend.trying.rounds import Rounds
from backend.trying.service import begin_trial, go_on
from mailagent.agents import Step
from mailagent.agents.claude import Claude
from mailagent.agents.claude_batches import BatchedAnswer
from mailagent.errors import LostClaim, Malformed, Misconfigured, NotFound, UncertainDelivery
from mailagent.flow import chores, removal
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.api_server import Fault, Reply
from tests.backend.mailroom import DOMAIN, Mailroom, mail, open_mailroom
from tests.backend.test_idempotency import everything
from tests.batch_server import BatchServer, errored
from tests.model_server import Answer, decide, message, wish

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
OURS = ("trials", "trial_mails")
PRICE = Decimal("0.0004")
"""Of 100 tokens asked and 20 said."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, sandbox) as opened:
        for number in range(3):
            await opened.answered(mail(subject=f"Question {number}", text=f"Number {number}?"))
        yield opened


class _Trials:
    """Begins trials of the room's mails at a server, and goes on with them."""

    def __init__(self, room: Mailroom, server: BatchServer) -> None:
        self.room, self.server = room, server
        self.told: list[str] = []
        self.waiting = Waiting(self.told.append, timedelta(milliseconds=5))
        self.claude = Claude("a-key", base_url=server.url)
        self.services = replace(room.services, processor=lambda _: self.claude)

    async def begin(self, *, usd: str | None = None, **how: Any) -> str:
        bound = None if usd is None else Decimal(usd)
        where = self.room.workspace_id
        return await begin_trial(self.services, where, "hello", LONG_AGO, usd=bound, **how)

    async def go_on(self, trial_id: str) -> Comparison:
        where = self.room.workspace_id
        return await go_on(self.services, where, "hello", trial_id, self.waiting)


@asynccontextmanager
async def trials(room: Mailroom, says: Any, **how: Any) -> AsyncIterator[_Trials]:
    async with BatchServer(says=says, **how) as server:
        opened = _Trials(room, server)
        try:
            yield opened
        finally:
            await opened.claude.close()


def said(body: Mapping[str, Any]) -> str:
    """All that the model was told, as one text."""
    return str(body["messages"])


def looks_up_first(number: int) -> Any:
    """A model that wants one tool for one of the mails and decides all others at once."""

    def says(body: Mapping[str, Any]) -> Answer:
        if f"Number {number}" in said(body) and "tool_result" not in said(body):
            search = wish("search_documents", {"query": "hours"})
            return message(search, stop_reason="tool_use")
        return decide("Batched.")

    return says


def asked(server: BatchServer) -> list[int]:
    return [len(batch) for batch in server.batches]


async def test_past_mail_is_tried_in_one_batch_at_half_the_price_and_nothing_else_changes(
    room: Mailroom,
) -> None:
    async with trials(room, lambda _: decide("Batched.")) as batched:
        before = await everything(room)
        trial_id = await batched.begin(file=agent_file.parse("instructions: Be exact."))
        found = await batched.go_on(trial_id)
        after = await everything(room)
        assert {name for name in before if before[name] != after[name]} == set(OURS)
        await room.do(trial.end, trial_id)
        assert await everything(room) == before
        (batch,) = batched.server.batches
    assert [one.now.text for one in found.items if one.now] == ["Batched."] * 3
    assert (found.count("words"), found.cost_now) == (3, PRICE * 3 / 2)
    assert batched.server.alone == []
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in batch)
    assert all("stream" not in body for body in batch.values())
    assert all("Be exact." in str(body["system"]) for body in batch.values())
    assert any("batch msgbatch_0: 3 questions" in line for line in batched.told)


async def test_a_mail_that_needs_a_tool_goes_on_in_the_next_batch(room: Mailroom) -> None:
    async with trials(room, looks_up_first(1), looks=2) as batched:
        found = await batched.go_on(await batched.begin())
        assert asked(batched.server) == [3, 1]
        (second,) = batched.server.batches[1].values()
    assert "Number 1" in said(second)
    assert "tool_result" in said(second)
    used = {
        one.was.subject: [tool.name for tool in one.now.tools] for one in found.items if one.now
    }
    assert used == {"Question 0": [], "Question 1": ["search_documents"], "Question 2": []}
    assert found.cost_now == PRICE * 4 / 2


@pytest.mark.parametrize("how", ["expired", "lost", errored("api_error"), errored("overloaded")])
async def test_a_question_without_an_answer_is_asked_once_more(room: Mailroom, how: str) -> None:
    wrong = iter([how])
    async with trials(room, lambda _: next(wrong, None) or decide("Batched.")) as batched:
        found = await batched.go_on(await batched.begin())
        assert asked(batched.server) == [3, 1]
    assert found.count("words") == 3


async def test_a_question_that_expires_twice_is_told_and_tried_anew_when_it_goes_on(
    room: Mailroom,
) -> None:
    def expires(body: Mapping[str, Any]) -> Answer | str:
        return "expired" if "Number 0" in said(body) else decide("Batched.")

    async with trials(room, expires) as batched:
        trial_id = await batched.begin()
        found = await batched.go_on(trial_id)
        assert found.items[0].now is not None
        assert "expired in 2 batches" in found.items[0].now.reason
        batched.server.says = lambda _: decide("At last.")
        again = await batched.go_on(trial_id)
        assert asked(batched.server) == [3, 1, 1]
    assert [one.now.text for one in again.items if one.now] == ["At last.", "Batched.", "Batched."]


async def test_a_canceled_batch_is_not_asked_again(room: Mailroom) -> None:
    async with trials(room, lambda _: "canceled") as batched:
        found = await batched.go_on(await batched.begin())
        assert asked(batched.server) == [3]
    assert {one.now.reason for one in found.items if one.now} == {
        "the agent did not answer: the batch was canceled at the model's service"
    }
    assert found.cost_now == 0


async def test_a_refused_question_is_handed_over_as_when_it_is_asked_alone(room: Mailroom) -> None:
    async with trials(room, lambda _: errored("invalid_request_error")) as batched:
        found = await batched.go_on(await batched.begin())
        assert asked(batched.server) == [3]
    assert {one.decision for one in found.items} == {"escalate"}


# --- stopped and gone on with -----------------------------------------------------------------


async def stopped_in_the_wait(batched: _Trials, trial_id: str) -> None:
    """Stop it as Ctrl-C does, after the service was asked for its batch."""
    batched.server.looked.clear()
    running = asyncio.create_task(batched.go_on(trial_id))
    await batched.server.looked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_trial_that_was_stopped_in_the_wait_goes_on_without_asking_again(
    room: Mailroom,
) -> None:
    async with trials(room, looks_up_first(2), holds=True) as batched:
        trial_id = await batched.begin()
        await stopped_in_the_wait(batched, trial_id)
        batched.server.release()
        found = await batched.go_on(trial_id)
        assert asked(batched.server) == [3, 1]
        again = await batched.go_on(trial_id)
        assert asked(batched.server) == [3, 1]
    assert found.count("words") == 3
    assert (again.items, again.cost_now) == (
        tuple(
            replace(one, now=now and replace(now, took=other.took))
            for one in found.items
            if (now := one.now)
            for other in [next(x.now for x in again.items if x.was == one.was)]
            if other
        ),
        found.cost_now,
    )


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
async def test_a_trial_that_died_while_it_kept_answers_takes_the_rest_from_the_same_batch(
    room: Mailroom, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    write, left = trial.keep_steps, [kept]
    written: dict[int, int] = {}

    def dying(
        tx: Transaction, trial_id: str, position: int, steps: Sequence[Step], *, known: int
    ) -> None:
        if not left[0]:
            raise KeyError("the process died")
        left[0] -= 1
        written[position] = len(steps)
        write(tx, trial_id, position, steps, known=known)

    async with trials(room, looks_up_first(0)) as batched:
        trial_id = await batched.begin()
        with monkeypatch.context() as patched:
            patched.setattr(trial, "keep_steps", dying)
            with pytest.raises(KeyError):
                await batched.go_on(trial_id)
            # A process that died commits no more; this one's threads may be at it yet.
            while not written.items() <= (await room.ask(_known)).items():
                await asyncio.sleep(0.01)
        found = await batched.go_on(trial_id)
        assert asked(batched.server) == [3, 1]
    assert found.cost_now == PRICE * 4 / 2


def _known(tx: Transaction) -> Mapping[int, int]:
    """How many steps of each mail are kept."""
    rows = tx.rows(select(t.trial_mails.c.position, t.trial_mails.c.known))
    return {row.position: row.known for row in rows}


async def test_a_batch_of_which_nobody_knows_is_found_and_not_asked_again(room: Mailroom) -> None:
    async with trials(room, lambda _: decide("Batched."), breaks_after_creating=1) as batched:
        trial_id = await batched.begin()
        with pytest.raises(UncertainDelivery, match="broke when it was given a batch"):
            await batched.go_on(trial_id)
        found = await batched.go_on(trial_id)
        assert asked(batched.server) == [3]
    assert found.count("words") == 3


async def test_a_batch_that_was_never_created_is_asked_for_when_it_goes_on(room: Mailroom) -> None:
    async with trials(room, lambda _: decide("Batched.")) as batched:
        other = await batched.begin()
        await batched.go_on(other)  # another one's batch of as many questions, at the same time
        trial_id = await batched.begin()
        batched.server.now_does(Fault.RESET)
        with pytest.raises(UncertainDelivery, match="did not say whether it took a batch"):
            await batched.go_on(trial_id)
        found = await batched.go_on(trial_id)
        assert asked(batched.server) == [3, 3]
    assert found.count("words") == 3


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (401, Misconfigured, "refuses this key"),
        (404, Misconfigured, "has no Message Batches API"),
        (413, Malformed, "try without it"),
    ],
)
async def test_a_service_that_takes_no_batch_says_why_and_the_trial_can_go_on(
    room: Mailroom, status: int, error: type[Exception], told: str
) -> None:
    async with trials(room, lambda _: decide("Batched.")) as batched:
        trial_id = await batched.begin()
        batched.server.now_does(Reply(status, {"type": "error", "error": {"type": "x"}}))
        with pytest.raises(error, match=told):
            await batched.go_on(trial_id)
        assert (await batched.go_on(trial_id)).count("words") == 3
        assert asked(batched.server) == [3]


async def test_a_service_that_is_away_while_a_batch_runs_is_asked_again(room: Mailroom) -> None:
    async with trials(room, lambda _: decide("Batched."), holds=True) as batched:
        trial_id = await batched.begin()
        await stopped_in_the_wait(batched, trial_id)
        batched.server.release()
        batched.server.now_does(Reply(529, {}), Fault.RESET, None, Fault.CUT)
        assert (await batched.go_on(trial_id)).count("words") == 3
        assert asked(batched.server) == [3]


async def test_of_two_processes_that_go_on_with_a_trial_one_is_stopped(room: Mailroom) -> None:
    async with trials(room, looks_up_first(0)) as batched:
        trial_id = await batched.begin()
        both = await asyncio.gather(
            batched.go_on(trial_id), batched.go_on(trial_id), return_exceptions=True
        )
        lost = [one for one in both if isinstance(one, LostClaim)]
        assert len(lost) >= 1
        found = await batched.go_on(trial_id)
        assert sum(asked(batched.server)) == 4
    assert found.cost_now == PRICE * 4 / 2


async def test_a_trial_that_is_not_there_is_told_with_those_that_are(room: Mailroom) -> None:
    async with trials(room, lambda _: decide("Batched.")) as batched:
        known = await batched.begin()
        with pytest.raises(NotFound, match=f"no trial 'tri_none' that goes on: there is {known}"):
            await batched.go_on("tri_none")


async def test_what_was_said_of_a_removed_mail_goes_with_it_and_the_others_go_on(
    room: Mailroom,
) -> None:
    async with trials(room, looks_up_first(2), holds=True) as batched:
        trial_id = await batched.begin()
        batched.server.release()
        await batched.go_on(trial_id)
        first = await room.ask(lambda tx: tx.value(select(t.trial_mails.c.delivery_id).limit(1)))
        await room.do(removal.remove_received, [first], "purge", why="asked for")
        assert (await batched.go_on(trial_id)).count("words") == 2
        assert asked(batched.server) == [3, 1]


async def test_a_trial_is_forgotten_when_the_service_has_forgotten_its_answers(
    room: Mailroom,
) -> None:
    async with trials(room, lambda _: decide("Batched.")) as batched:
        old, new = await batched.begin(), await batched.begin()
        of_old = update(t.trials).where(t.trials.c.id == old)
        before = datetime.now(UTC) - timedelta(days=29, minutes=1)
        await room.do(lambda tx: tx.execute(of_old.values(created_at=before)))
        await room.store.write_unscoped(chores.forget_trials)
        left = await room.rows(select(t.trial_mails.c.trial_id, func.count()).group_by("trial_id"))
        assert [tuple(row) for row in left] == [(new, 3)]


# --- money ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usd", "tried"),
    [
        ("0", 1),
        ("0.0005", 1),
        ("0.0006", 2),
        ("0.0008", 3),
    ],
)
async def test_with_a_bound_the_first_mail_is_asked_alone_and_only_what_fits_goes_in_a_batch(
    room: Mailroom, usd: str, tried: int
) -> None:
    async with trials(room, lambda _: decide("Batched.")) as batched:
        found = await batched.go_on(await batched.begin(usd=usd))
        assert len(batched.server.alone) == 1
        assert asked(batched.server) == [tried - 1] * (tried > 1)
    skipped = [one.skipped for one in found.items if one.now is None]
    assert skipped == [f"{Decimal(usd)} USD are spent"] * (3 - tried)


async def test_a_mail_that_costs_more_than_the_first_is_stopped_between_two_batches(
    room: Mailroom,
) -> None:
    async with trials(room, looks_up_first(2)) as batched:
        found = await batched.go_on(await batched.begin(usd="0.0008"))
        assert asked(batched.server) == [2]
    last = found.items[-1]
    assert (last.now, last.skipped) == (None, "0.0008 USD are spent")


# --- rounds -----------------------------------------------------------------------------------


async def test_a_round_takes_no_more_octets_than_a_batch_may_have_and_the_rest_follows() -> None:
    rounds: list[list[str]] = []

    async def put(bodies: Mapping[str, Any]) -> Mapping[str, BatchedAnswer]:
        rounds.append(list(bodies))
        return {name: BatchedAnswer("succeeded", body) for name, body in bodies.items()}

    gathered = Rounds(put, live=3, most_octets=50)

    async def turn(name: str) -> str:
        answer = await gathered.ask(name, {"text": "x" * 20})
        assert answer.message == {"text": "x" * 20}
        return name

    names = [f"n{number}" for number in range(5)]
    assert await gathered.run([lambda name=name: turn(name) for name in names]) == names  # type: ignore[misc]
    assert [len(one) for one in rounds] == [1] * 5


# --- the shell --------------------------------------------------------------------------------


def mailagent(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "backend.cli", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_a_command_that_is_killed_is_gone_on_with_by_the_line_it_printed(
    room: Mailroom, database_url: str
) -> None:
    async with trials(room, looks_up_first(1), holds=True) as batched:
        settings = {
            "DATABASE_URL": database_url,
            "DEFAULT_EMAIL_DOMAIN": DOMAIN,
            "MAILAGENT_SECRET_KEY": "a secret of the tests that is long enough",
            "ANTHROPIC_API_KEY": "a-key",
            "ANTHROPIC_BASE_URL": batched.server.url,
            "LLM_PROVIDER": "claude",
        }
        await room.do(lambda tx: tx.execute(update(t.agents).values(processor="claude")))
        command = ("try", "hello", "--since", "30d", "--usd", "none", "-w", "shop")
        with mailagent(*command, "--batch", **settings) as first:
            assert first.stderr is not None
            line = await asyncio.to_thread(first.stderr.readline)
            await batched.server.looked.wait()
            first.kill()

        batched.server.release()
        resume = line.rpartition("mailagent ")[2].split()
        with mailagent(*resume, "-w", "shop", **settings) as second:
            out, told = await asyncio.to_thread(second.communicate)
        assert second.returncode == 0, told
        assert asked(batched.server) == [3, 1]
        assert "3 of 3 mails tried" in out
        assert await room.rows(select(t.trials.c.id)) == []
        with mailagent(*resume, "-w", "shop", **settings) as third:
            _, told = await asyncio.to_thread(third.communicate)
        assert (third.returncode, "that goes on: there is none" in told) == (1, True)
