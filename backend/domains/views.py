"""What do the two sides of DNS say: the zone's own servers, and a resolver as receivers use it?

What is missing counts as unknown for one round and is noted: whoever judges throws that round away,
has the questions answered and judges again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailagent.authentication.answers import Inquiry
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown

__all__ = ["Evidence", "Look", "Needs", "Views"]

Look = Callable[[str, str], Answer]
"""Asks one side for a name and a record type."""

_NOT_YET = Unknown("it was not asked yet")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found out about a domain so far."""

    recursive: Mapping[Question, Answer]
    """A resolver's answers, CNAMEs followed."""
    authoritative: Mapping[Question, Answer] | None = field(default_factory=dict)
    """What the zone's own servers say of the very name, CNAMEs not followed (`Absent` where there
    is but a CNAME). None where they are not asked at all: the resolver's word decides then."""
    bogus: Mapping[str, str] = field(default_factory=dict)
    """Names whose DNSSEC does not validate, with the reason (RFC 8914 codes 6-12): the resolver
    fails on them and answers when it is asked not to check."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The verdict waits for these answers; both sides may be asked at once."""

    authoritative: frozenset[Question]
    recursive: frozenset[Question]


class Views:
    """Both sides for one round of judging a domain in `zone`."""

    def __init__(self, evidence: Evidence, zone: str) -> None:
        self._recursive = Inquiry(evidence.recursive)
        self._authoritative = Inquiry(evidence.authoritative or {})
        self._zone = zone

    def recursive(self, name: str, type_: str) -> Answer:
        """What a receiver of mail would be told."""
        return self._recursive.ask(name, type_) or _NOT_YET

    def authoritative(self, name: str, type_: str) -> Answer:
        """What the zone's own servers say; of foreign names, what a receiver would be told."""
        question = Question(name, type_)
        if question.name != self._zone and not question.name.endswith(f".{self._zone}"):
            return self.recursive(name, type_)
        answer = self._authoritative.ask(name, type_) or _NOT_YET
        if type_ != "CNAME" and isinstance(answer, Absent) and not answer.nxdomain:
            alias = self._authoritative.ask(name, "CNAME") or _NOT_YET
            if isinstance(alias, Found):
                return self.recursive(name, type_)
            if isinstance(alias, Unknown):
                return alias
        return answer

    @property
    def needs(self) -> Needs | None:
        """What must be asked before judging again; None when nothing is missing."""
        asked, told = self._authoritative.needs, self._recursive.needs
        if asked is None and told is None:
            return None
        return Needs(
            asked.questions if asked is not None else frozenset(),
            told.questions if told is not None else frozenset(),
        )
