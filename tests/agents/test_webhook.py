"""A program of the workspace's people as an agent: over a real socket, signed, at once or later."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from mailagent.agents import AnswerLater, Endpoint, Step
from mailagent.agents.circuit import Circuit
from mailagent.agents.signing import checked_secret, new_signing_secret
from mailagent.agents.turn import JsonValue
from mailagent.agents.webhook import Webhook
from mailagent.egress import Egress
from mailagent.errors import Malformed, Misconfigured, TransientFailure
from mailagent.outgoing import Handoff, Reply, Silence
from tests.agents.turns import PROFILE, Notebook, attachment, mail, soon, turn
from tests.api_server import ApiServer, Fault, Request
from tests.api_server import Reply as Answered

SECRET = new_signing_secret()
EGRESS = Egress(frozenset({"127.0.0.1"}))


class Program(ApiServer):
    """Answers each request with what the script says next."""

    def reply(self, request: Request) -> Answered:
        return Answered(200, {"action": "no_action", "reason": "as told"})


@dataclass
class Later:
    """A callback whose answer may have come."""

    url: str = "https://mail.example/api/v1/callbacks/token"
    answer: JsonValue = None


async def ask(
    *script: Answered | Fault,
    steps: Notebook | None = None,
    callback: Later | None = None,
    agent: Webhook | None = None,
    url: str | None = None,
    **mail_changes: Any,
) -> tuple[Reply | Silence | Handoff, Sequence[Request]]:
    async with Program(script=list(script)) as server:
        endpoint = Endpoint(url or f"{server.url}/mail", SECRET)
        given = turn(
            mail("When are you open?", **mail_changes),
            profile=replace(PROFILE, endpoint=endpoint),
            steps=steps,
        )
        given = replace(given, callback=callback)
        outcome = await (agent or Webhook(EGRESS)).think(given, deadline=soon())
    return outcome, server.requests


async def test_the_case_is_posted_signed_and_the_answer_is_the_outcome() -> None:
    outcome, [request] = await ask(
        Answered(200, {"action": "reply", "text": "From 9 to 17.", "confidence": 0.7}),
        callback=Later(),
        attachments=(attachment("2", "a.txt"),),
    )
    assert isinstance(outcome, Reply)
    assert (outcome.text, outcome.confidence) == ("From 9 to 17.", 0.7)
    data = request.json["data"]
    assert data["mails"][0]["written"] == "When are you open?"
    assert data["mails"][0]["quotes"] == [{"author_as_the_sender_says": "", "text": "an old quote"}]
    assert data["mails"][0]["sender_proven"] is True
    assert data["mails"][0]["attachments"][0]["filename"] == "a.txt"
    assert data["callback_url"] == Later.url
    id_, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id_}.{at}.".encode() + request.body, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_who_is_busy_is_asked_again_under_the_same_id(status: int) -> None:
    steps = Notebook()
    with pytest.raises(TransientFailure) as failure:
        await ask(Answered(status, headers={"Retry-After": "60"}), steps=steps)
    assert failure.value.retry_at is not None
    outcome, [request] = await ask(steps=steps)
    assert isinstance(outcome, Silence)
    assert request.headers["webhook-id"] == "turn_1"


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET])
async def test_an_answer_that_breaks_off_is_asked_for_again(fault: Fault) -> None:
    with pytest.raises(TransientFailure):
        await ask(fault)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410])
async def test_what_no_retry_mends_is_told_to_people(status: int) -> None:
    with pytest.raises(Misconfigured, match=str(status)):
        await ask(Answered(status, headers={"Location": "http://127.0.0.1:1/"}))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        {"action": "reply"},
        {"action": "pay"},
        [],
        {"action": "reply", "text": "Hi", "bcc": "eve@evil.example"},
        b"[" * 100_000,
    ],
)
async def test_an_odd_answer_leaves_it_to_a_person(answer: Any) -> None:
    outcome, _ = await ask(Answered(200, answer))
    assert isinstance(outcome, Handoff)


async def test_a_program_may_answer_later() -> None:
    steps, callback = Notebook(), Later()
    with pytest.raises(AnswerLater) as later:
        await ask(Answered(202), steps=steps, callback=callback)
    assert later.value.retry_at is not None
    with pytest.raises(AnswerLater):
        await ask(steps=steps, callback=callback)
    callback.answer = {"action": "reply", "text": "At last."}
    outcome, requests = await ask(steps=steps, callback=callback)
    assert isinstance(outcome, Reply)
    assert requests == []


async def test_a_program_that_does_not_answer_within_a_day_leaves_it_to_a_person() -> None:
    steps = Notebook([Step("sent", {"at": "2026-01-01T00:00:00+00:00"})])
    outcome, requests = await ask(steps=steps, callback=Later())
    assert isinstance(outcome, Handoff)
    assert requests == []


async def test_an_address_inside_is_not_called() -> None:
    with pytest.raises(Misconfigured, match="webhook_url"):
        await ask(agent=Webhook(Egress()))
    with pytest.raises(Misconfigured, match="webhook_url"):
        await Webhook(EGRESS).think(turn(mail("Hi")), deadline=soon())


async def test_a_program_that_fails_and_fails_is_left_alone_for_a_while() -> None:
    time = 0.0
    circuit = Circuit(clock=lambda: time)
    agent = Webhook(EGRESS, circuit)
    async with Program(script=[Answered(500)] * 5) as server:
        endpoint = Endpoint(f"{server.url}/mail", SECRET)
        given = turn(mail("Hi"), profile=replace(PROFILE, endpoint=endpoint))
        for _ in range(6):
            with pytest.raises(TransientFailure):
                await agent.think(given, deadline=soon())
        assert len(server.requests) == 5
        time = 31.0
        assert isinstance(await agent.think(given, deadline=soon()), Silence)


def test_a_circuit_waits_ever_longer_and_forgets_with_a_success() -> None:
    time = 0.0
    circuit = Circuit(clock=lambda: time)
    waits = []
    for _ in range(8):
        for _ in range(5):
            circuit.failed("x")
        waits.append(circuit.wait("x"))
        time += circuit.wait("x")
    assert waits == sorted(waits)
    assert waits[0] == 30
    assert waits[-1] == 900
    circuit.succeeded("x")
    assert circuit.wait("x") == 0


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "secret", "whsec_" + "!" * 40])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(Malformed) as error:
        checked_secret("value", secret)
    assert "!!" not in str(error.value)
