"""Who looks at domains when it is due, and does what is to be done at providers?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from backend.domains import checking, steps
from backend.domains.desk import Desk
from backend.domains.stored import CHECKS, STEPS
from mailagent.work import Claim, Worker

__all__ = ["workers"]

_LOOKS_AT_ONCE = 8
_STEPS_AT_ONCE = 4


def workers(desk: Desk) -> dict[str, Worker]:
    """A worker for each queue, by the queue's name."""

    def bound(
        work: Callable[[Desk, Claim], Awaitable[None]], named: str
    ) -> Callable[[Claim], Awaitable[None]]:
        async def do(claim: Claim) -> None:
            structlog.contextvars.bind_contextvars(**{named: claim.id})
            await work(desk, claim)

        return do

    return {
        CHECKS.name: Worker(
            desk.store,
            CHECKS,
            bound(checking.check, "domain_id"),
            checking.give_up,
            slots=_LOOKS_AT_ONCE,
            most_attempts=None,
        ),
        STEPS.name: Worker(
            desk.store,
            STEPS,
            bound(steps.do, "step_id"),
            steps.give_up,
            slots=_STEPS_AT_ONCE,
            most_attempts=None,
        ),
    }
