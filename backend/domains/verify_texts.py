"""Do the TXT records say what they must: ownership, SPF, DMARC and the policies for TLS?"""

from __future__ import annotations

from backend.domains.finding import Asked, Finding
from backend.domains.spf_cost import LOOKUPS, VOID_LOOKUPS, Cost, cost
from backend.domains.spf_merge import merged
from backend.domains.spf_reach import allows
from backend.domains.spf_terms import is_spf, parse
from backend.domains.views import Look
from mailagent.authentication.answers import Inquiry
from mailagent.authentication.dmarc_record import Record, parse_record, walk
from mailagent.dns_answers import Answer, Unknown

__all__ = ["exact", "ownership", "policy", "sender_policy", "versioned"]

_STRENGTH = {"none": 0, "quarantine": 1, "reject": 2}
_OWNERSHIP = "aexy-verify="


def ownership(asked: Asked) -> Finding:
    """Judge the ownership record: the exact value among whatever else stands there."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    wanted = asked.record.record.value
    # Nobody else reads it, so that quotation marks of a careless form do no harm.
    bare = {text.strip().strip('"') for text in found}
    if wanted in bare:
        return Finding("valid", found=found)
    others = tuple(text for text in found if _OWNERSHIP in text)
    if others:
        return asked.wrong("ownership_mismatch", found=others)
    return asked.missing("ownership_missing", lambda there: wanted in there, found=found)


def exact(asked: Asked) -> Finding:
    """Judge a record that must stand as it is."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    wanted = asked.record.text
    if wanted in found:
        return Finding("valid", found=found)
    if found:
        return asked.wrong("record_mismatch", found=found)
    return asked.missing("record_missing", lambda there: wanted in there)


def versioned(asked: Asked) -> Finding:
    """Judge a record of which one of its version may stand, with a value of its owner's choice."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    version = asked.record.record.value.partition(";")[0]
    ours = tuple(text for text in found if text.partition(";")[0].strip() == version)
    if len(ours) > 1:
        return asked.wrong("record_multiple", "duplicate", found=ours, detail=str(len(ours)))
    if ours:
        return Finding("valid", found=found)
    wanted = asked.record.record.value
    return asked.missing("record_missing", lambda there: wanted in there, found=found)


def sender_policy(asked: Asked) -> Finding:
    """Judge SPF: one record, all of our terms reached at any depth, within the limits."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    name, wanted = asked.record.name, _wanted(asked.record.record.value)
    records = tuple(text for text in found if is_spf(text))
    if not records:
        if any(is_spf(text.strip().strip("\"'")) for text in found):
            return asked.wrong("quoted", found=found)

        def holds(there: tuple[str, ...]) -> bool:
            one = [text for text in there if is_spf(text)]
            return len(one) == 1 and all(allows(name, one[0], term, asked.look) for term in wanted)

        return asked.missing("spf_missing", holds, found=found)
    paste = merged(name, found, wanted, asked.look).record
    if len(records) > 1:
        detail = str(len(records))
        return asked.wrong(
            "spf_multiple", "duplicate", found=records, detail=detail, expected=paste
        )
    reached = {term: allows(name, records[0], term, asked.look) for term in wanted}
    total = cost(name, records[0], asked.look)
    if isinstance(terms := parse(records[0]), str):
        return asked.wrong("spf_invalid", found=records, detail=terms, expected=paste)
    lacking = [term for term, is_there in reached.items() if is_there is False]
    if lacking:
        detail = ", ".join(lacking)
        return asked.wrong("spf_missing_include", found=records, detail=detail, expected=paste)
    return _limits(asked, records, total, paste) or (
        asked.unknown(total.unknown) if None in reached.values() else Finding("valid", found=found)
    )


def _limits(asked: Asked, records: tuple[str, ...], total: Cost, paste: str) -> Finding | None:
    if total.lookups > LOOKUPS:
        return asked.wrong("spf_too_many_lookups", found=records, detail=str(total.lookups))
    if len(total.void) > VOID_LOOKUPS:
        return asked.wrong("spf_void_lookups", found=records, detail=", ".join(total.void))
    if total.problem:
        return asked.wrong("spf_invalid", found=records, detail=total.problem, expected=paste)
    return None


def _wanted(record: str) -> list[str]:
    """The terms that must be reached: all of the expected record but its end."""
    return [text for text in record.split()[1:] if text.lower().lstrip("+-~?") != "all"]


def policy(asked: Asked) -> Finding:
    """Judge DMARC: at least the strength that is expected, here or from above (RFC 9989 §4.10)."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    domain = asked.record.place.domain
    ours = parse_record(domain, asked.record.record.value)
    assert ours is not None, "the expected record is ours"
    records = [(text, parsed) for text in found if (parsed := parse_record(domain, text))]
    if len(records) > 1:
        detail = str(len(records))
        return asked.wrong("dmarc_multiple", "duplicate", found=found, detail=detail)
    if records:
        text, theirs = records[0]
        return _weighed(asked, ours, theirs, text) or Finding("valid", found=found)
    if any(parse_record(domain, text.strip().strip("\"'").replace("\\", "")) for text in found):
        return asked.wrong("quoted", found=found)
    above = walk(domain, _Through(asked.look))
    assert above is not None, "every question has an answer, if it is unknown"
    if above.unknown is not None:
        return asked.unknown(above.unknown)
    inherited = above.applying
    if inherited is not None and not _weaker(domain, ours, inherited):
        at = f"_dmarc.{inherited.domain} applies: p={inherited.policy_for(domain, exists=True)}"
        return Finding("valid", found=(at,))
    return asked.missing(
        "dmarc_missing",
        lambda there: any(parse_record(domain, text) for text in there),
        found=found,
    )


def _weighed(asked: Asked, ours: Record, theirs: Record, text: str) -> Finding | None:
    domain, tags = asked.record.place.domain, _tags(text)
    at = asked.record.name
    why = _weaker(domain, ours, theirs)
    percent = tags.get("pct", "100")
    # RFC 9989 has no pct; readers of RFC 7489 still leave that part of mail alone.
    if not why and percent.isdecimal() and int(percent[:4]) < 100:
        why = f"pct={percent[:4]}"
    if why:
        if "p" not in tags:
            why = "it has no p"
        return asked.wrong("dmarc_weaker", found=(text,), at=at, detail=why)
    if ours.sp is not None:
        strict = [name for name in ("adkim", "aspf") if tags.get(name, "").lower() == "s"]
        harmful = [f"{name}=s" for name in strict]
        if theirs.psd == "y":
            harmful.append("psd=y")
        if harmful:
            return asked.wrong("dmarc_strict", found=(text,), detail=" and ".join(harmful))
    return None


def _weaker(domain: str, ours: Record, theirs: Record) -> str:
    """In which tag their record asks for less than ours; empty when in none."""
    names = {"p": domain} | ({"sp": f"any.{domain}"} if ours.sp is not None else {})
    for tag, name in names.items():
        has = theirs.policy_for(name, exists=True)
        if _STRENGTH[has] < _STRENGTH[ours.policy_for(name, exists=True)]:
            return f"{tag}={has}{' because of t=y' if theirs.testing else ''}"
    return ""


def _tags(text: str) -> dict[str, str]:
    pairs = (spec.partition("=") for spec in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


class _Through(Inquiry):
    """The tree walk's questions, asked of one side of DNS."""

    def __init__(self, look: Look) -> None:
        super().__init__({})
        self._look = look

    def ask(self, name: str, type_: str) -> Answer | None:
        return self._look(name, type_)

    def foresee(self, name: str, type_: str) -> None:
        self._look(name, type_)
