"""Which states can a delivery and an outbound recipient be in?"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FINAL", "NEEDS_A_PERSON", "DeliveryState", "RecipientState"]


class DeliveryState(StrEnum):
    """ARCHITECTURE §2: each has a reason beside it, `held` also until when."""

    ACCEPTED = "accepted"
    READ = "read"
    ROUTED = "routed"
    THINKING = "thinking"
    WAITING_FOR_APPROVAL = "waiting for approval"
    HANDED_TO_A_PERSON = "handed to a person"
    HELD = "held"
    ANSWERED = "answered"
    RECORDED = "recorded"
    SILENT = "silent"
    MERGED = "merged"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    LOOPED = "looped"
    EXPIRED = "expired"
    FAILED = "failed"


class RecipientState(StrEnum):
    """One envelope recipient of one outbound mail."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    DELIVERED = "delivered"
    DELAYED = "delayed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FINAL = frozenset(DeliveryState) - {
    DeliveryState.ACCEPTED,
    DeliveryState.READ,
    DeliveryState.ROUTED,
    DeliveryState.THINKING,
}
"""Nothing of ours goes on by itself from here (`held` with a time is released by a schedule)."""

NEEDS_A_PERSON = frozenset(
    {
        DeliveryState.WAITING_FOR_APPROVAL,
        DeliveryState.HANDED_TO_A_PERSON,
        DeliveryState.HELD,
        DeliveryState.QUARANTINED,
        DeliveryState.LOOPED,
        DeliveryState.FAILED,
    }
)
