"""A node whose machine's clock is turned.

    python -m tests.faults.clock '{…, "asked": {"clock": "file"}}'

Nobody may turn the clock of the machine that runs the tests. So in this process `datetime`, as our
modules know it, tells the time and the seconds that stand in the file. The monotonic clock and
everybody else's go on, as PostgreSQL's does when it is the node's machine that is wrong.
"""

from __future__ import annotations

import importlib
import json
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

__all__ = ["turn"]

_Real = datetime
_OURS = ("mailagent.", "backend.")


def turn(file: Path, by: timedelta) -> None:
    """Let the clock of who watches `file` be ahead by so much, at once and whole."""
    fresh = file.with_suffix(".new")
    fresh.write_text(str(by.total_seconds()))
    fresh.replace(file)


class _Kind(type):
    """Real datetimes are instances of the turned class: it makes no others."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _Real)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, _Real)


def _install(file: Path) -> None:
    class Turned(_Real, metaclass=_Kind):
        def __new__(cls, *args: Any, **named: Any) -> Any:
            return _Real(*args, **named)

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return _Real.now(tz) + timedelta(seconds=float(file.read_text()))

    for name, module in list(sys.modules.items()):
        if name.startswith(_OURS) and vars(module).get("datetime") is _Real:
            vars(module)["datetime"] = Turned


if __name__ == "__main__":
    importlib.import_module("backend.app")  # all that a node runs
    from bench.node import main

    _install(Path(json.loads(sys.argv[1])["asked"]["clock"]))
    main()
