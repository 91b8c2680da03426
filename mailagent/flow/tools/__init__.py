"""What do an agent's tools do, and who may have it done? One family a file, behind one gate.

`gate` decides at the moment of each call; what a tool does inside the house is done in the
transaction that records it, what it does outside lies between two, under a key of its own.
"""

from __future__ import annotations

from mailagent.flow.tools.case import Case
from mailagent.flow.tools.gate import Toolbox
from mailagent.flow.tools.opening import open_case

__all__ = ["Case", "Toolbox", "open_case"]
