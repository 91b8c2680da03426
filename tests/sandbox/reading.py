"""One hostile message through the real sandbox, DNS answered as its sender wishes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from mailagent.errors import Malformed, SandboxFailure
from mailagent.sandbox import Sandbox
from tests.sandbox.hostile import READ, Hostile, arguments

__all__ = ["Outcome", "read"]

_DNS_ROUNDS = 20
"""As the flow's: after so many, what is still asked for stays unknown."""


@dataclass(frozen=True)
class Outcome:
    """What became of it: `read`, the cap that quarantined it, or how the worker failed."""

    result: str
    seconds: float
    """Of the slowest run; a message is read again when DNS answers were missing."""
    reading: dict[str, Any]
    """Empty unless it was read."""


async def read(sandbox: Sandbox, of: Hostile) -> Outcome:
    """Read it as the flow does. Every question that `of` does not answer is answered by absence."""
    raw, given = of.make(), arguments(of)
    answers: list[list[Any]] = given["answers"]
    slowest, reading = 0.0, {}
    for _ in range(_DNS_ROUNDS):
        began = time.monotonic()
        try:
            reading = json.loads(await sandbox.run("mailagent.reading:read", raw, given))
        except Malformed as error:
            return Outcome(error.field, max(slowest, time.monotonic() - began), {})
        except SandboxFailure as error:
            return Outcome(str(error), max(slowest, time.monotonic() - began), {})
        slowest = max(slowest, time.monotonic() - began)
        if not reading["needs"]:
            break
        answers += [[one["name"], one["type"], "absent", True] for one in reading["needs"]]
    else:
        return Outcome(f"asks for ever: {reading['needs'][:1]}", slowest, {})
    return Outcome(READ, slowest, reading)
