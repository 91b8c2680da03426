"""Which tools did an MCP server say that it has, not long ago?

Asked at every turn, a server costs each turn a connection and two round trips. What it said is kept
in this process for some minutes, for one agent and one address, and dropped when the server says
that it changed or knows no tool of a name that it gave.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ListedTool", "McpLists"]

_SECONDS = 300.0
_MOST = 1_000
"""Servers of agents; the one that was not used the longest is asked again."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool in its server's own words."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


class McpLists:
    """The lists of one process. Belongs to one event loop."""

    def __init__(
        self,
        *,
        seconds: float = _SECONDS,
        most: int = _MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._kept: OrderedDict[tuple[str, ...], tuple[float, Sequence[ListedTool]]] = OrderedDict()

    def get(self, *server: str) -> Sequence[ListedTool] | None:
        """What a server said; None when it must be asked."""
        found = self._kept.get(server)
        if found is None or found[0] <= self._clock():
            self._kept.pop(server, None)
            return None
        self._kept.move_to_end(server)
        return found[1]

    def keep(self, tools: Sequence[ListedTool], *server: str) -> None:
        """Keep what a server said now."""
        self._kept[server] = (self._clock() + self._seconds, tools)
        self._kept.move_to_end(server)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def drop(self, *server: str) -> None:
        """Have it asked again."""
        self._kept.pop(server, None)
