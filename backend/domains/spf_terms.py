"""What does an SPF record ask for, and how many DNS lookups does that cost? (RFC 7208)

Counts what an evaluation costs that no term ends: whoever is not listed pays for all of them, and
at the eleventh lookup receivers answer permerror for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network

from backend.domains.views import Look
from mailagent.dns_answers import Absent, Answer, Found, Unknown, ascii_name

__all__ = [
    "LOOKUPS",
    "VOID_LOOKUPS",
    "Cost",
    "Term",
    "allows",
    "cost",
    "effective",
    "is_spf",
    "parse",
]

LOOKUPS = 10
VOID_LOOKUPS = 2
_MX_HOSTS = 10
_COUNTED = 40
"""Where counting ends: a record of includes in a circle would never do."""
_DEPTH = 10

_NAMED = r"(?P<kind>include|exists|a|mx|ptr)(?P<value>:[^/]*)?(?P<cidr>(?:/\d{1,2})?(?://\d{1,3})?)"
_MECHANISM = re.compile(
    rf"(?P<qualifier>[+?~-]?)(?:{_NAMED}|(?P<ip>ip[46]:[0-9a-f:./]+)|(?P<all>all))", re.IGNORECASE
)
_MODIFIER = re.compile(r"(?P<name>[a-z][a-z0-9_.-]*)=(?P<value>\S*)", re.IGNORECASE)
_ASKING = frozenset({"include", "exists", "a", "mx", "ptr"})


@dataclass(frozen=True, slots=True)
class Term:
    """One mechanism or modifier of a record."""

    text: str
    kind: str
    """`include`, `a`, `mx`, `ptr`, `exists`, `ip4`, `ip6`, `all`, or a modifier's name with `=`."""
    value: str
    """The domain, address or modifier's value; empty where the record's own domain is meant."""
    qualifier: str = "+"

    @property
    def key(self) -> str:
        """By which equal terms are known: without a `+`, in lower case."""
        return self.text.lower().removeprefix("+")


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


def is_spf(text: str) -> bool:
    """Whether a TXT value is an SPF record: the version, then a space or the end (§4.5)."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def parse(record: str) -> tuple[Term, ...] | str:
    """The terms of an SPF record, or what is wrong with it."""
    terms: list[Term] = []
    for text in record.split()[1:]:
        term = _term(text)
        if term is None:
            return f"{text!r} is not a term of SPF"
        terms.append(term)
    for name in ("redirect=", "exp="):
        if sum(term.kind == name for term in terms) > 1:
            return f"{name} stands twice"
    return tuple(terms)


def effective(terms: Iterable[Term]) -> tuple[Term, ...]:
    """The terms that are evaluated: none after `all`, and no redirect beside it (§5.1)."""
    kept: list[Term] = []
    ended = False
    for term in terms:
        if not ended and not term.kind.endswith("="):
            kept.append(term)
        ended = ended or term.kind == "all"
    if not ended:
        kept += [term for term in terms if term.kind == "redirect="]
    return tuple(kept)


def allows(domain: str, record: str, wanted: str, look: Look, depth: int = 0) -> bool | None:
    """Whether a term is reached with a pass, at any depth of includes; None when DNS hides it."""
    terms = parse(record)
    if isinstance(terms, str) or depth > _DEPTH:
        return False
    doubt = False
    for term in effective(terms):
        if term.qualifier != "+":
            continue
        covered = _covers(term, domain, wanted.lower().removeprefix("+"), look)
        if covered:
            return True
        doubt = doubt or covered is None
        if term.kind not in ("include", "redirect="):
            continue
        inner = _record_at(term.value, look)
        if isinstance(inner, Unknown):
            doubt = True
        elif inner is not None:
            found = allows(term.value, inner, wanted, look, depth + 1)
            if found:
                return True
            doubt = doubt or found is None
    return None if doubt else False


def cost(domain: str, record: str, look: Look) -> Cost:
    """Count the lookups of a record and of all that it includes."""
    total = Cost()
    _add(domain, record, look, total, ())
    return total


def _add(domain: str, record: str, look: Look, total: Cost, above: tuple[str, ...]) -> None:
    terms = parse(record)
    if isinstance(terms, str):
        total.problem = total.problem or (f"at {domain} {terms}" if above else terms)
        return
    if domain in above or len(above) > _DEPTH:
        total.problem = total.problem or f"{domain} includes itself"
        return
    for term in effective(terms):
        if total.lookups >= _COUNTED:
            return
        if term.kind in _ASKING or term.kind == "redirect=":
            total.lookups += 1
        name = term.value or domain
        # What a macro stands for differs from mail to mail (§7).
        if "%" in name or ascii_name(name) is None:
            continue
        match term.kind:
            case "include" | "redirect=":
                inner = _record_at(name, look)
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


def _covers(term: Term, domain: str, wanted: str, look: Look) -> bool | None:
    """Whether a term is the wanted one, or names its address in another way; None: DNS hides it."""
    if term.key == wanted:
        return True
    kind, _, network = wanted.partition(":")
    if kind not in ("ip4", "ip6"):
        return False
    address = ip_network(network, strict=False)
    if term.kind in ("a", "mx"):
        return _hosts_have(term, domain, address, look)
    if term.kind != kind:
        return False
    try:
        covering = ip_network(term.value, strict=False)
    except ValueError:
        return False
    # Both are of one family, which the kind says and the type checker cannot see.
    return covering.version == address.version and address.subnet_of(covering)  # type: ignore[arg-type]


def _hosts_have(
    term: Term, domain: str, address: IPv4Network | IPv6Network, look: Look
) -> bool | None:
    hosts = [term.value or domain]
    if "%" in hosts[0]:
        return False
    answers: list[Answer] = []
    if term.kind == "mx":
        answers.append(look(hosts[0], "MX"))
        hosts = [mx.partition(" ")[2] for mx in _found(answers[0])][:_MX_HOSTS]
    type_ = "A" if address.version == 4 else "AAAA"
    answers += [look(host, type_) for host in hosts if ascii_name(host) is not None]
    wanted = str(address.network_address)
    if any(wanted in _found(answer) for answer in answers):
        return True
    return None if any(isinstance(answer, Unknown) for answer in answers) else False


def _found(answer: Answer) -> tuple[str, ...]:
    return answer.records if isinstance(answer, Found) else ()


def _note(answers: Iterable[object], total: Cost) -> None:
    for answer in answers:
        if isinstance(answer, Unknown):
            total.unknown = total.unknown or answer.reason


def _record_at(name: str, look: Look) -> str | Unknown | None:
    """The one SPF record of an included name; None where there is none, or several."""
    if "%" in name:
        return Unknown(f"{name} differs from mail to mail")
    match look(name, "TXT"):
        case Unknown() as unknown:
            return unknown
        case Found(records=texts):
            records = [text for text in texts if is_spf(text)]
            return records[0] if len(records) == 1 else None
        case _:
            return None


def _term(text: str) -> Term | None:
    found = _MECHANISM.fullmatch(text)
    if found is not None:
        qualifier = found["qualifier"] or "+"
        if found["ip"]:
            kind, _, address = found["ip"].partition(":")
            return Term(text, kind.lower(), address, qualifier)
        if found["all"]:
            return Term(text, "all", "", qualifier)
        kind, value = found["kind"].lower(), (found["value"] or "").removeprefix(":")
        if kind in ("include", "exists") and (not value or found["cidr"]):
            return None
        return Term(text, kind, _plain(value), qualifier)
    modifier = _MODIFIER.fullmatch(text)
    if modifier is None:
        return None
    return Term(text, f"{modifier['name'].lower()}=", _plain(modifier["value"]))


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()
