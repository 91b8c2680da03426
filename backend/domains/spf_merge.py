"""Which one SPF record says all that is published and all that we need?

Every published term stays, in its order; ours stand before `all`. Nothing is flattened: an include
stays an include, because its owner changes what stands behind it. What is changed besides is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.domains.spf_cost import LOOKUPS, VOID_LOOKUPS, cost, includes_nothing
from backend.domains.spf_reach import allows
from backend.domains.spf_terms import Term, effective, is_spf, parse
from backend.domains.views import Evidence, Look, Needs, Views
from mailagent.dns_answers import Answer, Found, Question, Unknown

__all__ = ["SpfMerge", "merge", "merged"]

_ADVISED_OCTETS = 450
"""RFC 7208 §3.4: so that all TXT records of the name fit into one UDP answer."""


@dataclass(frozen=True, slots=True)
class SpfMerge:
    """The one record to paste, and what it costs receivers to evaluate."""

    record: str
    published: tuple[str, ...]
    """The SPF records that stand there now."""
    added: tuple[str, ...]
    """Our terms that were not reached yet."""
    lookups: int
    """DNS lookups of `record`; receivers give up above 10 (RFC 7208 §4.6.4)."""
    void_lookups: int
    """Names in it that hold nothing; receivers give up above 2."""
    notes: tuple[str, ...]
    """What was changed and what is still wrong, a sentence each."""
    unknown: str = ""
    """Why the counts may be too low."""

    @property
    def changed(self) -> bool:
        """Whether something must be published."""
        return self.published != (self.record,)


def merge(
    domain: str, wanted: Sequence[str], answers: Mapping[Question, Answer]
) -> SpfMerge | Unknown | Needs:
    """Merge our terms (`include:amazonses.com`) into what `domain` publishes.

    `answers` are a resolver's, or the zone's own servers' for its names. Returns Needs while some
    are missing, Unknown when it cannot be told what is published.
    """
    views = Views(Evidence(answers, authoritative=None), domain)
    match views.recursive(domain, "TXT"):
        case Found(records=texts):
            result: SpfMerge | Unknown = merged(domain, texts, wanted, views.recursive)
        case Unknown() as unknown:
            result = unknown
        case _:
            result = merged(domain, (), wanted, views.recursive)
    return views.needs or result


def merged(domain: str, texts: Sequence[str], wanted: Sequence[str], look: Look) -> SpfMerge:
    """Merge our terms into the TXT records `texts` of `domain`."""
    published = tuple(sorted(text for text in texts if is_spf(text)))
    notes: list[str] = []
    kept, ending = _joined(published, notes)
    for term in [each for each in kept if each.qualifier != "+" and each.unqualified in wanted]:
        kept.remove(term)
        notes.append(f"{term.text} would keep ours from passing: left out")
    # Of the first ones: what stands behind them is over the limit anyway.
    for term in [each for each in kept[: 2 * LOOKUPS] if includes_nothing(each, look)]:
        kept.remove(term)
        notes.append(f"{term.value} has no SPF record, so that none of this counts: left out")
        ending = ending or ["~all"]
    # Of several records none is reached, so all of ours are asked of the joined one.
    standing = " ".join(("v=spf1", *(term.text for term in kept)))
    added = [term for term in wanted if not allows(domain, standing, term, look)]
    modifiers = [term.text for term in kept if term.kind.endswith("=")]
    mechanisms = [term.text for term in kept if not term.kind.endswith("=")]
    record = " ".join(("v=spf1", *mechanisms, *added, *ending, *modifiers))
    total = cost(domain, record, look)
    if total.lookups > LOOKUPS:
        notes.append(
            f"{total.lookups} DNS lookups, and {LOOKUPS} are allowed: remove what you no longer use"
        )
    if len(total.void) > VOID_LOOKUPS:
        notes.append(f"hold nothing, remove them: {', '.join(total.void)}")
    if total.problem:
        notes.append(f"receivers cannot evaluate it: {total.problem}")
    if ending == ["all"]:
        notes.append("ends with all: anybody may send as this domain; ~all or -all is better")
    if len(record) > _ADVISED_OCTETS:
        notes.append(f"{len(record)} characters; RFC 7208 §3.4 advises {_ADVISED_OCTETS} at most")
    return SpfMerge(
        record, published, tuple(added), total.lookups, len(total.void), tuple(notes), total.unknown
    )


def _joined(published: Sequence[str], notes: list[str]) -> tuple[list[Term], list[str]]:
    """The terms of all records once each, and the `all` that ends them, if any."""
    kept: dict[str, Term] = {}
    endings: list[str] = []
    for record in published:
        for term in _terms(record, notes):
            if term.kind == "all":
                endings.append(term.qualifier)
            elif term.kind == "redirect=" and len(published) > 1:
                include = Term(f"include:{term.value}", "include", term.value)
                kept.setdefault(include.key, include)
                notes.append(f"{term.text} became {include.text}: there are several records")
            else:
                kept.setdefault(term.key, term)
    if len(published) > 1:
        notes.append(f"{len(published)} records became one; delete the others")
    if any(term.kind == "redirect=" for term in kept.values()):
        return list(kept.values()), []
    if len(set(endings)) > 1:
        notes.append(f"the records end differently ({', '.join(endings)}): ~all stands for both")
        endings = ["~"]
    if not endings and len(published) != 1:
        endings = ["~"]
    return list(kept.values()), [f"{endings[0].replace('+', '')}all"] if endings else []


def _terms(record: str, notes: list[str]) -> tuple[Term, ...]:
    """What is evaluated of a record; what is not is left out, and that is said."""
    good: list[Term] = []
    for text in record.split()[1:]:
        one = parse(f"v=spf1 {text}")
        if isinstance(one, str):
            notes.append(f"left out: {one}")
        else:
            good += one
    live = effective(good)
    modifiers = [term for term in good if term.kind.endswith("=") and term not in live]
    for term in good:
        if term not in live and term not in modifiers:
            notes.append(f"{term.text} stood behind all, where nothing is read: left out")
        elif term.kind == "redirect=" and term not in live:
            notes.append(f"{term.text} is not read beside all: left out")
    return (*live, *(term for term in modifiers if term.kind != "redirect="))
