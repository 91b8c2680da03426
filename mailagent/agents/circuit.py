"""Is a far side worth asking now, or did it fail so often that it is left alone for a while?

Counted in this process: a far side that is down is met by each of them a few times, no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Circuit"]

_FAILURES = 5
_SHORTEST, _LONGEST = 30.0, 900.0
_MOST_KEPT = 10_000


@dataclass
class _State:
    failures: int = 0
    pauses: int = 0
    open_until: float = 0.0


@dataclass
class Circuit:
    """For each key: five failures in a row pause it for 30 seconds, then ever longer, at most 15
    minutes; one success ends that.
    """

    clock: Callable[[], float] = time.monotonic
    _states: dict[str, _State] = field(default_factory=dict)

    def wait(self, key: str) -> float:
        """For how many seconds the key must be left alone; 0 lets one try."""
        state = self._states.get(key)
        return 0.0 if state is None else max(0.0, state.open_until - self.clock())

    def failed(self, key: str) -> None:
        """One more failure."""
        if len(self._states) >= _MOST_KEPT:
            self._states.clear()
        state = self._states.setdefault(key, _State())
        state.failures += 1
        if state.failures >= _FAILURES:
            pause = min(_SHORTEST * 2**state.pauses, _LONGEST)
            state.pauses = min(state.pauses + 1, 10)
            state.open_until = self.clock() + pause

    def succeeded(self, key: str) -> None:
        """It answers again."""
        self._states.pop(key, None)
