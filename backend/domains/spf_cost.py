"""How many DNS lookups does evaluating an SPF record cost? (RFC 7208 §4.6.4)

Counts what an evaluation costs that no term ends: whoever is not listed pays for all of them, and
at the eleventh lookup receivers answer permerror for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from backend.domains.spf_reach import record_at
from backend.domains.spf_terms import Term, effective, parse
from backend.domains.views import Look
from mailagent.dns_answers import Absent, Found, Unknown, ascii_name

__all__ = ["LOOKUPS", "VOID_LOOKUPS", "Cost", "cost", "includes_nothing"]

LOOKUPS = 10
VOID_LOOKUPS = 2
_MX_HOSTS = 10
_COUNTED = 40
"""Where counting ends: a record of includes in a circle would never do."""
_ASKING = frozenset({"include", "exists", "a", "mx", "ptr", "redirect="})


@dataclass(slots=True)
class Cost:
    """What evaluating a record costs, each as found so far."""

    lookups: int = 0
    void: list[str] = field(default_factory=list)
    """Names that were asked for and hold nothing."""
    problem: str = ""
    """Why the record is a permerror whatever the count; empty if it is none."""
    unknown: str = ""
    """Why the count may be short: a name that DNS could not tell."""


def cost(domain: str, record: str, look: Look) -> Cost:
    """Count the lookups of a record and of all that it includes."""
    total = Cost()
    _add(domain, record, look, total, ())
    return total


def includes_nothing(term: Term, look: Look) -> bool:
    """Whether a term includes a name that has no SPF record, which is a permerror (§5.2)."""
    return term.kind in ("include", "redirect=") and record_at(term.value, look) is None


def _add(domain: str, record: str, look: Look, total: Cost, above: tuple[str, ...]) -> None:
    terms = parse(record)
    if isinstance(terms, str):
        total.problem = total.problem or (f"at {domain} {terms}" if above else terms)
        return
    if domain in above:
        total.problem = total.problem or f"{domain} includes itself"
        return
    for term in effective(terms):
        if total.lookups >= _COUNTED or len(above) > LOOKUPS:
            return
        if term.kind in _ASKING:
            total.lookups += 1
        name = term.value or domain
        # What a macro stands for differs from mail to mail (§7).
        if "%" in name or ascii_name(name) is None:
            continue
        match term.kind:
            case "include" | "redirect=":
                inner = record_at(name, look)
                if isinstance(inner, Unknown):
                    total.unknown = total.unknown or inner.reason
                elif inner is None:
                    total.problem = total.problem or f"{name} has no SPF record of its own"
                else:
                    _add(name, inner, look, total, (*above, domain))
            case "a":
                _ask_addresses(name, look, total)
            case "mx":
                _ask_mx(name, look, total)
            case _:
                pass


def _ask_addresses(name: str, look: Look, total: Cost) -> None:
    answers = (look(name, "A"), look(name, "AAAA"))
    if all(isinstance(answer, Absent) for answer in answers):
        total.void.append(name)
    _note(answers, total)


def _ask_mx(name: str, look: Look, total: Cost) -> None:
    answer = look(name, "MX")
    match answer:
        case Absent():
            total.void.append(name)
        case Found(records=records) if len(records) > _MX_HOSTS:
            total.problem = total.problem or f"{name} has more than {_MX_HOSTS} MX (§4.6.4)"
        case _:
            _note((answer,), total)


def _note(answers: Iterable[object], total: Cost) -> None:
    for answer in answers:
        if isinstance(answer, Unknown):
            total.unknown = total.unknown or answer.reason
