"""How do other systems call the states of a domain?

One table, so that who comes from one of them, or writes against its words, finds each of ours. The
words are those of their documentation; docs/reference/domain-states.md shows the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from backend.domains.life import Life, State
from backend.domains.verify import Standing

__all__ = ["WORDS", "Words", "aexy_sending", "leena"]


@dataclass(frozen=True, slots=True)
class Words:
    """One state of ours in everybody's words."""

    sendmux: str
    """`verification_status`."""
    anypost: str
    """`status`."""
    cms: str
    """What it shows of SES: the provider's own words are beside it."""
    aexy: str
    """The domain's `status`."""
    agentmail: str
    """`status`."""


WORDS: Mapping[State, Words] = MappingProxyType(
    {
        "pending": Words("pending", "pending", "pending", "pending", "PENDING"),
        "verifying": Words("pending", "pending", "pending", "verifying", "VERIFYING"),
        "verified": Words("verified", "verified", "success", "verified", "VERIFIED"),
        "failed": Words("failed", "pending", "failed", "failed", "FAILED"),
        "paused": Words("pending", "pending", "pending", "paused", "PENDING"),
    }
)


def aexy_sending(life: Life) -> str:
    """Aexy's word for how a domain sends: `warming` and `active` stand beside its status."""
    if life.sending in ("warming", "active"):
        return life.sending
    return "paused" if life.state == "paused" else "pending"


def leena(standing: Standing | None, *, verified: bool, looked: bool) -> str:
    """Leena's word for the sender's or the receiver's records, which it verifies apart."""
    if verified:
        return "Verified"
    match standing:
        case _ if not looked:
            return "Unverified"
        case "waiting" | "unknown":
            return "Verification in Progress"
        case "wrong":
            return "Verification Failed"
        case _:
            return "Unverified"
