"""Whom have people allowed or blocked? The narrowest entry that fits an address decides.

An entry of one of our addresses counts before one of the workspace; within each an address before
`*@domain`, that before `domain` (its sub-domains too), that before `*`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from mailagent.errors import Malformed
from mailagent.mime.outgoing_rules import check_address

__all__ = ["WHATS", "Entry", "Listed", "What", "narrowest", "parse_pattern", "patterns"]

What = Literal["send", "receive", "reply"]
"""Mail that we send; that comes in; that comes in and answers a thread it takes part in."""
Listed = Literal["allow", "block"]
WHATS: tuple[What, ...] = get_args(What)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list."""

    what: What
    verdict: Listed
    pattern: str
    mailbox: str = ""
    """The address of ours that it is about; empty for all of the workspace."""

    def __str__(self) -> str:
        whose = self.mailbox or "the workspace"
        return f"{self.verdict} {self.what} {self.pattern} of {whose}"


def parse_pattern(text: str) -> str:
    """A pattern in lower case: an address, `*@domain`, `domain`, or `*`. Raises Malformed."""
    pattern = text.strip().lower()
    if pattern == "*":
        return pattern
    local, at, domain = pattern.rpartition("@")
    if at and not local:
        raise Malformed("pattern", f"{pattern[:80]!r} begins with @: write *{pattern[:80]}")
    probe = pattern if at and local != "*" else f"anybody@{domain}"
    try:
        check_address("pattern", probe)
    except Malformed as error:
        mend = "write an address, *@example.com, example.com, or * for everybody"
        raise Malformed("pattern", f"{pattern[:80]!r} is none of ours: {mend}") from error
    return pattern


def patterns(address: str) -> tuple[str, ...]:
    """Every pattern that fits an address, the narrowest first."""
    whole = address.lower()
    domain = whole.rpartition("@")[2]
    labels = domain.split(".")
    above = (".".join(labels[at:]) for at in range(len(labels)))
    return (whole, f"*@{domain}", *above, "*")


def narrowest(entries: Iterable[Entry], address: str, what: What, mailbox: str) -> Entry | None:
    """The entry that decides about `address` for one of our addresses; None when none fits."""
    order = {pattern: place for place, pattern in enumerate(patterns(address))}
    fitting = [
        one
        for one in entries
        if one.what == what and one.pattern in order and one.mailbox in ("", mailbox.lower())
    ]
    return min(fitting, key=lambda one: (not one.mailbox, order[one.pattern]), default=None)
