"""Where does somebody else's export differ from what must be published?

The export stands in for DNS: what it does not have is absent, and the same rules judge it that
judge the live zone, so that both give the same codes and sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.domains.record import DomainRecord
from backend.domains.verify import Verdict, verify
from backend.domains.views import Evidence, Needs
from mailagent.authentication.dmarc_record import registrable_domain
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.identity import DnsRecord

__all__ = ["Comparison", "Published", "compare"]

_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Comparison:
    """An export judged."""

    verdict: Verdict
    """Per expected record: right, or what differs and the mend."""
    beside: tuple[DnsRecord, ...]
    """What the export has at the names and of the types of ours and the set does not ask for."""


class Published:
    """The records of one zone, answering as its resolver would (RFC 1034 §4.3.2, RFC 4592)."""

    def __init__(self, zone: str, records: Iterable[DnsRecord]) -> None:
        self._zone = zone
        self._records: dict[str, dict[str, list[str]]] = {}
        for record in records:
            text = record.value if record.priority is None else f"{record.priority} {record.value}"
            self._records.setdefault(record.name, {}).setdefault(record.type, []).append(text)
        # A name above a record exists too, though it is empty.
        self._names = {
            ".".join(labels[at:])
            for labels in (name.split(".") for name in (*self._records, zone))
            for at in range(len(labels))
        }

    def answer(self, question: Question) -> Answer | Question:
        """The answer, or the question that remains for somebody else's zone."""
        name = question.name
        for _ in range(_CHAIN):
            if name != self._zone and not name.endswith(f".{self._zone}"):
                return self._outside(Question(name, question.type))
            entry = self._entry(name)
            if entry is None:
                return Absent(nxdomain=True)
            if question.type in entry:
                return Found(tuple(entry[question.type]))
            if "CNAME" not in entry:
                return Absent(nxdomain=False)
            name = entry["CNAME"][0]
        return Unknown(f"{question.name} leads from CNAME to CNAME")

    def _entry(self, name: str) -> Mapping[str, Sequence[str]] | None:
        if name in self._names:
            return self._records.get(name, {})
        encloser = name
        while encloser not in self._names:
            encloser = encloser.partition(".")[2]
        return self._records.get(f"*.{encloser}")

    def _outside(self, question: Question) -> Answer | Question:
        above = question.name.removeprefix("_dmarc.")
        is_above = self._zone.endswith(f".{above}")
        if is_above and registrable_domain(self._zone) == self._zone:
            # Above a registered domain nothing of its owner's stands.
            return Absent(nxdomain=False)
        return question


def compare(
    records: Sequence[DomainRecord],
    export: Iterable[DnsRecord],
    outside: Mapping[Question, Answer],
) -> Comparison | Needs:
    """Judge an export of the records' zone against the set.

    `outside` answers for names that are not in the zone, such as the includes of SPF. Returns Needs
    for those that are missing; who is offline answers them with Unknown.
    """
    exported = tuple(export)
    published = Published(records[0].place.zone, exported) if records else None
    answers: dict[Question, Answer] = {}
    while isinstance(verdict := verify(records, Evidence(answers, authoritative=None)), Needs):
        assert published is not None, "nothing is asked of an empty set"
        open_: set[Question] = set()
        for question in verdict.recursive:
            answer = published.answer(question)
            if isinstance(answer, Question):
                if answer not in outside:
                    open_.add(answer)
                    continue
                answer = outside[answer]
            answers[question] = answer
        if open_:
            return Needs(frozenset(), frozenset(open_))
    return Comparison(verdict, _beside(records, exported))


def _beside(records: Sequence[DomainRecord], export: Sequence[DnsRecord]) -> tuple[DnsRecord, ...]:
    places = {(each.record.type, each.name) for each in records}
    expected = {(each.record.type, each.name, each.record.value) for each in records}
    return tuple(
        sorted(
            (
                each
                for each in export
                if (each.type, each.name) in places
                and (each.type, each.name, each.value) not in expected
            ),
            key=lambda each: (each.name, each.type, each.value),
        )
    )
