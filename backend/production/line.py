"""One line of the checklist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Line", "unknown"]


@dataclass(frozen=True, slots=True)
class Line:
    """Whether one thing is there; `mend` is empty for a yes."""

    name: str
    answer: Literal["yes", "no", "not tested"]
    found: str
    mend: str = ""


def unknown(name: str, reason: str) -> Line:
    """What DNS does not tell now is neither yes nor no."""
    return Line(name, "not tested", f"DNS does not tell: {reason}", "ask again in a minute")
