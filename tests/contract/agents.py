"""How does each kind of agent meet the same situations? One entry a kind.

A situation is a way in which the far side (a model, a program, a search) behaves; each entry gives
the agent and the turn in which it does so.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from mailagent.agents import Agent, Endpoint, Passage, Turn
from mailagent.agents.builtin import Builtin
from mailagent.agents.claude import Claude
from mailagent.agents.webhook import Webhook
from mailagent.egress import Egress
from mailagent.mail import Mail
from tests.agents.turns import PROFILE, RETURNS, Notebook, Shelf, turn
from tests.api_server import ApiServer, Request
from tests.api_server import Fault as Broken
from tests.api_server import Reply as Answered
from tests.model_server import Answer, Fault, ModelServer, decide, message, status, text

SECRET = "whsec_" + base64.b64encode(b"0123456789" * 3).decode()


class Far(Enum):
    """What the far side does."""

    ANSWERS = "answers"
    REFUSES = "will not answer"
    EMPTY = "answers with nothing"
    HANGS = "says nothing"
    AWAY = "is busy or broken"


@dataclass(frozen=True)
class Played:
    """An agent, its turn, and what the far side was told, as one text."""

    agent: Agent
    turn: Turn
    told: Callable[[], str]


Play = Callable[[Far, Mail, Notebook], AbstractAsyncContextManager[Played]]


class _Search(Shelf):
    far: Far = Far.ANSWERS

    async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
        self.queries.append(query)
        if self.far is Far.HANGS:
            await asyncio.Event().wait()
        return (RETURNS,) if self.far is Far.ANSWERS else ()


@asynccontextmanager
async def _builtin(far: Far, mail: Mail, steps: Notebook) -> AsyncIterator[Played]:
    tools = _Search()
    tools.far = far
    yield Played(Builtin(), turn(mail, tools=tools, steps=steps), lambda: " ".join(tools.queries))


_MODEL: Mapping[Far, Answer | Fault] = {
    Far.ANSWERS: decide("Within 30 days."),
    Far.REFUSES: message(stop_reason="refusal"),
    Far.EMPTY: text(""),
    Far.HANGS: Fault.HANG,
    Far.AWAY: status(529),
}


@asynccontextmanager
async def _claude(far: Far, mail: Mail, steps: Notebook) -> AsyncIterator[Played]:
    async with ModelServer([_MODEL[far]]) as server:
        agent = Claude("key", base_url=server.url)
        given = turn(mail, steps=steps)

        def told() -> str:
            asked = server.requests[0]["messages"][-1]["content"]
            return str(asked[0]["text"])

        yield Played(agent, given, told)
        await agent.close()


_PROGRAM: Mapping[Far, Any] = {
    Far.ANSWERS: Answered(200, {"action": "reply", "text": "Within 30 days."}),
    Far.REFUSES: Answered(200, {"action": "escalate", "reason": "not mine"}),
    Far.EMPTY: Answered(200, b""),
    Far.HANGS: Broken.HANG,
    Far.AWAY: Answered(503),
}


class _Program(ApiServer):
    def reply(self, request: Request) -> Answered:
        raise NotImplementedError


@asynccontextmanager
async def _webhook(far: Far, mail: Mail, steps: Notebook) -> AsyncIterator[Played]:
    async with _Program(script=[_PROGRAM[far]]) as server:
        profile = replace(PROFILE, endpoint=Endpoint(f"{server.url}/mail", SECRET))
        agent = Webhook(Egress(frozenset({"127.0.0.1"})))
        given = turn(mail, steps=steps, profile=profile)
        yield Played(agent, given, lambda: server.requests[0].body.decode())


PLAYS: Mapping[str, Play] = {"builtin": _builtin, "claude": _claude, "webhook": _webhook}
NEVER_AWAY = frozenset({"builtin"})
"""Kinds without a far side that could be busy."""
