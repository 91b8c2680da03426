"""What becomes of a domain after a look at it: which state, which next look, and who is told?

Pure: (what is stored, what was seen, the time) → (what is to be stored, when to look again, news).
Only a look of the regular six-hour cycle may take a domain down; the fast looks while it is pending
can only bring it back. What is unknown, or only on its way, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from backend.domains.verify import Standing

__all__ = [
    "CYCLE",
    "FAST_CHECKS",
    "SLOW_AFTER",
    "After",
    "Life",
    "News",
    "Seen",
    "SendingState",
    "State",
    "asked_again",
    "begun",
    "live",
    "paused",
]

State = Literal["pending", "verifying", "verified", "failed", "paused"]
"""`pending`: something is to be mended or added; `verifying`: nothing is, it is on its way.
`failed` and `paused` are looked at only when somebody asks."""

SendingState = Literal["pending", "warming", "active", "waiting"]
"""`waiting`: it may send, and its mail waits until it is right again. `warming` is written beside a
look, by `mailagent.flow.warm_ups.mark`, and kept."""

News = Literal["receiving", "sending", "verified", "broken", "failed", "slow", "taken"]
"""`taken` is no news of a look: another workspace was quicker to verify the name."""

CYCLE = timedelta(hours=6)
SLOW_AFTER = timedelta(hours=72)
"""The longest that providers look for records by themselves; then people are told."""
FAST_CHECKS = tuple(timedelta(minutes=number) for number in (1, 2, 5, 10, 20, 40, 60))
"""The waits between looks at a domain that is pending; the last one goes on until it is slow."""


@dataclass(frozen=True, slots=True)
class Life:
    """What is stored of a domain's standing. Times are aware."""

    state: State
    pending_since: datetime
    """Since when it has not been verified, or until when it was not."""
    next_cycle: datetime
    """From then on the next look is a regular one."""
    failures: int = 0
    """Regular looks in a row that found it wrong, counted from `verified` on."""
    fast_checks: int = 0
    told_slow: bool = False
    receiving_since: datetime | None = None
    sending_since: datetime | None = None
    sending: SendingState = "pending"

    @property
    def scheduled(self) -> bool:
        """Whether it is looked at without being asked."""
        return self.state in ("pending", "verifying", "verified")

    def is_regular(self, now: datetime) -> bool:
        """Whether a look now is the cycle's."""
        return now >= self.next_cycle


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found, by side; None where the domain's mode has no such side."""

    receiving: Standing | None
    sending: Standing | None

    @property
    def sides(self) -> tuple[Standing, ...]:
        return tuple(side for side in (self.sending, self.receiving) if side is not None)


@dataclass(frozen=True, slots=True)
class After:
    """What follows from a look."""

    life: Life
    next_look: datetime | None
    """None: not until somebody asks."""
    news: tuple[News, ...]
    """What has changed, for ledger and people. Only `failed` and `slow` are worth a mail."""


def begun(now: datetime) -> Life:
    """The life of a domain that was just added; it is looked at at once."""
    return Life("pending", now, now + CYCLE)


def asked_again(life: Life, now: datetime) -> Life:
    """Somebody wants a look now: what had left the schedule is back in it."""
    if life.scheduled:
        return replace(life, fast_checks=0)
    return replace(
        life,
        state="pending",
        pending_since=now,
        next_cycle=now + CYCLE,
        failures=0,
        fast_checks=0,
        told_slow=False,
    )


def paused(life: Life) -> Life:
    """Out of the schedule, and its mail waits, until somebody asks for a look."""
    sending: SendingState = "pending" if life.sending_since is None else "waiting"
    return replace(life, state="paused", sending=sending)


def live(life: Life, seen: Seen, now: datetime, *, sender_first: bool = False) -> After:
    """What a look at a domain means. `sender_first`: receiving waits for sending to be verified."""
    if not life.scheduled:
        return After(life, None, ())
    regular = life.is_regular(now)
    next_ = _with_sides(life, seen, now, regular=regular, sender_first=sender_first)
    if regular:
        next_ = replace(next_, next_cycle=now + CYCLE)
    next_ = _with_state(life, next_, seen, now, regular=regular)
    slow = next_.state in ("pending", "verifying") and now - next_.pending_since >= SLOW_AFTER
    if slow and not life.told_slow:
        next_ = replace(next_, told_slow=True)
    return After(next_, _next_look(next_, now, slow=slow), _news(life, next_))


def _with_sides(
    life: Life, seen: Seen, now: datetime, *, regular: bool, sender_first: bool
) -> Life:
    sending_since, receiving_since, sending = life.sending_since, life.receiving_since, life.sending
    if seen.sending == "verified":
        sending_since = sending_since or now
        sending = "warming" if sending == "warming" else "active"
    elif seen.sending == "wrong" and sending_since is not None and regular:
        sending = "waiting"
    waits = sender_first and seen.sending is not None and sending_since is None
    if seen.receiving == "verified" and not waits:
        receiving_since = receiving_since or now
    return replace(
        life, sending_since=sending_since, receiving_since=receiving_since, sending=sending
    )


def _with_state(life: Life, next_: Life, seen: Seen, now: datetime, *, regular: bool) -> Life:
    whole = all(
        since is not None
        for side, since in (
            (seen.receiving, next_.receiving_since),
            (seen.sending, next_.sending_since),
        )
        if side is not None
    )
    if seen.sides and whole and all(side == "verified" for side in seen.sides):
        return replace(next_, state="verified", failures=0, fast_checks=0, told_slow=False)
    if life.state == "verified":
        if not (regular and "wrong" in seen.sides):
            return next_
        return replace(
            next_, state="pending", failures=1, fast_checks=0, pending_since=now, told_slow=False
        )
    if regular and "wrong" in seen.sides and life.failures:
        return _failed(replace(next_, failures=life.failures + 1), seen)
    # Unknown says nothing, so it does not turn the one into the other.
    state: State = life.state
    if "wrong" in seen.sides:
        state = "pending"
    elif "unknown" not in seen.sides:
        state = "verifying"
    return replace(next_, state=state, fast_checks=life.fast_checks + 1)


def _failed(life: Life, seen: Seen) -> Life:
    """Each side that is wrong has ended; the other goes on."""
    if seen.sending == "wrong":
        life = replace(life, sending_since=None, sending="pending")
    if seen.receiving == "wrong":
        life = replace(life, receiving_since=None)
    return replace(life, state="failed")


def _next_look(life: Life, now: datetime, *, slow: bool) -> datetime | None:
    if not life.scheduled:
        return None
    if life.state == "verified" or slow:
        return life.next_cycle
    wait = FAST_CHECKS[min(max(life.fast_checks - 1, 0), len(FAST_CHECKS) - 1)]
    return min(now + wait, life.next_cycle)


def _news(before: Life, after: Life) -> tuple[News, ...]:
    found: list[News] = []
    if before.receiving_since is None and after.receiving_since is not None:
        found.append("receiving")
    if before.sending_since is None and after.sending_since is not None:
        found.append("sending")
    if after.state == "verified" and before.state != "verified":
        found.append("verified")
    if before.state == "verified" and after.state == "pending":
        found.append("broken")
    if after.state == "failed":
        found.append("failed")
    if after.told_slow and not before.told_slow:
        found.append("slow")
    return tuple(found)
