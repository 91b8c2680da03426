"""A small DNS of dictionaries: what stands where, for both sides, with everything that can fail.

Independent of the code it tests: wildcards, empty non-terminals and CNAMEs are done here anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.domains.record import DomainRecord
from backend.domains.verify import Verdict, verify
from backend.domains.views import Evidence, Needs
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.identity import Identity

Zone = dict[str, dict[str, list[str]]]
BROKEN = Unknown("DNS failed: SERVFAIL")
ROUNDS = 20


@dataclass
class World:
    """Everybody's names; `old` overlays what resolvers still remember."""

    zone: Zone = field(default_factory=dict)
    old: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    own_fails: set[str] = field(default_factory=set)
    resolver_fails: set[str] = field(default_factory=set)
    bogus: dict[str, str] = field(default_factory=dict)
    rounds: int = 0

    def put(self, name: str, type_: str, *values: str) -> World:
        """Set the records of a name and type; none removes them."""
        entry = self.zone.setdefault(name, {})
        entry.pop(type_, None)
        if values:
            entry[type_] = list(values)
        if not entry:
            del self.zone[name]
        return self

    def publish(self, records: Sequence[DomainRecord]) -> World:
        """Publish a set exactly, and what stands behind its CNAMEs."""
        for each in records:
            entry = self.zone.setdefault(each.name, {})
            entry.setdefault(each.record.type, []).append(each.text)
            for behind in each.behind:
                target = self.zone.setdefault(each.record.value, {})
                level = "" if behind.priority is None else f"{behind.priority} "
                target.setdefault(behind.type, []).append(f"{level}{behind.value}")
        return self

    def resolver(self, question: Question) -> Answer:
        if question.name in self.resolver_fails or "*" in self.resolver_fails:
            return BROKEN
        if (remembered := self.old.get((question.name, question.type))) is not None:
            return Found(tuple(remembered)) if remembered else Absent(nxdomain=False)
        name = question.name
        for _ in range(9):
            entry = self._entry(name)
            if entry is None:
                return Absent(nxdomain=True)
            if question.type in entry:
                return Found(tuple(entry[question.type]))
            if "CNAME" not in entry:
                return Absent(nxdomain=False)
            name = entry["CNAME"][0]
        return BROKEN

    def own(self, question: Question) -> Answer:
        if question.name in self.own_fails or "*" in self.own_fails:
            return BROKEN
        entry = self._entry(question.name)
        if entry is None:
            return Absent(nxdomain=True)
        found = entry.get(question.type)
        return Found(tuple(found)) if found else Absent(nxdomain=False)

    def judge(
        self,
        records: Sequence[DomainRecord],
        providers: Mapping[str, Identity] | None = None,
        *,
        ask_own: bool = True,
    ) -> Verdict:
        """Verify as a caller does: ask what is named, until nothing is missing."""
        recursive: dict[Question, Answer] = {}
        own: dict[Question, Answer] = {}
        for self.rounds in range(1, ROUNDS + 1):
            evidence = Evidence(recursive, own if ask_own else None, self.bogus)
            verdict = verify(records, evidence, providers)
            if not isinstance(verdict, Needs):
                return verdict
            recursive |= {each: self.resolver(each) for each in verdict.recursive}
            own |= {each: self.own(each) for each in verdict.authoritative}
        raise AssertionError(f"no verdict after {ROUNDS} rounds")

    def _entry(self, name: str) -> Mapping[str, Sequence[str]] | None:
        if name in self.zone:
            return self.zone[name]
        labels = name.split(".")
        for cut in range(len(labels)):
            encloser = ".".join(labels[cut:])
            if any(each == encloser or each.endswith(f".{encloser}") for each in self.zone):
                return {} if cut == 0 else self.zone.get(f"*.{encloser}")
        return None
