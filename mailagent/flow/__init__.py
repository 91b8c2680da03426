"""The story of one mail, a step a file:

    accept → read → route → think → decide → reply → send → track

Each step takes values and writes the state that is the order for the next, in the transaction it
was handed. What calls outside (read, think, send) does so between two transactions, so any of them
may be killed and run again. `ledger` keeps what happened and why; `workers` runs the steps.
"""

from __future__ import annotations

from mailagent.flow.services import FlowSettings, Services

__all__ = ["FlowSettings", "Services"]
