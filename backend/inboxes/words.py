"""Which words does a person read for the state of a delivery?

Ours tell exactly where a mail stands; an inbox shows the five of Aexy's API beside them. Each state
also has a sentence that says what it means and what a person can do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from mailagent.flow.states import DeliveryState

__all__ = ["MEANINGS", "Status", "next_steps", "states_of", "status_of"]


class Status(StrEnum):
    """The words of Aexy's inbox."""

    PENDING = "pending"
    PROCESSING = "processing"
    RESPONDED = "responded"
    ESCALATED = "escalated"
    ARCHIVED = "archived"


_STATUS = {
    DeliveryState.ACCEPTED: Status.PENDING,
    DeliveryState.READ: Status.PENDING,
    DeliveryState.ROUTED: Status.PENDING,
    DeliveryState.THINKING: Status.PROCESSING,
    DeliveryState.ANSWERED: Status.RESPONDED,
    DeliveryState.SILENT: Status.RESPONDED,
    DeliveryState.WAITING_FOR_APPROVAL: Status.ESCALATED,
    DeliveryState.HANDED_TO_A_PERSON: Status.ESCALATED,
    DeliveryState.HELD: Status.ESCALATED,
    DeliveryState.QUARANTINED: Status.ESCALATED,
    DeliveryState.LOOPED: Status.ESCALATED,
    DeliveryState.FAILED: Status.ESCALATED,
}

MEANINGS = {
    DeliveryState.ACCEPTED: "it is kept and will be read in a moment",
    DeliveryState.READ: "it has been read and looks for its agent",
    DeliveryState.ROUTED: "it waits for the agent's next turn",
    DeliveryState.THINKING: "the agent is working on the answer",
    DeliveryState.WAITING_FOR_APPROVAL: "an answer is written and waits for a person's yes",
    DeliveryState.HANDED_TO_A_PERSON: "a person must answer it",
    DeliveryState.HELD: "it is kept without an answer",
    DeliveryState.ANSWERED: "an answer was written",
    DeliveryState.RECORDED: "it is a report: what it says was noted, nobody answers it",
    DeliveryState.SILENT: "it was read, and no answer is due",
    DeliveryState.MERGED: "the same mail reached this agent by another address and counts once",
    DeliveryState.DUPLICATE: "the same mail came before; this copy is kept and not answered",
    DeliveryState.REJECTED: "a rule, a list or a person turned it away; the sender was not told",
    DeliveryState.QUARANTINED: "it never reached the agent; its bytes are kept as they came",
    DeliveryState.LOOPED: "it looks like two machines talking, so the conversation was stopped",
    DeliveryState.EXPIRED: "its time ran out before it could be worked on",
    DeliveryState.FAILED: "it could not be worked on, and nothing goes on by itself",
}
"""What each state means, in the words of the person who asks."""

_REPLAYABLE = (DeliveryState.FAILED, DeliveryState.QUARANTINED, DeliveryState.LOOPED)


def status_of(state: str, archived_at: datetime | None = None) -> Status:
    """Aexy's word for one of ours. A merged mail is given the state of its twin."""
    if archived_at is not None:
        return Status.ARCHIVED
    return _STATUS.get(DeliveryState(state), Status.ARCHIVED)


def states_of(status: Status) -> Sequence[DeliveryState]:
    """Our states that one of Aexy's words stands for."""
    return [one for one in DeliveryState if _STATUS.get(one, Status.ARCHIVED) is status]


def next_steps(state: str, delivery_id: str) -> tuple[str, ...]:
    """What a person can do with a delivery in this state; empty when nothing is to be done."""
    reply = f"answer it from the agent's address: mailagent reply {delivery_id}"
    replay = f"mend the cause, then drive it again: mailagent replay {delivery_id}"
    match DeliveryState(state):
        case DeliveryState.WAITING_FOR_APPROVAL:
            return ("look at the draft and decide: mailagent approvals list", reply)
        case DeliveryState.HANDED_TO_A_PERSON:
            return (reply,)
        case DeliveryState.HELD:
            return (reply, replay)
        case DeliveryState.SILENT:
            return (f"answer it all the same: mailagent reply {delivery_id}",)
        case one if one in _REPLAYABLE:
            return (replay, reply)
        case _:
            return ()
