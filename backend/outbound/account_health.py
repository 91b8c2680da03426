"""How well does an account, or the warm-up of a domain at it, do? From 0 to 100, with reasons.

Made of the newest hand-overs and of what became of the newest recipients, read along the primary
keys, which are in the order of time: nothing is counted while mail is sent. 90 and more is
excellent, 70 good, 50 fair, 30 poor, below that critical.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from mailagent.outbound import (
    LEAST_DELIVERED,
    LEAST_SENT_FOR_COMPLAINTS,
    MOST_BOUNCED,
    MOST_COMPLAINED,
    Rates,
)
from mailagent.store.tables import hand_overs, outbound_recipients
from mailagent.store.transaction import Transaction

__all__ = ["Health", "healths", "of_rates", "score"]

_NEWEST = 2_000
_WORDS = ((90, "excellent"), (70, "good"), (50, "fair"), (30, "poor"), (0, "critical"))


@dataclass(frozen=True, slots=True)
class Health:
    """`score` is None before the first hand-over."""

    score: int | None
    reasons: tuple[str, ...]

    @property
    def word(self) -> str:
        """`excellent`, `good`, `fair`, `poor`, `critical`; `new` without a score."""
        if self.score is None:
            return "new"
        return next(word for least, word in _WORDS if self.score >= least)


def score(hand_overs_: Mapping[str, int], fates: Mapping[str, int]) -> Health:
    """From how many hand-overs had which outcome, and how many recipients have which state.

    Failed hand-overs cost up to 60 points, unknown ones twice as much as others; bounces up to 20,
    reached at 5 %; complaints up to 20, reached at 0.1 %.
    """
    tried = sum(hand_overs_.values())
    if not tried:
        return Health(None, ("nothing was handed over to it lately",))
    failed = hand_overs_.get("later", 0) + hand_overs_.get("refused", 0)
    unknown = hand_overs_.get("unknown", 0)
    left = sum(fates.values())
    bounced, complained = fates.get("bounced", 0), fates.get("complained", 0)
    costs = (
        (60 * min(1.0, (failed + 2 * unknown) / tried), f"{failed} of {tried} hand-overs failed"),
        (20 * min(1.0, _share(bounced, left) / MOST_BOUNCED), f"{bounced} of {left} bounced"),
        (
            20 * min(1.0, _share(complained, left) / MOST_COMPLAINED),
            f"{complained} of {left} complained",
        ),
    )
    reasons = [reason for cost, reason in costs if cost > 0]
    if unknown:
        reasons.insert(1, f"{unknown} of {tried} have an unknown outcome")
    reached = round(100 - sum(cost for cost, _ in costs))
    return Health(reached, tuple(reasons) or (f"{tried} hand-overs without a failure",))


def of_rates(rates: Rates) -> Health:
    """Of a warm-up. Bounces cost up to 40 points, reached at 5 %; complaints up to 40, reached at
    0.1 % of a thousand or more; what is not delivered up to 20, reached at 10 %, where the provider
    reports deliveries.
    """
    if not rates.sent:
        return Health(None, ("nothing was sent in the last three days",))
    of = max(rates.sent, LEAST_SENT_FOR_COMPLAINTS)
    late = rates.due - rates.delivered if rates.delivered else 0
    costs = (
        (
            40 * min(1.0, _share(rates.bounced, rates.sent) / MOST_BOUNCED),
            f"{rates.bounced} of {rates.sent} bounced",
        ),
        (
            40 * min(1.0, _share(rates.complained, of) / MOST_COMPLAINED),
            f"{rates.complained} of {rates.sent} complained",
        ),
        (
            20 * min(1.0, _share(late, rates.due) / (1 - LEAST_DELIVERED)),
            f"{late} of {rates.due} not delivered",
        ),
    )
    reasons = tuple(reason for cost, reason in costs if cost > 0)
    reached = round(100 - sum(cost for cost, _ in costs))
    return Health(reached, reasons or (f"{rates.sent} sent without a complaint or bounce",))


def healths(tx: Transaction) -> Mapping[str, Health]:
    """The health of every account that lately carried mail, by name."""
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    tried = select(hand_overs.c.account, hand_overs.c.outcome)
    for row in tx.rows(tried.order_by(hand_overs.c.id.desc()).limit(_NEWEST)):
        outcomes[row.account][row.outcome] += 1
    fates: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sent = select(outbound_recipients.c.account, outbound_recipients.c.state)
    for row in tx.rows(sent.order_by(outbound_recipients.c.id.desc()).limit(_NEWEST)):
        if row.account is not None:
            fates[row.account][row.state] += 1
    return {name: score(outcomes[name], fates[name]) for name in outcomes}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
