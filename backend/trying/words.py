"""In which words is it told what became of a mail, or would? Those that agents decide in."""

from __future__ import annotations

from collections.abc import Mapping

from backend.agents.agent_file import Decision
from mailagent.flow.rehearsal import Rehearsed
from mailagent.flow.states import DeliveryState

__all__ = ["decision_of", "decision_of_state"]

_DECISIONS: Mapping[DeliveryState, Decision] = {
    DeliveryState.ANSWERED: "reply",
    DeliveryState.WAITING_FOR_APPROVAL: "request_approval",
    DeliveryState.HANDED_TO_A_PERSON: "escalate",
    DeliveryState.SILENT: "no_action",
    DeliveryState.HELD: "hold",
    DeliveryState.LOOPED: "hold",
    DeliveryState.REJECTED: "reject",
    DeliveryState.QUARANTINED: "quarantine",
}


def decision_of(tried: Rehearsed) -> Decision | None:
    """What would become of the mail; None when the agent could not be asked."""
    if tried.state is DeliveryState.ROUTED:
        return "elsewhere"
    return _DECISIONS.get(tried.state)


def decision_of_state(state: str, *, answered_by_person: bool) -> Decision | None:
    """What became of a mail that came in; None while it is in work, or when it failed."""
    if answered_by_person:
        return "escalate"
    return _DECISIONS.get(DeliveryState(state))
