"""Which queues are there, and what works on each?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from mailagent.flow import chores, forwarding, outbox, read, send, think
from mailagent.flow.services import Services
from mailagent.flow.tools import agreed
from mailagent.work import Claim, Worker, claim_fairly

__all__ = ["Step", "unwatched", "workers"]

_READS_AT_ONCE = 8
_SENDS_AT_ONCE = 10
_FORWARDS_AT_ONCE = 4
_CALLS_AT_ONCE = 4
_TURNS_BEGUN_AT_ONCE = 16
_CHORES_AT_ONCE = 3
"""So that those which wait for a provider or a bucket keep no others from their time."""


log = structlog.get_logger()

Step = Callable[[Services, Claim], Awaitable[None]]


def unwatched(step: Step) -> Step:
    """The step alone."""
    return step


def workers(services: Services, watched: Callable[[Step], Step] = unwatched) -> dict[str, Worker]:
    """A worker for each queue, by the queue's name. `watched` may put something around a step."""
    settings = services.settings

    def bound(step: Step, named: str = "id") -> Callable[[Claim], Awaitable[None]]:
        around = watched(step)

        async def work(claim: Claim) -> None:
            # Until the end of the row's own task, so that the line of its failure has it too.
            structlog.contextvars.bind_contextvars(**{named: claim.id})
            await around(services, claim)
            log.debug("step.done", step=step.__name__)

        return work

    return {
        "read": Worker(
            services.store,
            read.READING_QUEUE,
            bound(read.read, "mail_id"),
            read.give_up,
            slots=_READS_AT_ONCE,
        ),
        "think": Worker(
            services.store,
            think.THINKING,
            bound(think.think, "thread_id"),
            think.give_up,
            slots=settings.turns_at_once,
            at_once=_TURNS_BEGUN_AT_ONCE,
            claimer=partial(claim_fairly, cap=settings.turns_at_once_per_workspace),
        ),
        "send": Worker(
            services.store,
            outbox.SENDING,
            bound(send.send, "outbound_id"),
            send.give_up,
            slots=_SENDS_AT_ONCE,
            most_attempts=None,
        ),
        "forward": Worker(
            services.store,
            forwarding.FORWARDING,
            bound(forwarding.forward, "forward_id"),
            forwarding.give_up,
            slots=_FORWARDS_AT_ONCE,
            most_attempts=None,
        ),
        "call": Worker(
            services.store,
            agreed.AGREED,
            bound(agreed.do_agreed, "call_id"),
            agreed.give_up,
            slots=_CALLS_AT_ONCE,
        ),
        "schedule": Worker(
            services.store,
            chores.SCHEDULES,
            bound(chores.do_chore, "chore"),
            chores.give_up,
            slots=_CHORES_AT_ONCE,
        ),
    }
