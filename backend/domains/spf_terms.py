"""What are the terms of an SPF record? (RFC 7208 §4.6, §5, §6)"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

__all__ = ["Term", "effective", "is_spf", "network", "parse"]

_MAX_RECORD = 4_096

_NAMED = r"(?P<kind>include|exists|a|mx|ptr)(?P<value>:[^/]*)?(?P<cidr>(?:/\d{1,2})?(?://\d{1,3})?)"
_MECHANISM = re.compile(
    rf"(?P<qualifier>[+?~-]?)(?:{_NAMED}|(?P<ip>ip[46]:[0-9a-f:./]+)|(?P<all>all))", re.IGNORECASE
)
_MODIFIER = re.compile(r"(?P<name>[a-z][a-z0-9_.-]*)=(?P<value>\S*)", re.IGNORECASE)


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

    @property
    def unqualified(self) -> str:
        """What the term matches, whatever it then says of it."""
        return self.text.lower().lstrip("+-~?")


def is_spf(text: str) -> bool:
    """Whether a TXT value is an SPF record: the version, then a space or the end (§4.5)."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def parse(record: str) -> tuple[Term, ...] | str:
    """The terms of an SPF record, or what is wrong with it."""
    if len(record) > _MAX_RECORD:
        return f"it is longer than {_MAX_RECORD:,} characters"
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


def network(text: str) -> IPv4Network | IPv6Network | None:
    """The network or address of an `ip4` or `ip6` term; None when it is none."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _term(text: str) -> Term | None:
    found = _MECHANISM.fullmatch(text)
    if found is not None:
        qualifier = found["qualifier"] or "+"
        if found["ip"]:
            kind, _, address = found["ip"].lower().partition(":")
            covered = network(address)
            if covered is None or f"ip{covered.version}" != kind:
                return None
            return Term(text, kind, address, qualifier)
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
