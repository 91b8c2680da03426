"""Does a sender pass by an SPF record, however it is written there? (RFC 7208 §4.6)"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from backend.domains.spf_terms import Term, effective, is_spf, network, parse
from backend.domains.views import Look
from mailagent.dns_answers import Answer, Found, Unknown, ascii_name

__all__ = ["allows", "record_at"]

_DEPTH = 10
"""Who is deeper is behind the lookups that are allowed (§4.6.4)."""
_INCLUDES = 40
"""Of a tree of includes: a receiver has given up long before."""
_MX_HOSTS = 10


def allows(domain: str, record: str, wanted: str, look: Look) -> bool | None:
    """Whether a term is reached with a pass, at any depth of includes; None when DNS hides it."""
    return _reaches(domain, record, wanted.lower().removeprefix("+"), look, {})


def _reaches(
    domain: str, record: str, wanted: str, look: Look, seen: dict[str, bool | None], depth: int = 0
) -> bool | None:
    terms = parse(record)
    if isinstance(terms, str):
        return False
    doubt = False
    for term in effective(terms):
        if term.qualifier != "+":
            if term.unqualified == wanted:
                return False  # It matches first, and the evaluation ends there.
            continue
        reached = _covers(term, domain, wanted, look)
        if not reached and term.kind in ("include", "redirect="):
            if term.value not in seen:
                if len(seen) >= _INCLUDES or depth >= _DEPTH:
                    return False
                # A circle leads nowhere new, so that what is under way counts as not reached.
                seen[term.value] = False
                seen[term.value] = _reached_at(term.value, wanted, look, seen, depth + 1)
            reached = seen[term.value]
        if reached:
            return True
        doubt = doubt or reached is None
    return None if doubt else False


def _reached_at(
    name: str, wanted: str, look: Look, seen: dict[str, bool | None], depth: int
) -> bool | None:
    match record_at(name, look):
        case Unknown():
            return None
        case None:
            return False
        case str(record):
            return _reaches(name, record, wanted, look, seen, depth)


def record_at(name: str, look: Look) -> str | Unknown | None:
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


def _covers(term: Term, domain: str, wanted: str, look: Look) -> bool | None:
    """Whether a term is the wanted one, or names its address in another way; None: DNS hides it."""
    if term.key == wanted:
        return True
    kind, _, text = wanted.partition(":")
    if kind not in ("ip4", "ip6"):
        return False
    address = network(text)
    if address is None:
        return False
    if term.kind in ("a", "mx"):
        return _hosts_have(term, domain, address, look)
    if term.kind != kind:
        return False
    covering = network(term.value)
    if isinstance(covering, IPv4Network) and isinstance(address, IPv4Network):
        return address.subnet_of(covering)
    if isinstance(covering, IPv6Network) and isinstance(address, IPv6Network):
        return address.subnet_of(covering)
    return False


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
