"""How is a turn thought without being one?"""

from __future__ import annotations

from dataclasses import replace

from mailagent.agents import Steps, Turn, several
from mailagent.errors import Misconfigured, TransientFailure
from mailagent.flow.outcome import Outcome
from mailagent.flow.rehearsal.memory import Chronicle, RehearsedMemory
from mailagent.flow.rehearsal.stage import Opening, Stage, told
from mailagent.flow.rehearsal.tools import RehearsedTools
from mailagent.flow.rehearsal.values import Brought, Prepare, Rehearsed, Stored
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.store.transaction import Transaction

__all__ = ["rehearse"]


async def rehearse(
    services: Services,
    workspace_id: str,
    agent_id: str,
    subject: Stored | Brought,
    *,
    prepare: Prepare | None = None,
    steps: Steps | None = None,
) -> Rehearsed:
    """Have an agent get a mail, and undo it. Budgets and limits of a day are not looked at.

    With `steps` that survive, a rehearsal that was stopped goes on where it was.

    Raises NotFound; Conflict when the mail cannot be tried (not read yet, its content removed).
    """
    store = services.store
    stage = Stage(services, workspace_id, agent_id, subject, prepare or _nothing)
    opening = await store.rehearse(workspace_id, stage.open)
    if isinstance(opening, Rehearsed):
        return opening
    chronicle = Chronicle(steps)
    tools = RehearsedTools(stage, opening, chronicle)
    turn = Turn(
        id=stage.turn_id,
        profile=opening.profile,
        mails=opening.mails,
        thread=opening.thread,
        tools=tools,
        steps=chronicle,
        memory=RehearsedMemory(chronicle, opening.summary),
    )
    begun = store.now()
    outcome: Outcome | str
    try:
        outcome = await _think(services, opening, turn)
    except Misconfigured as error:
        outcome = f"the agent is not set up: {error}"
    except TransientFailure as error:
        outcome = f"the agent did not answer: {error.reason}"
    took = store.now() - begun
    if isinstance(outcome, str):
        ended = told(opening, DeliveryState.FAILED, outcome)
    else:
        ended = await store.rehearse(workspace_id, stage.close, outcome)
    return replace(ended, tools=chronicle.used, took=took, **chronicle.cost())


async def _think(services: Services, opening: Opening, turn: Turn) -> Outcome | str:
    if "webhook" in several.kinds_of(opening.processor):
        # People's own program may act on what it is told: it cannot know a trial from a turn.
        return "a webhook answers for this agent, and none is asked in a trial"
    agent = several.named(opening.processor, services.processor)
    deadline = services.store.now() + services.settings.turn_deadline
    return await agent.think(turn, deadline=deadline)


def _nothing(_: Transaction) -> None:
    """The agent as it stands."""
