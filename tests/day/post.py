"""What is a mail of the day, as a value: who writes what, and what must become of it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.attacks.attack import Obeyed

__all__ = [
    "ELSEWHERE",
    "THERE",
    "Happens",
    "InThread",
    "Place",
    "Post",
    "ToNotice",
    "ToQuestion",
    "ToReturnPath",
]

THERE = "192.0.2.1"
"""Whence the domains of the town send."""
ELSEWHERE = "198.51.100.9"
"""Whence none of them does."""


@dataclass(frozen=True, slots=True)
class InThread:
    """The agent's address; the mail answers what was last said about an earlier one."""

    of: str


@dataclass(frozen=True, slots=True)
class ToNotice:
    """The Reply-To of what people were told about an earlier mail: a decision, or an answer."""

    of: str


@dataclass(frozen=True, slots=True)
class ToQuestion:
    """The Reply-To of what a colleague was asked about an earlier mail."""

    of: str


@dataclass(frozen=True, slots=True)
class ToReturnPath:
    """The return path of the answer to an earlier mail; the report names that answer."""

    of: str
    report: str
    """`bounce` or `complaint`."""


Place = str | InThread | ToNotice | ToQuestion | ToReturnPath
"""Where a mail goes; a text is the local part of an address of the workspace."""


@dataclass(frozen=True, slots=True)
class Post:
    """One mail. It is DKIM-signed by the domain in From when it comes from `THERE`, or `relayed`:
    passed on by somebody else's server, for which SPF does not vouch.
    """

    name: str
    at: str
    """The time of day."""
    who: str
    subject: str
    text: str
    ends: str
    """The state in which it stands in the evening; `refused` is the door's."""
    because: str
    """Words of its reason."""
    leaves: tuple[str, ...] = ()
    """What leaves the house before the next mail comes: `purpose to`."""
    kept: tuple[str, ...] = ()
    """Answers to it that are kept back, for their recipient is suppressed."""
    to: Place = "support"
    ip: str = THERE
    relayed: bool = False
    signed: bool = True
    mail_from: str | None = ""
    """The envelope's sender; empty: the address in From."""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: tuple[str, str] | None = None
    """A text file's name and content."""
    says: tuple[Obeyed, ...] = ()
    """What the model answers to it, one question after the other."""
    later: tuple[Obeyed, ...] = ()
    """What it answers when the thread is looked at again."""
    again: bool = False
    """It is the mail before, octet by octet."""
    meanwhile: bool = False
    """It comes while the model thinks about the mail before."""
    busy: bool = False
    """The model's service is overloaded when it is asked first, and well a while later."""


@dataclass(frozen=True, slots=True)
class Happens:
    """Something of the day that is no mail."""

    at: str
    what: str
    budget: str | None = None
    """What the workspace may spend a day from now on, in US dollars."""
    leaves: tuple[str, ...] = ()
