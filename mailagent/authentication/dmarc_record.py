"""Which DMARC records stand at and above a domain, and where does its organisation begin?

RFC 9989 §4.7 (records), §4.10 (tree walk) and §4.10.2 (organisational domain).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, cast

from publicsuffixlist import PublicSuffixList

from mailagent.authentication.answers import Inquiry
from mailagent.dns_answers import Found, Unknown
from mailagent.mail import DmarcPolicy

__all__ = ["Record", "Walk", "parse_record", "registrable_domain", "walk", "walk_names"]

_MAX_RECORD = 4_096
_POLICIES = frozenset({"none", "quarantine", "reject"})
_REPORT_URI = re.compile(r"[a-z][a-z0-9+.-]{0,30}:[^,;!\s]+(![0-9]+[kmgt]?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """One DMARC policy record, as it applies."""

    domain: str
    """Where it stands, without `_dmarc`."""
    p: DmarcPolicy | None
    """None: neither a usable policy nor an address for reports, so no DMARC (§4.10.1)."""
    sp: DmarcPolicy | None
    np: DmarcPolicy | None
    strict_dkim: bool
    strict_spf: bool
    psd: Literal["y", "n", "u"]
    testing: bool

    def policy_for(self, author: str, *, exists: bool) -> DmarcPolicy:
        """The policy for mail of `author`; `exists` matters only below this record's domain."""
        policy = self.p or "none"
        if author != self.domain:
            policy = self.sp or policy
            if not exists:
                policy = self.np or policy
        if self.testing:
            # §4.7 t=: one level below what is written.
            return "quarantine" if policy == "reject" else "none"
        return policy


@dataclass(frozen=True, slots=True)
class Walk:
    """What a tree walk found, from its start upwards."""

    start: str
    records: tuple[Record, ...]
    unknown: str | None = None
    """Why the walk broke off; then only what stands at the start itself is certain."""

    @property
    def own(self) -> Record | None:
        """The record of the starting domain itself."""
        return next((r for r in self.records if r.domain == self.start), None)

    @property
    def suffix(self) -> Record | None:
        """The record of the public suffix above the start, when the walk ended at one."""
        last = self.records[-1] if self.records else None
        return last if last and last.psd == "y" and last.domain != self.start else None

    @property
    def organisation(self) -> str:
        """The organisational domain (§4.10.2); by the public suffix list if nothing was found."""
        if not self.records:
            return registrable_domain(self.start)
        last = self.records[-1]
        if self.suffix is not None:
            # One label below, even where no record stands there.
            return ".".join(self.start.split(".")[-(last.domain.count(".") + 2) :])
        # A walk ends at psd=n; otherwise its last record has the fewest labels.
        return last.domain

    @property
    def applying(self) -> Record | None:
        """The record whose policy applies to mail from the start (§4.10.1)."""
        if self.own is not None:
            return self.own
        organisation = self.organisation
        named = next((r for r in self.records if r.domain == organisation), None)
        return named or self.suffix


def walk_names(domain: str) -> tuple[str, ...]:
    """The at most eight domains that a walk asks, from the start upwards (§4.10 steps 3-7)."""
    labels = domain.split(".")
    above = labels[-7:] if len(labels) > 7 else labels[1:]
    return (domain, *(".".join(above[at:]) for at in range(len(above))))


def walk(domain: str, inquiry: Inquiry) -> Walk | None:
    """Walk up from `domain`; None while `inquiry` lacks answers."""
    records: list[Record] = []
    names = walk_names(domain)
    for name in names:
        inquiry.foresee(f"_dmarc.{name}", "TXT")
    for name in names:
        match inquiry.ask(f"_dmarc.{name}", "TXT"):
            case None:
                return None
            case Unknown(reason=reason):
                return Walk(domain, tuple(records), unknown=reason)
            case Found(records=texts):
                record = _only_record(name, texts)
            case _:
                record = None
        if record is None:
            continue
        if name != domain and record.psd == "u" and _is_public_suffix(name):
            # Old records of registries carry no psd=y; taken at their word they would make one
            # organisation of all their customers.
            record = replace(record, psd="y")
        records.append(record)
        if record.psd != "u":
            break
    return Walk(domain, tuple(records))


def parse_record(domain: str, text: str) -> Record | None:
    """Read a TXT record; None when it is no DMARC record of this version."""
    if len(text) > _MAX_RECORD:
        return None
    first, *specs = text.split(";")
    name, _, version = first.partition("=")
    if name.strip() not in ("v", "V") or version.strip() != "DMARC1":
        return None
    tags: dict[str, str] = {}
    for spec in specs:
        tag, equals, value = spec.partition("=")
        if equals:
            tags.setdefault(tag.strip().lower(), value.strip())
    words = {tag: value.lower() for tag, value in tags.items()}
    policies = {tag: _policy(words.get(tag)) for tag in ("p", "sp", "np")}
    if policies["p"] is None or any(tag in words and policies[tag] is None for tag in policies):
        # §4.10.1: a broken policy is p=none if someone reads the reports, else no DMARC.
        reported = any(_REPORT_URI.fullmatch(uri.strip()) for uri in tags.get("rua", "").split(","))
        policies = {"p": "none" if reported else None, "sp": None, "np": None}
    psd = words.get("psd", "u")
    return Record(
        domain=domain,
        p=policies["p"],
        sp=policies["sp"],
        np=policies["np"],
        strict_dkim=words.get("adkim") == "s",
        strict_spf=words.get("aspf") == "s",
        psd="y" if psd == "y" else "n" if psd == "n" else "u",
        testing=words.get("t") == "y",
    )


def registrable_domain(domain: str) -> str:
    """The organisational domain by the public suffix list; the domain itself if it is a suffix."""
    return _suffixes().privatesuffix(domain) or domain


def _only_record(domain: str, texts: tuple[str, ...]) -> Record | None:
    """§4.10 step 2: of several records none counts."""
    found = [record for text in texts if (record := parse_record(domain, text)) is not None]
    return found[0] if len(found) == 1 else None


def _policy(word: str | None) -> DmarcPolicy | None:
    return cast("DmarcPolicy", word) if word in _POLICIES else None


def _is_public_suffix(domain: str) -> bool:
    return bool(_suffixes().is_public(domain))


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
